"""Payments: the operations on an order's payment, and the adapters of payment services."""
