"""Waiting rooms: a queue before a route."""
