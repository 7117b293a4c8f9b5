"""Traces: W3C Trace Context, and spans as plain tuples that cost nothing where there is no trace."""
