"""Routes of the acts of operators: switches, breakers, rooms, events and reloads; the audit log, and undo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.admin.access import caller_of
from gateway.admin.act_log import mark_recorded, note_arguments
from gateway.admin.acts.audit_log import Act, AuditLog
from gateway.admin.acts.manual import WITHDRAWN, Change, ManualSettings, Operator
from gateway.admin.reloader import FileChanged, NotRestorable, Reload
from gateway.admin.responses import Problem, invalid, json_response, page_limit, read_body
from gateway.admin.status import Status
from gateway.config.policies import Policies
from gateway.control.manual_setting import Kind

MAX_PAGE: Final = 500
# A year; a setting that shall last longer belongs into the file.
MAX_EXPIRY_S: Final = 366 * 86_400
RELOAD: Final = "reload"

Seconds = Annotated[float, Meta(ge=0, le=MAX_EXPIRY_S)]


class _Setting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`expires_in_s`: 0 is for ever. `expected`: the values that the operator saw; with others nothing is changed."""

    expires_in_s: Seconds | None = None
    expected: dict[str, Any] | None = None


class SwitchSetting(_Setting, frozen=True):
    """Overrides a switch; null leaves a value to the configuration."""

    enabled: bool | None = None
    percent: float | None = None


class Drill(_Setting, frozen=True):
    """Opens the breaker of a dependency on purpose, or releases it."""

    tripped: bool = True
    # On one line, because it is logged.
    reason: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")] | None = None


class RoomSetting(_Setting, frozen=True):
    """Opens or closes a room and sets its rate, 0 to pause it; null leaves a value to the configuration."""

    enabled: bool | None = None
    admissions_per_s: Annotated[float, Meta(ge=0, le=1e6)] | None = None


class EventSetting(_Setting, frozen=True):
    """Starts an event now, or ends it now; null leaves its times to the configuration."""

    running: bool | None = None


class ExpectedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The digest of the previewed file; null reloads any."""

    digest: str | None = None


class ActRoutes:
    """The routes. `settings` makes changes by hand, `status` has the reloader and the policies."""

    def __init__(
        self,
        settings: ManualSettings,
        status: Status,
        log: AuditLog,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._status = status
        self._audit_log = log
        self._now = now

    def routes(self) -> Iterable[web.RouteDef]:
        """For `web.Application`."""
        return (
            web.post("/admin/v1/switches/{name}", self._switch),
            web.post("/admin/v1/drills/{name}", self._drill),
            web.post("/admin/v1/rooms/{name}", self._room),
            web.post("/admin/v1/events/{name}", self._event),
            web.post("/admin/v1/reload", self._reload),
            web.get("/admin/v1/reload/preview", self._preview),
            web.get("/admin/v1/acts", self._list),
            web.post("/admin/v1/acts/{id}/undo", self._undo),
        )

    # Settings by hand

    async def _switch(self, request: web.Request) -> web.Response:
        body = await read_body(request, SwitchSetting)
        if body.percent is not None and not 0 <= body.percent <= 100:
            raise invalid("percent must be from 0 to 100")
        self._require(request, "switch", (each.name for each in self._policies.switches))
        return await self._set(request, "switch", body, {"enabled": body.enabled, "percent": body.percent})

    async def _drill(self, request: web.Request) -> web.Response:
        body = await read_body(request, Drill)
        values = {"tripped": True, "reason": body.reason} if body.tripped else WITHDRAWN["drill"]
        return await self._set(request, "drill", body, values)

    async def _room(self, request: web.Request) -> web.Response:
        body = await read_body(request, RoomSetting)
        self._require(request, "room", (each.name for each in self._policies.rooms))
        values = {"enabled": body.enabled, "admissions_per_s": body.admissions_per_s}
        return await self._set(request, "room", body, values)

    async def _event(self, request: web.Request) -> web.Response:
        body = await read_body(request, EventSetting)
        name = self._require(request, "event", (each.name for each in self._policies.events))
        event = next(each for each in self._policies.events if each.name == name)
        now = self._now()
        if body.running and event.end.timestamp() <= now:
            raise invalid("the event has ended; give it a later end in the file")
        values: dict[str, Any] = dict(WITHDRAWN["event"])
        if body.running is not None:
            values["start" if body.running else "end"] = now
        # The end of the event ends it: no other expiry unless one is asked for.
        return await self._set(request, "event", replace(body, expires_in_s=body.expires_in_s or 0), values)

    async def _set(self, request: web.Request, kind: Kind, body: _Setting, values: Mapping[str, Any]) -> web.Response:
        change = await self._settings.set(
            kind,
            request.match_info["name"],
            values,
            _operator(request),
            expires_in_s=body.expires_in_s,
            expected=body.expected,
        )
        mark_recorded(request)
        return _changed(change, values)

    @property
    def _policies(self) -> Policies:
        return self._status.reloader.active.policies

    @staticmethod
    def _require(request: web.Request, kind: Kind, names: Iterable[str]) -> str:
        """The name in the path, which must be one of these. Raises `Problem`."""
        known, name = sorted(names), request.match_info["name"]
        if name not in known:
            plural = {"switch": "switches"}.get(kind, f"{kind}s")
            raise Problem(404, f"{kind}-not-found", f"{kind.capitalize()} not found", **{plural: known})
        return name

    # Reloads

    async def _preview(self, _request: web.Request) -> web.Response:
        return json_response(200, self._status.reloader.preview())

    async def _reload(self, request: web.Request) -> web.Response:
        body = await read_body(request, ExpectedFile)
        before = self._status.reloader.active.digest
        try:
            reload = await self._status.reloader.reload(expected_digest=body.digest)
        except FileChanged as error:
            raise Problem(
                409,
                "changed-meanwhile",
                "Changed meanwhile",
                detail="The file has changed since it was previewed. Look at its differences again, then decide.",
                digest=error.digest,
            ) from error
        return self._reloaded(request, reload, before)

    def _reloaded(
        self, request: web.Request, reload: Reload, before: str, *, undoes: int | None = None
    ) -> web.Response:
        if reload.outcome == "rejected":
            raise Problem(
                422,
                "configuration-rejected",
                "Configuration rejected",
                detail="The configuration is invalid; the previous policies stay active.",
                errors=list(reload.errors),
            )
        operator = _operator(request)
        act = self._audit_log.append(
            at=reload.at,
            who=operator.name,
            address=operator.address,
            act=RELOAD,
            result={"outcome": reload.outcome, "changed": list(reload.changed)},
            kind=RELOAD,
            before={"digest": before},
            after={"digest": reload.digest},
            undoes=undoes,
        )
        mark_recorded(request)
        return json_response(200, {**msgspec.to_builtins(reload), "act": act.id})

    # The audit log

    async def _list(self, request: web.Request) -> web.Response:
        limit = page_limit(request, MAX_PAGE)
        cursor = request.query.get("cursor")
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
            raise invalid("cursor must be one that this call has given")
        acts = self._audit_log.page(limit=limit + 1, before=None if cursor is None else int(cursor))
        undone = self._audit_log.undone
        shown = [self._shown(act, undone.get(act.id)) for act in acts[:limit]]
        next_cursor = str(acts[limit - 1].id) if len(acts) > limit else None
        return json_response(200, {"acts": shown, "next_cursor": next_cursor})

    def _shown(self, act: Act, undone_by: int | None) -> dict[str, Any]:
        shown = {name: getattr(act, name) for name in act.__struct_fields__}
        return {**shown, "undone_by": undone_by, "can_undo": undone_by is None and self._can_undo(act)}

    def _can_undo(self, act: Act) -> bool:
        if act.kind != RELOAD:
            return self._settings.can_undo(act)
        is_active = act.after == {"digest": self._status.reloader.active.digest}
        return is_active and act.before != act.after

    async def _undo(self, request: web.Request) -> web.Response:
        text = request.match_info["id"]
        act = self._audit_log.find(int(text)) if text.isascii() and text.isdecimal() and len(text) < 16 else None
        if act is None:
            raise Problem(404, "act-not-found", "Act not found")
        note_arguments(request, {"undoes": act.id})
        if act.kind == RELOAD:
            return await self._undo_reload(request, act)
        change = await self._settings.undo(act, _operator(request))
        mark_recorded(request)
        return _changed(change, change.act.arguments)

    async def _undo_reload(self, request: web.Request, act: Act) -> web.Response:
        before, after = (act.before or {}).get("digest"), (act.after or {}).get("digest")
        if act.id in self._audit_log.undone:
            raise Problem(409, "already-undone", "Already undone", detail="This act has been undone already.")
        try:
            reload = await self._status.reloader.restore(str(before), expected_active=str(after))
        except NotRestorable as error:
            raise Problem(409, "changed-meanwhile", "Changed meanwhile", detail=str(error)) from error
        return self._reloaded(request, reload, str(after), undoes=act.id)


def _operator(request: web.Request) -> Operator:
    return Operator(caller_of(request).name, request.remote)


def _changed(change: Change, values: Mapping[str, Any]) -> web.Response:
    act = change.act
    return json_response(
        200,
        {"name": act.name, **values, "expires_at": act.expires_at, "act": act.id, "workers": change.workers},
    )
