"""Sockets and processes: the short path on aiohttp's connection handler, its normal way, drain, and the worker processes."""
