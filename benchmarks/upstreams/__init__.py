"""Upstreams that benchmarks forward to: one with a fixed response, one that fails in a chosen manner."""
