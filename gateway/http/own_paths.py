"""Where the gateway's own paths are: below a prefix, and health checks at paths of the operator's choice.

Policies, metrics of limits and the route table name own paths without the prefix.
"""

from __future__ import annotations

from typing import Final

HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"
DOCS: Final = "/docs"
OPENAPI: Final = "/openapi.json"
PROBLEMS: Final = "/problems"
SHOP: Final = "/v1"
ROOTS: Final = (SHOP, DOCS, OPENAPI, PROBLEMS, HEALTHZ, READYZ)


class OwnPrefix:
    """The prefix of this process. `value` is empty, or begins with a slash and does not end with one."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = ""


# Of the active policies; responses that name own paths, such as `Location`, read it.
OWN_PREFIX: Final = OwnPrefix()


def is_below(path: str, root: str) -> bool:
    """Whether the path is the root or below it."""
    return path == root or path.startswith(f"{root}/")


def without_prefix(path: str, prefix: str) -> str:
    """The path, or pattern of paths, as the route table writes it."""
    rest = path.removeprefix(prefix)
    return rest if prefix and rest != path and any(rest.startswith(root) for root in ROOTS) else path
