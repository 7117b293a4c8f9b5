"""Adapters of the ports in memory, for tests; the same rules as the scripts, in Python."""
