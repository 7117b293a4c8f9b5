"""The keys that an issuer signs its tokens with: a JSON Web Key Set (RFC 7517), fetched again and again.

Once there are keys, they stay until the issuer shows others: an issuer that is away, slow or shows nonsense takes nobody's
sign-in away. Each process fetches for itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.metrics import Metric, Sample

Algorithm = Literal["RS256", "ES256", "EdDSA"]

# A set of some ten keys with their certificates takes about as much as a tenth of this.
MOST_BYTES: Final = 256 * 1024
MOST_KEYS: Final = 64
FETCH_TIMEOUT_S: Final = 3.0
# RFC 7518, 3.3.
_LEAST_RSA_BITS: Final = 2048
_MOST_RSA_BITS: Final = 8192

_log = logging.getLogger("peakgate")


class BadKeySet(ValueError):
    """What the issuer showed is no set of keys to verify tokens with; the text says why."""


class Key(msgspec.Struct, frozen=True):
    """A public key. What it is decides the only algorithm that it verifies, whatever a token says.

    `identity` is the same for the same key under the same name, however it is written.
    """

    kid: str | None
    algorithm: Algorithm
    public: Any
    identity: str


class KeySet:
    """The keys of an issuer. Where two have the same algorithm and name, the first counts."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._named: dict[tuple[str, str], Key] = {}
        self._all: dict[str, list[Key]] = {}
        for key in keys:
            if key.kid is not None:
                self._named.setdefault((key.algorithm, key.kid), key)
            self._all.setdefault(key.algorithm, []).append(key)
        self.identities = frozenset(key.identity for keys in self._all.values() for key in keys)

    def find(self, algorithm: str, kid: str | None) -> Key | None:
        """The key of that name; without a name the only key for the algorithm, so that none has to be tried in turn."""
        if kid is not None:
            return self._named.get((algorithm, kid))
        fitting = self._all.get(algorithm, ())
        return fitting[0] if len(fitting) == 1 else None

    def __len__(self) -> int:
        return len(self.identities)


class _Jwk(msgspec.Struct):
    """The members of a JSON Web Key that are used; private ones are not even read."""

    kty: str
    kid: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    alg: str | None = None
    n: str | None = None
    e: str | None = None
    crv: str | None = None
    x: str | None = None
    y: str | None = None


class _Document(msgspec.Struct):
    keys: list[msgspec.Raw]


_documents: Final = msgspec.json.Decoder(_Document)
_jwks: Final = msgspec.json.Decoder(_Jwk)


def parse_key_set(document: bytes) -> KeySet:
    """The keys of a document that can verify tokens here; others are passed over (RFC 7517, 5). Raises `BadKeySet`."""
    if len(document) > MOST_BYTES:
        raise BadKeySet(f"the document is larger than {MOST_BYTES} bytes")
    try:
        raw_keys = _documents.decode(document).keys
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadKeySet(f"the document is no JSON Web Key Set: {error}") from None
    if len(raw_keys) > MOST_KEYS:
        raise BadKeySet(f"the document has more than {MOST_KEYS} keys")
    keys = KeySet(key for key in map(_parse_key, raw_keys) if key is not None)
    if not len(keys):
        raise BadKeySet("none of the keys can verify RS256, ES256 or EdDSA")
    return keys


def _parse_key(raw: msgspec.Raw) -> Key | None:
    try:
        jwk = _jwks.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if jwk.use not in {None, "sig"} or (jwk.key_ops is not None and "verify" not in jwk.key_ops):
        return None
    try:
        algorithm, public, members = _public_key(jwk)
    except (PyJWTError, UnsupportedAlgorithm, ValueError):
        return None
    if algorithm is None or jwk.alg not in {None, algorithm}:
        return None
    written = msgspec.json.encode([jwk.kid, *sorted(members.items())])
    return Key(jwk.kid, algorithm, public, hashlib.sha256(written).hexdigest())


def _public_key(jwk: _Jwk) -> tuple[Algorithm | None, Any, Mapping[str, str]]:
    """The algorithm that the key is for, None for a key that we use none with."""
    members = {name: getattr(jwk, name) or "" for name in _MEMBERS.get(jwk.kty, ())}
    public: Any = None
    if jwk.kty == "RSA":
        public = RSAAlgorithm.from_jwk({"kty": "RSA", **members})
        if isinstance(public, RSAPublicKey) and _LEAST_RSA_BITS <= public.key_size <= _MOST_RSA_BITS:
            return "RS256", public, members
    elif jwk.kty == "EC":
        public = ECAlgorithm.from_jwk({"kty": "EC", **members})
        if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
            return "ES256", public, members
    elif jwk.kty == "OKP":
        return "EdDSA", OKPAlgorithm.from_jwk({"kty": "OKP", **members}), members
    return None, None, members


_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


