"""The till: orders, the stock they hold, the outbox that hands them on, and the worker that fulfils them."""
