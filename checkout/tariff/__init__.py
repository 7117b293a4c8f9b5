"""The charges of a shop beside its goods: shipping methods and taxes."""
