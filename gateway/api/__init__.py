"""The public API: its route table, how a row becomes a handler, and the documents made of it."""
