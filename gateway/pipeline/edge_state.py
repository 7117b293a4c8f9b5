"""The state that the layers of a worker share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.auth.client_identifier import ClientIdentifier
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.pipeline.degraded import Degraded
from gateway.pipeline.switch_board import SwitchBoard
from gateway.ratelimit.redis_quota import RedisQuota
from gateway.resilience.shedder import Shedder
from gateway.resilience.shedding import IsReplay
from gateway.waitingroom.rooms import Rooms
from primitives.stream_limit import StreamLimit


@dataclass(frozen=True, slots=True)
class EdgeState:
    """Outlives the policies: counts and caches go on when other policies are applied."""

    clients: ClientIdentifier
    tokens: ShopperTokens
    switches: SwitchBoard
    rooms: Rooms
    shedder: Shedder
    quota: RedisQuota
    degraded: Degraded
    event_streams: StreamLimit
    # Whether the response to a checkout is stored already.
    is_replay: IsReplay
    # Whether the order queue is cut off, so that orders wait in the outbox.
    is_queue_away: Callable[[], bool]
    # Whether the prices of orders could not be confirmed recently.
    are_prices_stale: Callable[[], bool]
