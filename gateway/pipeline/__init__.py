"""The layers around each handler, a file each, and `stacks`, which sets their order."""
