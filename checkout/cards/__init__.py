"""Card numbers: found, so that they are refused, and masked."""
