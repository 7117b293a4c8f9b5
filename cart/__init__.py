"""Carts: the model, the handlers that know no HTTP, and the adapters that keep carts in Redis or in memory."""
