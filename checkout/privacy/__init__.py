"""Personal data of orders: the keys that seal it, and its erasure."""
