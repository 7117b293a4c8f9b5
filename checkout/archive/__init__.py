"""Adapters of the archive of orders."""
