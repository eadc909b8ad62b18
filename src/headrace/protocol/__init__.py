"""The contract: every operation declared once.

An operation is a method of an interface class, with its request and response structs in its
signature and its route and permission in its decorator (`headrace.protocol.operation`). From that
one declaration come the server's route, the remote client's method, the permission check and the
OpenAPI document. `headrace.protocol.store.Store` is all of them together.
"""
