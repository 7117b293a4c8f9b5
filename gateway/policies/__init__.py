"""The active policies of a worker, and how others replace them."""
