"""The control process of a running gateway: looked at, reloaded and drilled while shoppers are served."""

import http.client
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness.processes import descendants
from tests.e2e.running_shop import CATALOGUE, PATIENCE_S, RunningShop, eventually, peakgate

ONE = '[[switches]]\nname = "search"\n'
OTHER = '[[switches]]\nname = "reviews"\n'
BAD = '[[switches]]\nname = "Search"\npercent = 101\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "peakgate.toml"
    path.write_text(ONE)
    return path


@pytest.fixture
def shop(tmp_path: Path, file: Path) -> Iterator[RunningShop]:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "2", "--config", str(file))
    yield shop
    if shop.is_running:
        shop.stop()
    assert "Traceback" not in shop.log, shop.log


@pytest.fixture(scope="module")
def shared_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    """A shop as `shop`, for the tests that neither change nor reload it."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "peakgate.toml").write_text(ONE)
    shop = RunningShop(folder / "data")
    shop.start("--workers", "2", "--config", str(folder / "peakgate.toml"), "--catalog", str(CATALOGUE))
    yield shop
    assert shop.stop() == 0
    assert "Traceback" not in shop.log, shop.log


def status(shop: RunningShop) -> Any:
    told = shop.admin("GET", "/admin/v1/status")
    assert told.status == 200, told
    return told.body


def digests(shop: RunningShop) -> set[str]:
    """What the workers go by."""
    return {worker["digest"] for worker in status(shop)["workers"]}


class Regular:
    """A shopper who keeps one connection to each worker that he reaches, and notes what becomes of it."""

    def __init__(self, shop: RunningShop) -> None:
        self._connections = [http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE_S) for _ in range(8)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.responses: list[int] = []
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        for connection in self._connections:
            connection.connect()
            # A closed connection must not be opened again behind our back.
            connection.auto_open = 0
        self._thread.start()
        return self

    def __exit__(self, *_reason: object) -> None:
        self._over.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _ask(self) -> None:
        try:
            while not self._over.is_set():
                for connection in self._connections:
                    connection.request("GET", "/healthz")
                    response = connection.getresponse()
                    response.read()
                    self.responses.append(response.status)
        except (OSError, http.client.HTTPException) as error:
            self.failure = error

    def goes_on(self) -> None:
        """Wait for responses that were asked for after now."""
        seen = len(self.responses) + len(self._connections)
        eventually(lambda: self.failure or len(self.responses) > seen)
        assert self.failure is None
        assert set(self.responses) == {200}


def test_sighup_changes_every_worker_and_drops_no_connection(shop: RunningShop, file: Path) -> None:
    before, pids = status(shop)["policies"]["digest"], shop.worker_pids()
    with Regular(shop) as regular:
        regular.goes_on()
        file.write_text(OTHER)
        os.kill(shop.pid, signal.SIGHUP)
        eventually(lambda: status(shop)["last_reload"])
        after = status(shop)["policies"]["digest"]
        assert after != before
        # A worker that is too busy to respond in time shows none.
        assert eventually(lambda: digests(shop), lambda found: None not in found) == {after}
        regular.goes_on()
        file.write_text(BAD)
        os.kill(shop.pid, signal.SIGHUP)
        last = eventually(lambda: status(shop)["last_reload"], lambda last: last["outcome"] == "rejected")
        assert [fault.split(":")[1] for fault in last["errors"]] == ["2", "3"]
        # It is logged after the status shows it.
        eventually(lambda: all(fault in shop.log for fault in last["errors"]))
        assert eventually(lambda: digests(shop), lambda found: None not in found) == {after}
        regular.goes_on()
    assert shop.worker_pids() == pids


def test_a_worker_started_after_a_bad_edit_uses_the_active_policies(shop: RunningShop, file: Path) -> None:
    file.write_text(OTHER)
    digest = shop.admin("POST", "/admin/v1/reload").body["digest"]
    file.write_text(BAD)
    assert shop.admin("POST", "/admin/v1/reload").status == 422
    victim = shop.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    workers = eventually(
        lambda: status(shop)["workers"],
        lambda found: len(found) == 2 and all(each["responds"] and each["pid"] != victim for each in found),
    )
    assert {each["digest"] for each in workers} == {digest}
    assert sorted(each["restarts"] for each in workers) == [0, 1]


def test_replaced_workers_use_the_active_policies(shop: RunningShop, file: Path) -> None:
    file.write_text(OTHER)
    digest = shop.admin("POST", "/admin/v1/reload").body["digest"]
    before = shop.worker_pids()
    assert shop.admin("POST", "/admin/v1/workers/replace").status == 202
    eventually(shop.worker_pids, lambda pids: len(pids) == 2 and not set(pids) & set(before))
    assert eventually(lambda: digests(shop), lambda found: None not in found) == {digest}


def test_without_the_token_nothing_is_shown(shared_shop: RunningShop) -> None:
    for path in ("/", "/metrics", "/admin/v1/status"):
        assert shared_shop.admin("GET", path, token="wrong").status == 401
    assert shared_shop.admin("POST", "/admin/v1/workers/replace", token="").status == 401
    assert (shared_shop.data_dir / "admin-token").stat().st_mode & 0o777 == 0o600


def test_the_page_shows_the_workers(shared_shop: RunningShop) -> None:
    page = shared_shop.admin("GET", "/plain")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert all(str(pid) in page.body for pid in shared_shop.worker_pids())


def families_of(shop: RunningShop) -> Mapping[str, Metric]:
    """The metrics by the name of their family."""
    return {each.name: each for each in text_string_to_metric_families(shop.admin("GET", "/metrics").body)}


def test_metrics_are_as_prometheus_reads_them(shared_shop: RunningShop) -> None:
    def up_of(families: Mapping[str, Metric]) -> dict[str, float]:
        return {each.labels["worker"]: each.value for each in families["peakgate_up"].samples}

    # The console may have looked at the workers as they started, half a second ago.
    families = eventually(lambda: families_of(shared_shop), lambda found: set(up_of(found).values()) == {1.0})
    up = up_of(families)
    assert up == {"0a": 1.0, "1a": 1.0}
    assert {each.labels["worker"] for each in families["peakgate_memory_bytes"].samples} == set(up)
    tasks = {
        (each.labels["worker"], each.labels["task"]) for each in families["peakgate_background_task_running"].samples
    }
    assert {("control", "reloads"), ("0a", "outbox"), ("1a", "order worker")} <= tasks
    assert families["peakgate_policies_info"].samples[0].labels["digest"] == status(shared_shop)["policies"]["digest"]


def test_a_stopped_worker_is_shown_beside_the_others(shop: RunningShop) -> None:
    victim = shop.worker_pids()[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        expected = {pid: pid != victim for pid in shop.worker_pids()}
        # A busy machine may show the other one as silent for a moment.
        eventually(
            lambda: {each["pid"]: each["responds"] for each in status(shop)["workers"]}, lambda seen: seen == expected
        )
    finally:
        os.kill(victim, signal.SIGCONT)
    eventually(lambda: all(each["responds"] for each in status(shop)["workers"]))


def test_a_control_process_that_dies_comes_back_at_its_place_and_remembers(shop: RunningShop, file: Path) -> None:
    file.write_text(BAD)
    shop.admin("POST", "/admin/v1/reload")
    before, workers = status(shop), shop.worker_pids()
    (control,) = shop.control_pids()
    os.kill(control, signal.SIGKILL)
    # Its listener has stayed open: who calls meanwhile waits.
    after = status(shop)
    assert after["control"][0]["pid"] != control
    assert after["last_reload"] == before["last_reload"]
    assert shop.worker_pids() == workers


def test_settings_that_need_a_restart_are_reported(shop: RunningShop, file: Path) -> None:
    file.write_text("max_lines = 10\n" + ONE)
    assert shop.admin("POST", "/admin/v1/reload").body["needs_restart"] == ["max_lines"]
    assert status(shop)["policies"]["needs_restart"] == ["max_lines"]


def test_without_the_admin_api_sighup_still_reloads(tmp_path: Path, file: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--config", str(file), "--admin", "no")
    try:
        assert shop.admin_url == ""
        assert not (shop.data_dir / "admin-token").exists()
        file.write_text(OTHER)
        os.kill(shop.pid, signal.SIGHUP)
        eventually(lambda: "is active (applied" in shop.log)
    finally:
        assert shop.stop() == 0


def test_an_admin_port_in_use_is_reported_in_one_line(shared_shop: RunningShop, tmp_path: Path) -> None:
    port = shared_shop.admin_url.rpartition(":")[2]
    refused = peakgate("serve", "--port", "0", "--admin-port", port, "--data-dir", str(tmp_path / "other"))
    assert refused.returncode == 1
    assert refused.stderr == (
        f"peakgate: port {port} on 127.0.0.1 is taken; stop what listens there or choose another with --admin-port\n"
    )


def test_an_invalid_token_is_reported_in_one_line(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("short")
    refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--admin-token-file", str(token))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"peakgate: the admin token file {token} must hold one word")
    assert refused.stderr.count("\n") == 1


def test_a_metrics_token_that_is_the_admin_token_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sixteen-or-more-of-them")
    token.chmod(0o600)
    words = ("--admin-token-file", str(token), "--metrics-token-file", str(token))
    refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), *words)
    assert refused.returncode == 1
    assert "must hold another token than the admin's" in refused.stderr


def test_a_metrics_token_reads_metrics_of_a_running_gateway(tmp_path: Path) -> None:
    token = tmp_path / "metrics-token"
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--metrics-token-file", str(token))
    try:
        found = token.read_text().strip()
        assert shop.admin("GET", "/metrics", token=found).status == 200
        assert shop.admin("GET", "/admin/v1/status", token=found).status == 401
    finally:
        assert shop.stop() == 0


OIDC = """
issuer = "http://127.0.0.1:9"
client_id = "console"
console_url = "http://localhost:9090"
operators = ["on-call"]
"""


def test_an_unsafe_oidc_file_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    oidc = tmp_path / "oidc.toml"
    oidc.write_text(OIDC.replace("http://127.0.0.1:9", "http://id.shop.example"))
    refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--oidc-file", str(oidc))
    assert refused.returncode == 1
    assert "issuer must be an https URL" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_gateway_runs_and_its_token_signs_in_while_the_issuer_is_away(tmp_path: Path) -> None:
    oidc = tmp_path / "oidc.toml"
    oidc.write_text(OIDC)
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--oidc-file", str(oidc))
    try:
        assert "Sign in with http://127.0.0.1:9" in shop.admin("GET", "/console/sign-in").body
        assert shop.admin("GET", "/console/sign-in/oidc").status == 503
        assert shop.admin("GET", "/admin/v1/session").body["role"] == "operator"
    finally:
        assert shop.stop() == 0


def test_a_stop_leaves_no_folder_behind(tmp_path: Path, file: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="pg-"))
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--config", str(file), TMPDIR=str(scratch))
    assert [each.name.startswith("peakgate-") for each in scratch.iterdir()] == [True]
    assert shop.stop() == 0
    assert list(scratch.iterdir()) == []
    shop.start("--workers", "1", "--config", str(file), TMPDIR=str(scratch))
    os.kill(shop.pid, signal.SIGKILL)
    # What the killed parent cannot do, the control process does.
    eventually(lambda: list(scratch.iterdir()), lambda left: not left)
    eventually(lambda: not shop.is_running)
    scratch.rmdir()


def test_sighup_while_it_starts_ends_nothing_and_is_heeded_when_it_can_be(tmp_path: Path, file: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    over = threading.Event()

    def keep_telling() -> None:
        while not over.wait(0.01):
            # Earlier the program is not even loaded.
            if shop.is_running and descendants(shop.pid):
                os.kill(shop.pid, signal.SIGHUP)

    telling = threading.Thread(target=keep_telling)
    telling.start()
    try:
        shop.start("--workers", "2", "--config", str(file))
        over.set()
        assert eventually(lambda: status(shop)["last_reload"])["outcome"] == "unchanged"
        assert "died" not in shop.log
        assert shop.stop() == 0
    finally:
        over.set()
        telling.join()


SWITCH = '[[switches]]\nname = "products"\nroutes = ["/v1/products*"]\n'


def test_a_reload_applies_to_open_connections(shop: RunningShop, file: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE_S)
    connection.connect()
    connection.auto_open = 0

    def products() -> int:
        connection.request("GET", "/v1/products")
        response = connection.getresponse()
        response.read()
        return response.status

    assert products() == 200
    for text, status_after in ((SWITCH + "enabled = false\n", 503), (SWITCH, 200)):
        file.write_text(text)
        assert shop.admin("POST", "/admin/v1/reload").status == 200
        assert products() == status_after
    connection.close()


def test_a_switch_turned_by_hand_stays_turned_in_a_worker_that_is_started_again(shop: RunningShop, file: Path) -> None:
    file.write_text(SWITCH)
    shop.admin("POST", "/admin/v1/reload")
    assert shop.admin("POST", "/admin/v1/switches/products", {"enabled": False}).status == 200
    assert {shop.call("GET", "/v1/products").status for _ in range(8)} == {503}
    before = shop.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(shop.worker_pids, lambda pids: len(pids) == 2 and not set(pids) & set(before))
    assert {shop.call("GET", "/v1/products").status for _ in range(8)} == {503}
    shop.admin("POST", "/admin/v1/switches/products", {})
    assert {shop.call("GET", "/v1/products").status for _ in range(8)} == {200}


def test_metrics_and_page_of_all_parts_can_be_read(shared_shop: RunningShop) -> None:
    def shows_products(families: Mapping[str, Metric]) -> bool:
        return any(each.labels["route"] == "/v1/products" for each in families["peakgate_requests"].samples)

    shared_shop.call("GET", "/v1/products")
    families = eventually(lambda: families_of(shared_shop), shows_products)
    samples = [
        (sample.name, *sorted(sample.labels.items())) for family in families.values() for sample in family.samples
    ]
    assert len(samples) == len(set(samples))
    page = shared_shop.admin("GET", "/plain").body
    assert all(title in page for title in ("Circuit breakers", "Load shedding", "Response cache", "Degraded responses"))


def test_an_order_is_found_by_the_number_that_its_shopper_reads_out(shared_shop: RunningShop) -> None:
    order = shared_shop.check_out(shared_shop.cart_of(_85123A=1), key="read out").body
    typed = order["number"].replace("-", "").lower()
    (found,) = eventually(lambda: shared_shop.admin("GET", f"/admin/v1/orders/{typed}").body.get("orders"))
    assert found["id"] == order["id"]
    assert shared_shop.admin("GET", "/admin/v1/orders/22222-22222").status == 404


def test_acts_of_operators_reach_the_workers_and_outlive_the_gateway(shop: RunningShop, file: Path) -> None:
    file.write_text(SWITCH)
    shop.admin("POST", "/admin/v1/reload")
    act = shop.admin("POST", "/admin/v1/switches/products", {"enabled": False, "expires_in_s": 600}).body["act"]
    assert {shop.call("GET", "/v1/products").status for _ in range(8)} == {503}
    assert shop.admin("POST", f"/admin/v1/acts/{act}/undo").status == 200
    assert {shop.call("GET", "/v1/products").status for _ in range(8)} == {200}
    assert shop.stop() == 0
    shop.start("--workers", "2", "--config", str(file))
    acts = shop.admin("GET", "/admin/v1/acts").body["acts"]
    assert [(each["act"], each["undoes"]) for each in acts] == [
        ("switches/products", act),
        ("switches/products", None),
        ("reload", None),
    ]


def test_a_setting_by_hand_expires_in_a_running_gateway(shop: RunningShop, file: Path) -> None:
    file.write_text(SWITCH)
    shop.admin("POST", "/admin/v1/reload")
    shop.admin("POST", "/admin/v1/switches/products", {"enabled": False, "expires_in_s": 1})
    eventually(lambda: shop.admin("GET", "/admin/v1/acts").body["acts"][0]["who"], lambda who: who == "expiry")
    assert {shop.call("GET", "/v1/products").status for _ in range(8)} == {200}
