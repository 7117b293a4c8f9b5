"""The catalogue: products with their prices and live stock, the search over them, and their import from files."""
