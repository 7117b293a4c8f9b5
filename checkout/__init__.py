"""Checkout: orders, the stock they hold, the outbox that sends them to the queue, and the worker that fulfils them."""
