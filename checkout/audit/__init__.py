"""The audit of the books: rules that all orders, their stock and their money keep, and the run that finds what breaks them."""
