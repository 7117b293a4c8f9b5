"""The configuration file: what its tables are, how they are read, and what is wrong with them."""
