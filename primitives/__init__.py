"""Mechanisms that every package needs once: a bounded map, back-off, supervised background tasks."""
