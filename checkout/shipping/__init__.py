"""The adapters of the shipping port, a file each."""
