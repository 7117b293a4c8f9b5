"""Signed calls to services of AWS over one HTTP session, for their adapters. Needs the extra `aws`."""
