"""What happens to a request before and after its handler: one layer per file, and `stacks`, which names their order."""
