"""The processes of a running gateway."""
