"""What tests start and stop: databases, servers. No test lives here, and no stand-in for our own code."""
