"""Measurements of one component, without a gateway."""
