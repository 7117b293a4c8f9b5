"""The hash slots of a cluster."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

from store.resp import Arg

SLOTS: Final = 16_384


def slot_of(key: Arg) -> int:
    """The slot of a key: CRC16 (XMODEM) of its first `{hash tag}` that is not empty, else of the whole key."""
    data = key if isinstance(key, bytes) else str(key).encode()
    start = data.find(b"{") + 1
    if start:
        end = data.find(b"}", start)
        if end > start:
            data = data[start:end]
    return crc_hqx(data, 0) & 16_383
