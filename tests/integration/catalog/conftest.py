"""A server with the search module."""

from tests.search_module import module_url  # noqa: F401  fixture
