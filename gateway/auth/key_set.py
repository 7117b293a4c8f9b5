"""JSON Web Key Sets (RFC 7517): the public keys in one that may verify tokens here."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK, PyJWKSet, PyJWTError

Algorithm = Literal["RS256", "ES256", "EdDSA"]

# A set of some ten keys with their certificates takes about a tenth of this.
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 64
# RFC 7518, 3.3.
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192
# The one algorithm of each key type, and the public members of a key. Private members are not read.
_KEY_TYPES: Final[Mapping[str, tuple[Algorithm, tuple[str, ...]]]] = {
    "RSA": ("RS256", ("n", "e")),
    "EC": ("ES256", ("crv", "x", "y")),
    "OKP": ("EdDSA", ("crv", "x")),
}


class InvalidKeySet(ValueError):
    """A document is not a set of keys that verify tokens here; the text says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. Its type decides the only algorithm that it verifies, not the header of a token.

    `identity` is the same for the same key under the same name, independent of its encoding.
    """

    kid: str | None
    algorithm: Algorithm
    public: Any
    identity: str


class KeySet:
    """The keys of an issuer. The first of two keys with the same algorithm and name counts."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_name: dict[tuple[str, str], Key] = {}
        self._by_algorithm: dict[str, list[Key]] = {}
        for key in keys:
            if key.kid is not None:
                self._by_name.setdefault((key.algorithm, key.kid), key)
            self._by_algorithm.setdefault(key.algorithm, []).append(key)
        self.identities = frozenset(key.identity for keys in self._by_algorithm.values() for key in keys)

    def find(self, algorithm: str, kid: str | None) -> Key | None:
        """The key of that name; without a name the only key for the algorithm, so that no two keys are tried in turn."""
        if kid is not None:
            return self._by_name.get((algorithm, kid))
        keys = self._by_algorithm.get(algorithm, ())
        return keys[0] if len(keys) == 1 else None

    def __len__(self) -> int:
        return len(self.identities)


def parse_key_set(document: bytes) -> KeySet:
    """The keys of a document that can verify tokens here; others are skipped (RFC 7517, 5). Raises `InvalidKeySet`."""
    if len(document) > MAX_BYTES:
        raise InvalidKeySet(f"the document is larger than {MAX_BYTES} bytes")
    try:
        # RFC 8259, 8.1: a reader may pass over a byte-order mark.
        members = msgspec.json.decode(document.removeprefix(codecs.BOM_UTF8), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidKeySet(f"the document is not a JSON Web Key Set: {error}") from None
    listed = members.get("keys")
    if not isinstance(listed, list):
        raise InvalidKeySet("the document is not a JSON Web Key Set: it has no list of keys")
    if len(listed) > MAX_KEYS:
        raise InvalidKeySet(f"the document has more than {MAX_KEYS} keys")
    try:
        parsed = PyJWKSet([jwk for jwk in map(_verifying_jwk, listed) if jwk is not None])
        keys = KeySet(_key(jwk) for jwk in parsed if _is_strong(jwk.key))
    except (PyJWTError, UnsupportedAlgorithm):
        keys = KeySet()
    if not len(keys):
        raise InvalidKeySet("none of the keys can verify RS256, ES256 or EdDSA")
    return keys


def _verifying_jwk(jwk: object) -> dict[str, Any] | None:
    """The public members of a key that is meant for verifying one of our algorithms, None for any other."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str | None):
        return None
    kty, operations = jwk.get("kty"), jwk.get("key_ops")
    if not isinstance(kty, str) or kty not in _KEY_TYPES:
        return None
    algorithm, names = _KEY_TYPES[kty]
    if jwk.get("alg") not in (None, algorithm) or jwk.get("use") not in (None, "sig"):
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    # An empty or missing number is an error to PyJWT, which skips the key then.
    return {"kty": kty, "kid": jwk.get("kid"), "alg": algorithm, **{name: jwk.get(name) or None for name in names}}


def _is_strong(public: object) -> bool:
    if isinstance(public, RSAPublicKey):
        return _MIN_RSA_BITS <= public.key_size <= _MAX_RSA_BITS
    return not isinstance(public, EllipticCurvePublicKey) or isinstance(public.curve, SECP256R1)


def _key(jwk: PyJWK) -> Key:
    algorithm, _ = _KEY_TYPES[str(jwk.key_type)]
    public: Any = jwk.key
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    identity = hashlib.sha256(msgspec.json.encode([jwk.key_id]) + encoded).hexdigest()
    return Key(jwk.key_id, algorithm, public, identity)
