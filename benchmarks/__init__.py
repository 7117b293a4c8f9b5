"""Benchmarks, load generators and the replay of recorded trade. Only `replay` is part of the distribution."""
