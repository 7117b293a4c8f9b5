"""One command brings up a shop, and every way of taking it down leaves what was answered."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis

from tests.e2e.running_shop import CATALOGUE, PATIENCE_S, RunningShop, eventually, is_alive, peakgate

SKU = "85123A"


def test_ready_is_one_line(shared_shop: RunningShop) -> None:
    token = shared_shop.data_dir / "admin-token"
    assert shared_shop.log.splitlines() == [
        f"peakgate: ready on {shared_shop.url} (API at {shared_shop.url}/docs; admin at {shared_shop.admin_url}, token in {token})"
    ]


def test_a_new_shopper_buys_something(shared_shop: RunningShop) -> None:
    stock = shared_shop.stock(SKU)
    placed = shared_shop.check_out(shared_shop.cart_of(_85123A=2))
    assert placed.status == 202
    done = eventually(lambda: shared_shop.order(placed.body["id"]), lambda order: order["status"] == "completed")
    assert [step["status"] for step in done["history"]] == [
        "accepted",
        "stock_confirmed",
        "payment_authorised",
        "shipping_arranged",
        "completed",
    ]
    assert done["total"] == {"amount": 590, "currency": "GBP"}
    eventually(lambda: shared_shop.stock(SKU), lambda level: level == stock - 2)


def assert_is_cancelled(shop: RunningShop, token: str) -> None:
    stock = shop.stock(SKU)
    placed = shop.check_out(shop.cart_of(_85123A=3), key=token, token=token)
    over = eventually(lambda: shop.order(placed.body["id"]), lambda order: order["status"] == "cancelled")
    assert over["reason"] == "payment_declined"
    assert eventually(lambda: shop.stock(SKU), lambda now: now == stock)


@pytest.mark.parametrize("token", ["tok_declined", "tok_no_such"])
def test_a_declined_payment_cancels_the_order_and_releases_the_stock(shared_shop: RunningShop, token: str) -> None:
    assert_is_cancelled(shared_shop, token)


def test_a_payment_without_a_response_cancels_the_order_and_releases_the_stock(shop: RunningShop) -> None:
    # In a shop of its own: with the calls of other orders, its failures would open the breaker of payment.
    assert_is_cancelled(shop, "tok_timeout")


def test_acknowledged_writes_survive_a_stop(shop: RunningShop) -> None:
    cart_id = shop.cart_of(_85123A=2)
    order_id = shop.check_out(shop.cart_of(_22423=1)).body["id"]
    before = shop.call("GET", f"/v1/carts/{cart_id}")
    assert shop.stop() == 0
    shop.start()
    after = shop.call("GET", f"/v1/carts/{cart_id}")
    assert after.body == before.body
    assert after.headers["ETag"] == before.headers["ETag"]
    assert shop.order(order_id)["id"] == order_id


def test_acknowledged_writes_survive_a_kill_of_the_gateway(shop: RunningShop) -> None:
    cart_id = shop.cart_of(_85123A=2)
    placed = shop.check_out(shop.cart_of(_22423=1))
    shop.kill()
    shop.start()
    assert shop.call("GET", f"/v1/carts/{cart_id}").body["item_count"] == 2
    eventually(lambda: shop.order(placed.body["id"]), lambda order: order["status"] == "completed")
    again = shop.check_out(placed.body["cart_id"])
    assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (202, placed.body, "true")


def test_the_catalogue_is_imported_once(shop: RunningShop) -> None:
    stock = shop.stock(SKU)
    shop.check_out(shop.cart_of(_85123A=2))
    shop.stop()
    shop.start("--catalog", str(CATALOGUE))
    eventually(lambda: shop.stock(SKU), lambda level: level == stock - 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_behind(shop: RunningShop, number: signal.Signals) -> None:
    assert len(shop.family()) == 5  # the parent, two workers, the control process and the store
    assert shop.stop(number) == 0


@pytest.mark.parametrize("is_noticed", [False, True])
def test_an_interrupt_does_not_wait_for_a_store_that_hangs(tmp_path: Path, is_noticed: bool) -> None:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "2", "--catalog", str(CATALOGUE), "--drain-timeout", "3600", "--store-timeout", "0.25")
    # Its payment is in progress, for as long as anybody waits.
    shop.check_out(shop.cart_of(_85123A=1), token="tok_timeout")
    idle = socket.create_connection(("127.0.0.1", shop.port))
    os.kill(shop.store_pid(), signal.SIGSTOP)
    if is_noticed:
        eventually(lambda: shop.log, lambda log: "the store is away" in log)
    began_at = time.monotonic()
    assert shop.stop(signal.SIGINT) == 0
    # 3 s on an idle machine. The timeouts of what waits for the store add up to more than 20 s.
    assert time.monotonic() - began_at < 15
    idle.close()
    assert shop.log.count("does not stop and is killed") == 1
    shop.start("--workers", "2")
    # A stop would wait for the payment, which is in progress again.
    shop.kill()


def test_a_killed_parent_takes_its_children_along(shop: RunningShop) -> None:
    family = shop.family()
    os.kill(shop.pid, signal.SIGKILL)
    eventually(lambda: [pid for pid in family[1:] if is_alive(pid)], lambda left: not left)
    eventually(lambda: not shop.is_running)
    shop.start()
    assert shop.call("GET", "/readyz").status == 200


def test_a_killed_parent_leaves_a_data_directory_that_is_free_though_its_workers_still_drain(shop: RunningShop) -> None:
    store, workers = shop.store_pid(), shop.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    os.kill(shop.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(store))
    try:
        done = peakgate("catalog", "import", str(CATALOGUE), "--data-dir", str(shop.data_dir))
        assert (done.returncode, [is_alive(pid) for pid in workers]) == (0, [True, True])
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


def test_a_second_server_on_the_data_directory_is_refused(shared_shop: RunningShop) -> None:
    refused = peakgate("serve", "--port", "0", "--data-dir", str(shared_shop.data_dir))
    assert refused.returncode == 1
    assert refused.stderr == f"peakgate: the data directory {shared_shop.data_dir} is in use by another peakgate\n"


def test_a_second_server_on_the_port_is_refused(shared_shop: RunningShop, tmp_path: Path) -> None:
    refused = peakgate("serve", "--port", str(shared_shop.port), "--data-dir", str(tmp_path / "other"))
    assert refused.returncode == 1
    assert refused.stderr == (
        f"peakgate: port {shared_shop.port} on 127.0.0.1 is taken; stop what listens there or choose another with --port\n"
    )


def test_a_store_that_is_not_there_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{probe.getsockname()[1]}"
        refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path), "--store-url", url)
    assert refused.returncode == 1
    assert refused.stderr.startswith("peakgate: cannot connect to the store: ")
    assert refused.stderr.count("\n") == 1


def test_a_worker_that_dies_is_replaced(shop: RunningShop) -> None:
    victim = shop.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(shop.worker_pids, lambda pids: len(pids) == 2 and victim not in pids)
    eventually(lambda: shop.call("GET", "/readyz").status, lambda status: status == 200)
    assert f"(process {victim}) was killed by SIGKILL" in shop.log


def test_a_worker_and_a_control_process_that_hang_are_replaced(tmp_path: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "2", "--hang-timeout", "2")
    hung = {shop.worker_pids()[0], *shop.control_pids()}
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: shop.log, lambda log: all(f"(process {pid}) has hung for " in log for pid in hung))
    eventually(lambda: shop.admin("GET", "/admin/v1/status").body["workers"], lambda workers: len(workers) == 2)
    assert shop.call("GET", "/healthz").status == 200
    assert not hung & set(shop.family())
    assert shop.stop() == 0


def test_a_store_that_dies_is_started_again_with_its_data(shop: RunningShop) -> None:
    cart_id = shop.cart_of(_85123A=2)
    os.kill(shop.store_pid(), signal.SIGKILL)
    found = eventually(lambda: shop.call("GET", f"/v1/carts/{cart_id}"), lambda response: response.status == 200)
    assert found.body["item_count"] == 2


def test_a_rolling_restart_loses_no_request(shop: RunningShop) -> None:
    cart_id = shop.cart_of(_85123A=2)
    before = shop.worker_pids()
    stop = threading.Event()
    responses: list[int] = []
    shoppers = [threading.Thread(target=_read_over_and_over, args=(shop, cart_id, stop, responses)) for _ in range(4)]
    for shopper in shoppers:
        shopper.start()
    os.kill(shop.pid, signal.SIGUSR1)
    eventually(shop.worker_pids, lambda pids: len(pids) == 2 and not set(pids) & set(before))
    stop.set()
    for shopper in shoppers:
        shopper.join()
    assert set(responses) == {200}


def _read_over_and_over(shop: RunningShop, cart_id: str, stop: threading.Event, responses: list[int]) -> None:
    """A client that keeps its connection for as long as the server lets it, and takes any failure for a lost request."""
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE_S)
    while not stop.is_set():
        try:
            connection.request("GET", f"/v1/carts/{cart_id}")
            response = connection.getresponse()
            response.read()
            responses.append(response.status)
        except OSError as error:
            responses.append(-(error.errno or 1))
    connection.close()


def test_a_draining_server_finishes_requests_in_progress(shop: RunningShop) -> None:
    placed = shop.check_out(shop.cart_of(_85123A=1), token="tok_slow")
    assert shop.stop() == 0
    shop.start()
    eventually(lambda: shop.order(placed.body["id"]), lambda order: order["status"] == "completed")


def test_a_grace_before_draining_serves_new_connections_while_it_is_not_ready(tmp_path: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "2", "--drain-grace", "3600")
    assert shop.call("GET", "/readyz").status == 200
    os.kill(shop.pid, signal.SIGTERM)
    for _ in range(20):
        # Of both workers, on connections of their own.
        eventually(lambda: shop.call("GET", "/readyz"), lambda ready: ready.status == 503)
    assert shop.call("GET", "/readyz").body["status"] == "draining"
    assert shop.call("GET", "/healthz").status == 200
    assert shop.call("POST", "/v1/carts").status == 201
    # A worker that dies meanwhile is restarted, and is not ready either.
    killed = shop.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: "was killed by SIGKILL; it is restarted" in shop.log)
    eventually(shop.worker_pids, lambda pids: len(pids) == 2 and killed not in pids)
    assert shop.stop() == 0
    assert "stopping: not ready from now on; new connections are served for 3600 s" in shop.log
    assert "Traceback" not in shop.log


def test_a_grace_ends_by_itself(tmp_path: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--drain-grace", "0.5")
    assert shop.stop() == 0
    assert "Traceback" not in shop.log


def test_edge_and_worker_can_be_apart(tmp_path: Path) -> None:
    edge, worker = RunningShop(tmp_path / "edge"), RunningShop(tmp_path / "worker")
    edge.start("--role", "edge", "--workers", "1", "--catalog", str(CATALOGUE))
    try:
        placed = edge.check_out(edge.cart_of(_85123A=1))
        assert edge.order(placed.body["id"])["status"] == "accepted"
        words = ("--role", "worker", "--workers", "1", "--store-url", f"unix://{edge.data_dir}/valkey.sock")
        worker.start(*words, "--key-file", str(edge.data_dir / "keys.toml"))
        eventually(lambda: edge.order(placed.body["id"]), lambda order: order["status"] == "completed")
        assert worker.call("GET", "/v1/products").status == 404
        assert worker.call("GET", "/readyz").status == 200
    finally:
        if worker.is_running:
            worker.stop()
        edge.stop()


def test_servers_on_one_store_take_orders_under_names_of_their_own(tmp_path: Path) -> None:
    first, second = RunningShop(tmp_path / "first"), RunningShop(tmp_path / "second")
    first.start("--workers", "1")
    try:
        path = f"{first.data_dir}/valkey.sock"
        keys = f"{first.data_dir}/keys.toml"
        second.start("--workers", "1", "--store-url", f"unix://{path}", "--key-file", keys)
        with redis.Redis(unix_socket_path=path) as store:

            def consumers() -> list[bytes]:
                if not store.exists("{orders}:queue"):
                    return []
                return [each["name"] for each in store.xinfo_consumers("{orders}:queue", "workers")]

            eventually(consumers, lambda names: len(names) == 2)
    finally:
        if second.is_running:
            second.stop()
        first.stop()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of somebody else, without an append-only file."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed")
    path = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: _serves(path))
    yield f"unix://{path}"
    server.terminate()
    server.wait()


def _serves(path: Path) -> bool:
    with redis.Redis(unix_socket_path=str(path)) as client, suppress(redis.exceptions.ConnectionError):
        return bool(client.ping())
    return False


def test_a_redis_of_ones_own_does_as_well(tmp_path: Path, redis_url: str) -> None:
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--catalog", str(CATALOGUE), "--store-url", redis_url)
    try:
        placed = shop.check_out(shop.cart_of(_85123A=1))
        eventually(lambda: shop.order(placed.body["id"]), lambda order: order["status"] == "completed")
    finally:
        shop.stop()


def test_durability_that_the_store_cannot_give_is_refused(tmp_path: Path, redis_url: str) -> None:
    refused = peakgate(
        "serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--store-url", redis_url, "--durability", "aof"
    )
    assert refused.returncode == 1
    assert refused.stderr == "peakgate: --durability aof needs a store with an append-only file (appendonly yes)\n"


def test_a_store_with_another_number_of_partitions_is_refused(tmp_path: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        store.set("peakgate:partitions", 16)
    refused = peakgate("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--store-url", redis_url)
    assert refused.returncode == 1
    assert refused.stderr == "peakgate: the store was filled with 16 partitions; this Peakgate has 256\n"


def test_orders_can_go_by_sqs(tmp_path: Path, sqs_endpoint: str) -> None:
    sqs = boto3.client("sqs", region_name="eu-west-1", endpoint_url=sqs_endpoint)
    queue_url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    shop = RunningShop(tmp_path / "data")
    options = (
        "--workers",
        "1",
        "--queue-url",
        queue_url,
        "--aws-endpoint-url",
        sqs_endpoint,
        "--aws-region",
        "eu-west-1",
    )
    shop.start("--role", "edge", "--catalog", str(CATALOGUE), *options)
    try:
        placed = shop.check_out(shop.cart_of(_85123A=1))
        waiting = eventually(lambda: _waiting(sqs, queue_url), lambda count: count == 1)
        assert (waiting, shop.order(placed.body["id"])["status"]) == (1, "accepted")
        shop.stop()
        shop.start(*options)
        eventually(lambda: shop.order(placed.body["id"]), lambda order: order["status"] == "completed")
        eventually(lambda: _waiting(sqs, queue_url), lambda count: count == 0)
    finally:
        shop.stop()


def _waiting(sqs: Any, queue_url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def test_a_queue_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, aws_credentials: None) -> None:
    refused = peakgate(
        "serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--queue-url", "http://127.0.0.1:9/orders"
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[0].startswith("peakgate: cannot use the queue ")


def test_every_process_logs_json_where_that_is_chosen(tmp_path: Path) -> None:
    shop = RunningShop(tmp_path / "data")
    file = tmp_path / "peakgate.toml"
    file.write_text("")
    shop.start("--workers", "2", "--config", str(file), PEAKGATE_LOG_FORMAT="json")
    file.unlink()
    os.kill(shop.pid, signal.SIGHUP)  # without the file: the control process rejects it
    eventually(lambda: "is rejected" in shop.log)
    os.kill(shop.worker_pids()[0], signal.SIGKILL)  # the supervisor restarts it
    eventually(lambda: "it is restarted" in shop.log)
    assert shop.stop() == 0
    lines = [json.loads(line) for line in shop.log.splitlines()]
    assert lines[0]["message"].startswith("ready on ")
    assert all({"time", "level", "message", "process"} <= set(line) for line in lines)
    assert len({line["process"] for line in lines}) >= 2


def test_usage_errors_are_json_where_that_is_chosen() -> None:
    failed = peakgate("serve", "--log-format", "json", "--port", "many")
    assert failed.returncode == 64
    assert [json.loads(line)["level"] for line in failed.stderr.splitlines()] == ["error"]
