"""HTTP over the protocol: routes derived from the operations, security, and the process that serves."""
