"""Settings: flags over environment, all errors at once, and every setting explained."""

from __future__ import annotations

import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from gateway.config.policies import Policies
from gateway.settings import OPTIONS, PREFIX, SettingsError, load, read


def errors_of(flags: dict[str, str] | None = None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(flags or {}, environ or {})
    return caught.value.errors


def test_nothing_given_is_a_shop_on_port_8080_for_this_machine_alone() -> None:
    settings = load({}, {})
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.workers == (os.cpu_count() or 1)
    assert settings.role == "all"
    assert settings.store_url is None
    assert settings.queue_url is None
    assert settings.durability is None
    assert settings.drain_timeout > 0


def test_each_setting_is_a_flag_and_a_variable() -> None:
    assert load({"port": "9000"}, {}).port == 9000
    assert load({}, {"PEAKGATE_PORT": "9001"}).port == 9001
    assert load({}, {"PEAKGATE_DRAIN_TIMEOUT": "1.5"}).drain_timeout == 1.5
    assert load({"data_dir": "somewhere"}, {}).data_dir == Path("somewhere")


def test_a_flag_wins_over_its_variable() -> None:
    assert load({"port": "9000"}, {"PEAKGATE_PORT": "9001"}).port == 9000
    assert load({"port": "9000"}, {"PEAKGATE_PORT": "nonsense"}).port == 9000


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert load({}, {"PEAKGATE_PORT": "", "PEAKGATE_STORE_URL": ""}) == load({}, {})


def test_other_variables_are_nobodys_business() -> None:
    assert load({}, {"PATH": "/bin", "PEAKGATEWAY": "x", "PEAKGATE_TEST_STORE_URL": "redis://x"}) == load({}, {})


def test_variables_that_kubernetes_sets_for_a_service_are_ignored() -> None:
    service = {"PEAKGATE_SERVICE_HOST": "10.0.0.1", "PEAKGATE_PORT": "tcp://10.0.0.1:80", "PEAKGATE_PORT_80_TCP": "x"}
    assert load({}, service) == load({}, {})
    admin = {"PEAKGATE_ADMIN_SERVICE_HOST": "10.0.0.1", "PEAKGATE_ADMIN_PORT": "tcp://10.0.0.1:9090"}
    assert load({}, {**admin, "PEAKGATE_ADMIN_PORT_9090_TCP_ADDR": "10.0.0.1"}) == load({}, {})


def test_all_errors_are_reported_together_each_with_its_source() -> None:
    errors = errors_of(
        {"port": "eighty", "role": "king", "currency": "pounds"},
        {"PEAKGATE_WORKERS": "0", "PEAKGATE_SHOW_STOCK": "perhaps", "PEAKGATE_PROT": "80", "PEAKGATE_COLOUR": "red"},
    )
    assert [fault.partition(":")[0] for fault in errors] == [
        "--port",
        "PEAKGATE_WORKERS",
        "--role",
        "--currency",
        "PEAKGATE_SHOW_STOCK",
        "PEAKGATE_COLOUR",
        "PEAKGATE_PROT",
    ]
    assert all("\n" not in fault for fault in errors)
    assert "'eighty'" in errors[0]


@pytest.mark.parametrize("variable", ["PEAKGATE_PROT", "PEAKGATE_port", "PEAKGATE_", "PEAKGATE_Store_Url"])
def test_a_variable_that_is_no_setting_is_a_fault(variable: str) -> None:
    assert errors_of({}, {variable: "x"}) == [f"{variable}: there is no such setting"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("port", text) for text in ("-1", "65536", "80.5", "http", "")),
        *(("workers", text) for text in ("0", "257", "two", "1e1")),
        *(("drain_timeout", text) for text in ("-1", "3601", "nan", "inf", "soon")),
        *(("role", text) for text in ("", "ALL", "both")),
        *(("durability", text) for text in ("", "disk", "paper")),
        *(("store_url", text) for text in ("localhost", "redis://", "http://x", "redis:/x")),
        *(("queue_url", text) for text in ("sqs://x", "https://", "queue")),
        *(("currency", text) for text in ("gbp", "GB", "POUND", "£££", "G1P")),
        *(("max_lines", text) for text in ("0", "1001")),
        *(("max_quantity", text) for text in ("0", "-5", "1000001")),
        *(("anonymous_cart_days", text) for text in ("0", "-1", "3651", "nan")),
        *(("show_stock", text) for text in ("", "2", "oui")),
        *(("host", text) for text in ("", " ")),
        *(("admin_port", text) for text in ("-1", "65536", "admin")),
        *(("expose_metrics", text) for text in ("", "maybe")),
        ("admin_token_file", ""),
        ("config", "no/such/peakgate.toml"),
        ("data_dir", ""),
        ("catalog", "no/such/file.csv"),
    ],
)
def test_a_value_out_of_its_range_is_a_fault(name: str, text: str) -> None:
    (fault,) = errors_of({name: text})
    assert fault.startswith(f"--{name.replace('_', '-')}: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("yes", True), ("TRUE", True), ("1", True), ("on", True), ("no", False), ("False", False), ("0", False)],
)
def test_yes_and_no_have_many_names(text: str, expected: bool) -> None:
    assert load({"show_stock": text}, {}).show_stock is expected


