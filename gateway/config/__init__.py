"""The configuration file: its tables, how they are read, and their faults."""
