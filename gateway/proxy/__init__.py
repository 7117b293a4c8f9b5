"""What goes out over HTTP: forwarding, retries, the response cache."""
