"""CPU time per request, beside an empty aiohttp handler and other servers."""
