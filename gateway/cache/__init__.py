"""The response cache: a shared HTTP cache (RFC 9111) with purges and a second tier in the store."""
