"""Benchmarks of a whole gateway: overload, a failing upstream, memory and start-up, a large catalogue."""
