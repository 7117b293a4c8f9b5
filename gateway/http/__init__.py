"""Requests, responses, routing and problems."""
