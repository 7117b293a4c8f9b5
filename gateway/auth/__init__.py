"""Client identity, access tokens and their keys."""
