"""Shared parts of all benchmarks: gateway processes, process statistics, result files."""
