"""Cart reads and adds as others would build them, for comparison. They run with dependencies of their own: see README.md."""
