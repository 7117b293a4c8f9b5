"""Forwarding to upstreams: request heads, connections, health checks, retries."""
