"""The front door: sockets, edge layers, routes, the process and its command line."""