async def fetch_document(url: str) -> bytes:
    """GET a document of at most `MOST_BYTES`. Raises `BadKeySet`, or what aiohttp raises.

    Redirects are not followed: who may say where the keys lie is said by the configuration. Nothing is unpacked.
    """
    asking = aiohttp.ClientSession(
        headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    async with asking as session, session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise BadKeySet(f"the answer has status {answer.status}")
        document = b""
        # One byte more than allowed tells that it is too much.
        while piece := await answer.content.read(MOST_BYTES + 1 - len(document)):
            document += piece
        return document


class Jwks:
    """The keys of one issuer as they are now, kept fresh by `run`, which lives as long as the process does.

    `update` changes where they come from and how often. State lasts over a reload: the same URL keeps its keys, another one
    begins without any, since whoever signed for the old one may not sign for the new one.

    `refresh_s` and all waits are jittered. After a failure it is tried again after `retry_s`, doubled each time up to
    `refresh_s`. Tokens that name an unknown key may have it fetched at once, but not more often than each `asked_s`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        refresh_s: float = 300.0,
        retry_s: float = 1.0,
        asked_s: float = 5.0,
        timeout_s: float = FETCH_TIMEOUT_S,
        fetch: Callable[[str], Awaitable[bytes]] = fetch_document,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.keys = KeySet()
        self._url = url
        self._refresh_s = refresh_s
        self._retry_s = retry_s
        self._asked_s = asked_s
        self._timeout_s = timeout_s
        self._fetch = fetch
        self._clock = clock
        self._rng = rng
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        # Whether a fetch is asked for or under way, and so will tell those who wait.
        self._is_due = url is not None
        self._may_ask_at = 0.0
        self._changed: list[Callable[[], None]] = []
        self._fetched_at: float | None = None
        self._failures_in_row = 0
        self._last_error: str | None = None
        self._fetches = {"ok": 0, "failed": 0}

    @property
    def is_away(self) -> bool:
        """Whether the last fetch failed: a key that is not known may well exist."""
        return self._failures_in_row > 0

    def on_change(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever there are other keys than before."""
        self._changed.append(call)

    def update(self, url: str | None, refresh_s: float) -> None:
        """Take the keys from here, this often."""
        self._refresh_s = refresh_s
        if url == self._url:
            return
        self._url = url
        self._failures_in_row, self._last_error, self._fetched_at = 0, None, None
        self._adopt(KeySet())
        self._is_due = url is not None
        if url is None:
            self._tell_waiting()
        self._wake.set()

    def renewal(self) -> asyncio.Future[None] | None:
        """Something to wait for that ends when the keys were fetched anew, or could not be; all who ask share one fetch.

        None when there is nothing to wait for: keys were asked for a moment ago, so that tokens with made-up key names
        cannot make us hammer the issuer.
        """
        if self._is_due and self.is_away:
            return None  # it hangs or fails, and more who wait for it would only be held up
        if not self._is_due:
            now = self._clock()
            if self._url is None or now < self._may_ask_at:
                return None
            self._may_ask_at = now + self._asked_s
            self._is_due = True
            self._wake.set()
        # One for each: whoever stops waiting for a shared one would take it from all others.
        told = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        return told

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        try:
            while True:
                self._wake.clear()
                wait_s = None if self._url is None else await self._renew(self._url)
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    self._is_due = True
        finally:
            self._url = None
            self._tell_waiting()

    async def _renew(self, url: str) -> float:
        """Fetch once; returns how long to wait until the next time."""
        error: Exception | None = None
        keys = KeySet()
        try:
            async with asyncio.timeout(self._timeout_s):
                document = await self._fetch(url)
            keys = parse_key_set(document)
        except (aiohttp.ClientError, OSError, ValueError) as failed:  # a TimeoutError is an OSError
            error = failed
        if url != self._url:
            return 0.0  # asked meanwhile to take them from elsewhere
        if error is not None:
            self._note_failure(error)
            wait_s = min(self._refresh_s, self._retry_s * 2.0 ** min(self._failures_in_row - 1, 20))
        else:
            self._note_success(keys)
            wait_s = self._refresh_s
        self._tell_waiting()
        return wait_s * (0.8 + 0.2 * self._rng())

    def _note_failure(self, error: Exception) -> None:
        self._fetches["failed"] += 1
        self._failures_in_row += 1
        self._last_error = str(error) or type(error).__name__
        if self._failures_in_row == 1:
            _log.warning("the keys of the issuer could not be fetched; those known stay: %s", self._last_error)

    def _note_success(self, keys: KeySet) -> None:
        self._fetches["ok"] += 1
        if self._failures_in_row:
            _log.info("the keys of the issuer could be fetched again")
        self._failures_in_row, self._last_error = 0, None
        self._fetched_at = self._clock()
        self._adopt(keys)

    def _adopt(self, keys: KeySet) -> None:
        if keys.identities == self.keys.identities:
            return
        self.keys = keys
        for call in self._changed:
            call()

    def _tell_waiting(self) -> None:
        self._is_due = False
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            if not told.done():
                told.set_result(None)

    @property
    def age_s(self) -> float | None:
        """How long ago the issuer last showed its keys; None if it never did."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    def snapshot(self) -> Mapping[str, Any]:
        """Where the keys come from, how old they are, and what went wrong last."""
        age_s = self.age_s
        return {
            "url": None if self._url is None else _shown(self._url),
            "keys": len(self.keys),
            "age_s": None if age_s is None else round(age_s, 1),
            "failures_in_row": self._failures_in_row,
            "last_error": self._last_error,
        }

    def metrics(self) -> Iterable[Metric]:
        """Fetches by outcome, how many keys there are and how old they are."""
        yield Metric(
            "peakgate_jwks_fetches_total",
            "Fetches of the issuer's keys, by outcome.",
            "counter",
            [Sample({"outcome": outcome}, count) for outcome, count in self._fetches.items()],
        )
        yield Metric("peakgate_jwks_keys", "Keys of the issuer.", "gauge", [Sample({}, len(self.keys))])
        if (age_s := self.age_s) is not None:
            yield Metric(
                "peakgate_jwks_age_seconds", "Time since the issuer last showed its keys.", "gauge", [Sample({}, age_s)]
            )


def _shown(url: str) -> str:
    """A URL without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
