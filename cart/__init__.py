"""Carts: the model, the handlers without HTTP, and the adapters that store carts in Redis or in memory."""
