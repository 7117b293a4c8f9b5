"""Checkout sessions for agents: the Agentic Commerce Protocol over carts and checkout.

https://github.com/agentic-commerce-protocol/agentic-commerce-protocol, version 2026-04-17.
"""
