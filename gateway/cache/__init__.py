"""The shared response cache."""
