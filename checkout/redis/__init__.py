"""Adapters of the ports on Redis or Valkey, with their scripts."""