def test_a_mistyped_address_of_a_collector_is_not_shown_in_its_fault() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"otlp_endpoint": "htp://user:word@collector"}, {})
    assert "word" not in str(caught.value)


def test_an_address_with_a_password_is_not_shown_in_its_fault() -> None:
    (fault,) = errors_of({"store_url": "redis//:sesame@shop:6379"})
    assert "sesame" not in fault


def test_a_catalogue_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "catalog.csv").write_text("")
    assert load({"catalog": str(tmp_path / "catalog.csv")}, {}).catalog == tmp_path / "catalog.csv"


def test_roles_choose_the_work_of_a_process() -> None:
    edge, worker, both = (load({"role": role}, {}) for role in ("edge", "worker", "all"))
    assert (edge.serves_shoppers, edge.works_orders) == (True, False)
    assert (worker.serves_shoppers, worker.works_orders) == (False, True)
    assert (both.serves_shoppers, both.works_orders) == (True, True)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_is_explained(name: str) -> None:
    metadata = OPTIONS[name].metadata
    assert len(metadata["help"]) > 10
    assert metadata["help"][0].islower() or metadata["help"].startswith(("A ", "SQS"))
    assert metadata["metavar"]
    assert callable(metadata["kind"])


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        load({}, {}).port = 1  # type: ignore[misc]


def test_variables_begin_with_the_name_of_the_program() -> None:
    assert PREFIX == "PEAKGATE_"


# The file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "peakgate.toml"
    path.write_text('port = 7000\nshow_stock = false\ncurrency = "EUR"\n[shedding]\nenabled = false\n')
    return path


def test_the_file_sets_settings(file: Path) -> None:
    settings = load({"config": str(file)}, {})
    assert (settings.port, settings.show_stock, settings.currency) == (7000, False, "EUR")
    assert not settings.policies.shedding.enabled
    assert settings.config == file
    assert settings.config_text == file.read_text()


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(file: Path) -> None:
    environ = {"PEAKGATE_CONFIG": str(file), "PEAKGATE_PORT": "7001", "PEAKGATE_CURRENCY": "USD"}
    loaded = read({"port": "7002"}, environ)
    settings = loaded.settings
    assert (settings.port, settings.currency, settings.show_stock, settings.max_lines) == (7002, "USD", False, 1000)
    assert loaded.sources == {
        "config": "PEAKGATE_CONFIG",
        "port": "--port",
        "currency": "PEAKGATE_CURRENCY",
        "show_stock": f"{file}:2",
    }


def test_a_file_in_the_current_directory_is_taken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert load({}, {}).port == 7000


def test_without_a_file_policies_are_as_their_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = read({}, {})
    assert loaded.config is None
    assert loaded.settings.policies == Policies()
    assert not loaded.settings.config_text


def test_errors_of_the_file_are_reported_with_all_others(file: Path) -> None:
    file.write_text("port = 70000\ncolour = 'red'\n")
    assert errors_of({"config": str(file), "workers": "0"}, {"PEAKGATE_COLOUR": "red"}) == [
        "--workers: must be a number from 1 to 256, not '0'",
        "PEAKGATE_COLOUR: there is no such setting",
        f"{file}:1: port: must be a number from 0 to 65535, not 70000",
        f"{file}:2: colour: there is no such key; see peakgate config schema",
    ]


@pytest.mark.parametrize("variable", ["PEAKGATE_POLICIES", "PEAKGATE_CONFIG_TEXT"])
def test_policies_of_the_file_are_no_settings(variable: str) -> None:
    assert errors_of({}, {variable: "x"}) == [f"{variable}: there is no such setting"]


def test_the_admin_token_is_in_the_data_directory_unless_said_otherwise() -> None:
    assert load({"data_dir": "var"}, {}).admin_token_path == Path("var/admin-token")
    assert load({"admin_token_file": "/run/secrets/admin"}, {}).admin_token_path == Path("/run/secrets/admin")
