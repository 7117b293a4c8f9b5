"""A configuration with every layer on, and the header fields of signed-in shoppers."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt

from benchmarks.load.wrk import HOST, TRACE_ID, Headers

SHOPPERS: Final = 1000
# Prefixes of a forwarded route and of a cached one.
FORWARDED, CACHED = "/forwarded/", "/cached/"
# Route patterns of a limit of one request an hour, and of a switch that is off.
LIMITED, SWITCHED_OFF = "DELETE /v1/carts/{cart_id}/lines/{sku}", "DELETE /v1/carts/{cart_id}"
_ISSUER, _AUDIENCE = "https://id.shop.example", "shop"
_TOKENS_LAST_S = 24 * 3600.0
# Quotas and the lag target are too high to be reached; each layer does the same work to decide that.
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
enabled = false

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
allow_origins = ["https://shop.example"]

[headers]
strict_transport_security = "max-age=31536000"

[access_log]
file = {access_log}
"""


@dataclass(frozen=True, slots=True)
class EveryLayer:
    """The configuration file, and the header fields of each shopper: as a load balancer forwards them, and as sent directly."""

    configuration: Path
    balancer_headers: Sequence[Headers]
    plain_headers: Sequence[Headers]

    @classmethod
    def prepare(cls, folder: Path, *, upstream_port: int) -> "EveryLayer":
        """Write the configuration and its secret into the folder, and sign the tokens."""
        secret = secrets.token_hex(32)
        secret_file, configuration = folder / "shopper-secret", folder / "peakgate.toml"
        secret_file.write_text(secret)
        # A JSON string is a TOML string.
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
        tokens = [_token(number, secret) for number in range(SHOPPERS)]
        return cls(
            configuration,
            [_balancer_headers(number, token) for number, token in enumerate(tokens)],
            [(("Host", HOST), ("Authorization", f"Bearer {token}")) for token in tokens],
        )


def _token(number: int, secret: str) -> str:
    claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": f"shopper-{number}", "exp": time.time() + _TOKENS_LAST_S}
    return jwt.encode(claims, secret, algorithm="HS256")


def _balancer_headers(number: int, token: str) -> Headers:
    """The header fields in the order of an AWS Application Load Balancer. The trace ID differs in each request that is sent."""
    # 198.18.0.0/15 is reserved for benchmarks (RFC 2544).
    address = f"198.18.{number // 250}.{number % 250 + 1}"
    return (
        ("X-Forwarded-For", address),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "443"),
        ("Host", HOST),
        ("X-Amzn-Trace-Id", TRACE_ID),
        ("Authorization", f"Bearer {token}"),
    )
