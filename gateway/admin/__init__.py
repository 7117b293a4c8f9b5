"""For the operator: the admin API, metrics and the live page."""
