"""`peakgate serve`: open sockets and store, import the catalogue, run the processes, stop everything."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from cart.catalog.files import CatalogFileError
from cart.catalog.importer import import_once
from cart.catalog.ports import ImportBusy, SearchUnavailable
from gateway import compose, prerequisites
from gateway.admin.admin_token import TokenUnusable, read_or_create
from gateway.admin.sign_in.oidc_file import OidcFileUnusable, read_oidc_file
from gateway.cache.host_memory import HostRegion
from gateway.config.file import NAME
from gateway.control.runtime_directory import CONTROL, ChildState, ControlSettings, RuntimeDirectory, runtime_directory
from gateway.http.own_paths import DOCS
from gateway.policies.own_paths import own_path
from gateway.process.child import Reports, Service
from gateway.process.supervisor import Supervisor
from gateway.process.worker import run_worker
from gateway.server.listeners import CannotListen, PortTaken, open_listeners
from gateway.server.parser_check import ParserUnusable, check_parser
from gateway.settings import Settings
from store import StoreError
from store.embedded import EmbeddedServer, EmbeddedServerError, store_url

_log = logging.getLogger("peakgate")

# Where the admin API listens unless a port is given, and how many ports it tries from there on.
ADMIN_PORT: Final = 9090
_ADMIN_PORTS: Final = 10
# The file of the audit log in the data directory.
AUDIT_LOG: Final = "acts.jsonl"


class CannotServe(Exception):
    """The gateway cannot start, with the reason."""


# Faults of the environment, with a message for the operator.
_FAULTS: Final = (
    CannotListen,
    CatalogFileError,
    EmbeddedServerError,
    ImportBusy,
    ParserUnusable,
    SearchUnavailable,
    StoreError,
    OidcFileUnusable,
    TokenUnusable,
    prerequisites.CannotStart,
)


def run(settings: Settings, *, say: Callable[[str], None]) -> bool:
    """Serve until SIGTERM or SIGINT. False if a process could not be started. Raises `CannotServe`."""
    with ExitStack() as stack:
        # A reload that is requested during the start runs after it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        try:
            check_parser()
            listeners = _listen(stack, settings.host, settings.port, settings.workers, option="--port")
            control = _control_listener(settings, stack)
            embedded = _embedded(settings, stack)
            prerequisites.check_data_dir(settings.data_dir)
            store = prerequisites.given_store(settings)
            if store is None:
                store = prerequisites.StoreAddress(store_url(settings.data_dir), is_embedded=True)
            runtime = _runtime(settings, stack)
            asyncio.run(_prepare(settings, store))
            tokens = _tokens(settings) if control is not None else _Tokens()
        except _FAULTS as error:
            raise CannotServe(str(error)) from error
        url = _url(listeners[0])
        docs = own_path(settings.policies.api, DOCS)
        about = f"API at {url}{docs or settings.policies.api.prefix}"
        if control is not None:
            about += f"; admin at {_url(control)}, token in {settings.admin_token_path}"
        return Supervisor(
            [
                *_workers(settings, store, runtime, listeners, _host_region(settings)),
                _control(settings, tokens, runtime, control),
            ],
            on_ready=lambda: say(f"ready on {url} ({about})"),
            on_change=lambda children: _publish(runtime, children),
            dependency=embedded,
            drain_timeout_s=settings.drain_timeout,
            drain_grace_s=settings.drain_grace,
            hang_s=settings.hang_timeout,
        ).run()


def _listen(stack: ExitStack, host: str, port: int, count: int, *, option: str) -> list[socket.socket]:
    listeners = open_listeners(host, port, count, option=option)
    for listener in listeners:
        stack.callback(listener.close)
    return listeners


def _control_listener(settings: Settings, stack: ExitStack) -> socket.socket | None:
    if not settings.admin:
        return None
    if settings.admin_port is not None:
        return _listen(stack, settings.admin_host, settings.admin_port, 1, option="--admin-port")[0]
    for port in range(ADMIN_PORT, ADMIN_PORT + _ADMIN_PORTS - 1):
        try:
            listener = _listen(stack, settings.admin_host, port, 1, option="--admin-port")[0]
        except PortTaken:
            _log.warning("port %d is taken; the admin API takes the next, as --admin-port names none", port)
        else:
            return listener
    return _listen(stack, settings.admin_host, ADMIN_PORT + _ADMIN_PORTS - 1, 1, option="--admin-port")[0]


class _Tokens(NamedTuple):
    admin: str = ""
    metrics: str = ""
    viewer: str = ""


def _tokens(settings: Settings) -> _Tokens:
    """The tokens of the admin API; those that are not configured are empty. Raises `TokenUnusable`, and `OidcFileUnusable`."""
    if settings.oidc_file is not None:
        read_oidc_file(settings.oidc_file)
    tokens: dict[str, str] = {"admin": read_or_create(settings.admin_token_path)}
    for role, path in (("metrics", settings.metrics_token_file), ("viewer", settings.viewer_token_file)):
        if path is None:
            continue
        token = read_or_create(path, role=role)
        if same := [other for other, known in tokens.items() if known == token]:
            # It would permit all that the other permits.
            raise TokenUnusable(f"the {role} token file {path} must hold another token than the {same[0]}'s")
        tokens[role] = token
    return _Tokens(**tokens)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _runtime(settings: Settings, stack: ExitStack) -> RuntimeDirectory:
    try:
        runtime = stack.enter_context(runtime_directory())
        runtime.policies = settings.config_text
    except OSError as error:
        raise prerequisites.CannotStart(f"cannot make a folder for sockets: {error}") from error
    return runtime


def _host_region(settings: Settings) -> HostRegion | None:
    """The memory of the response cache, which workers inherit. Pages that are not in use take no memory."""
    size = settings.policies.cache.host_memory_bytes
    return HostRegion(size) if size else None


def _workers(
    settings: Settings,
    store: prerequisites.StoreAddress,
    runtime: RuntimeDirectory,
    listeners: Sequence[socket.socket],
    host_region: HostRegion | None,
) -> Sequence[Service]:
    # Gateways that share a store work off orders under different names.
    gateway_name = f"{socket.gethostname()}:{listeners[0].getsockname()[1]}"

    def serve(listener: socket.socket | None, name: str, reports: Reports) -> None:
        assert listener is not None
        run_worker(
            settings,
            store,
            runtime,
            listener,
            host_region,
            name=name,
            gateway_name=gateway_name,
            reports=reports,
        )

    return [Service(str(index), listener, serve) for index, listener in enumerate(listeners)]


def _control(settings: Settings, tokens: _Tokens, runtime: RuntimeDirectory, listener: socket.socket | None) -> Service:
    # Absolute, because the status page shows it.
    path = (settings.config or Path(NAME)).absolute()
    console = ControlSettings(
        path,
        settings.config_text,
        tokens.admin,
        expose_metrics=settings.expose_metrics,
        emf=settings.emf,
        role=settings.role,
        metrics_token=tokens.metrics,
        viewer_token=tokens.viewer,
        audit_log=settings.data_dir / AUDIT_LOG,
        oidc_file=settings.oidc_file,
        otlp_endpoint=settings.otlp_endpoint,
    )

    def serve(listener: socket.socket | None, _name: str, reports: Reports) -> None:
        # Imported here, because only this process needs it.
        from gateway.process.control_process import run_control

        run_control(console, runtime, listener, reports)

    return Service(CONTROL, listener, serve, rolls=False, reloads_on_hup=True)


def _publish(runtime: RuntimeDirectory, children: Sequence[ChildState]) -> None:
    """Publish the children for the control process. A full disk does not end the supervisor."""
    try:
        runtime.children = children
    except OSError as error:
        _log.error("cannot write to %s: %s", runtime.path, error)


def _embedded(settings: Settings, stack: ExitStack) -> EmbeddedServer | None:
    if settings.store_url is not None:
        return None
    embedded = EmbeddedServer(settings.data_dir)
    embedded.start()
    stack.callback(embedded.stop)
    return embedded


async def _prepare(settings: Settings, store: prerequisites.StoreAddress) -> None:
    """Check everything that workers need before one starts."""
    await prerequisites.check_store(settings, store)
    await compose.check_keys(settings, store)
    await compose.check_queue(settings)
    compose.check_payments(settings)
    await compose.check_archive(settings)
    compose.check_tracing(settings)
    compose.check_shipping(settings)
    if settings.catalog is None and not settings.serves_shoppers:
        return
    async with AsyncExitStack() as stack:
        # Opened without a catalogue too: a worker that finds the search index unusable can only exit.
        catalog, search = await compose.open_catalog(settings, store, stack)
        if settings.catalog is None:
            return
        report = await import_once(settings.catalog, catalog=catalog, search=search, sku_check=compose.sku_fault)
        if report is not None and report.is_rejected:
            first = report.rejections[0]
            raise prerequisites.CannotStart(
                f"{settings.catalog} has {report.rejected} invalid records, the first on line {first.line}: {first.reason}; "
                f"nothing was imported (peakgate catalog import --skip-bad imports the others)"
            )
