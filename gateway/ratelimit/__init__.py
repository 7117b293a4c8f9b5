"""Rate limits: GCRA quotas, shared through the store."""
