"""Traces of requests: which are recorded, and the span of each."""
