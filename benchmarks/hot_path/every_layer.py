"""A configuration with every layer of the edge on, and shoppers who come through a balancer and are signed in."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt

from benchmarks.load.wrk import Headers

SHOPPERS: Final = 1000
# What is forwarded, and what is answered from the response cache.
FORWARDED, CACHED = "/forwarded/", "/cached/"
# What a limit refuses to whom asks twice, and what a switch refuses to everybody.
LIMITED, SWITCHED_OFF = "DELETE /v1/carts/{cart_id}/lines/{sku}", "DELETE /v1/carts/{cart_id}"
_ISSUER, _AUDIENCE = "https://id.shop.example", "shop"
_TOKENS_LAST_S = 24 * 3600.0
# Nothing is refused for being too much: quotas that nobody reaches, and a loop that may run late. What each layer does to
# decide that is the same. `{…}` are filled in.
_CONFIGURATION = """\
[identity]
trusted_proxies = ["127.0.0.1/32"]
deny = ["203.0.113.0/24"]

[shoppers]
issuer = {issuer}
audience = {audience}
algorithms = ["HS256"]
hs256_secret_file = {secret_file}

[[limits]]
name = "per-client"
by = "address"
quota = 1000000

[[limits]]
name = "everybody"
by = "global"
quota = 1000000

[[limits]]
name = "one-an-hour"
by = "address"
quota = 1
window_s = 3600
routes = [{limited}]

[shedding]
lag_target_s = 60

[[switches]]
name = "off"
routes = [{switched_off}]
on = false

[[upstreams]]
name = "web"
targets = ["http://127.0.0.1:{upstream_port}"]

[[routes]]
prefix = "{forwarded}"
upstream = "web"

[[routes]]
prefix = "{cached}"
upstream = "web"
cache = true

[cors]
origins = ["https://shop.example"]

[headers]
strict_transport_security = "max-age=31536000"

[access_log]
file = {access_log}
"""


@dataclass(frozen=True, slots=True)
class EveryLayer:
    """The file to start the gateway with, and the header fields that shoppers send, one sequence for each of them."""

    configuration: Path
    shoppers: Sequence[Headers]

    def headers_of(self, number: int) -> Headers:
        """Those of a shopper; there are `SHOPPERS`, and they come in turn."""
        return self.shoppers[number % len(self.shoppers)]

    @classmethod
    def prepare(cls, folder: Path, *, upstream_port: int) -> "EveryLayer":
        """Write the configuration and its secret into the folder, and sign the tokens."""
        secret = secrets.token_hex(32)
        secret_file, configuration = folder / "shopper-secret", folder / "peakgate.toml"
        secret_file.write_text(secret)
        # A string of JSON is one of TOML.
        configuration.write_text(
            _CONFIGURATION.format(
                issuer=json.dumps(_ISSUER),
                audience=json.dumps(_AUDIENCE),
                secret_file=json.dumps(str(secret_file)),
                access_log=json.dumps(str(folder / "access.log")),
                upstream_port=upstream_port,
                forwarded=FORWARDED,
                cached=CACHED,
                limited=json.dumps(LIMITED),
                switched_off=json.dumps(SWITCHED_OFF),
            )
        )
        return cls(configuration, [_headers(number, secret) for number in range(SHOPPERS)])


def _headers(number: int, secret: str) -> Headers:
    """The fields of a shopper: the address that the balancer saw, and the shopper's token."""
    claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": f"shopper-{number}", "exp": time.time() + _TOKENS_LAST_S}
    token = jwt.encode(claims, secret, algorithm="HS256")
    # 198.18.0.0/15 is set aside for measurements (RFC 2544).
    address = f"198.18.{number // 250}.{number % 250 + 1}"
    return (("X-Forwarded-For", address), ("Authorization", f"Bearer {token}"))
