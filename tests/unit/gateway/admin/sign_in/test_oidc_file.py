"""The file of the OpenID Connect client is checked whole at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admin.sign_in.oidc_file import OidcFileUnusable, read_oidc_file

GOOD = """
issuer = "https://id.shop.example"
client_id = "console"
console_url = "https://console.shop.example/"
operators = ["on-call"]
"""


def test_a_file_needs_an_issuer_a_client_an_address_and_a_role(tmp_path: Path) -> None:
    (tmp_path / "oidc.toml").write_text(GOOD)
    oidc = read_oidc_file(tmp_path / "oidc.toml")
    assert (oidc.redirect_uri, oidc.is_secure) == ("https://console.shop.example/console/callback", True)
    assert (oidc.client_secret, oidc.scopes, oidc.viewers) == (None, ("openid", "email"), ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://id.shop.example", "http://id.shop.example"),
        ("https://console", "http://console"),
        ("https://id.shop.example", "https://user@id.shop.example"),
        ("https://id.shop.example", "id.shop.example"),
        ('client_id = "console"', ""),
        ('operators = ["on-call"]', ""),
        ('operators = ["on-call"]', 'operators = "on-call"'),
        ('operators = ["on-call"]', 'operators = ["on-call"]\nscopes = ["email"]'),
        ("client_id", "client"),
        ('client_id = "console"', "client_id = "),
    ],
)
def test_a_file_that_is_wrong_or_unsafe_is_refused(tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "oidc.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(OidcFileUnusable, match="OIDC file"):
        read_oidc_file(tmp_path / "oidc.toml")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OidcFileUnusable, match=r"no-such\.toml: No such file"):
        read_oidc_file(tmp_path / "no-such.toml")


@pytest.mark.parametrize("host", ["localhost:9090", "127.0.0.1:9090", "[::1]:9090"])
def test_plain_http_is_for_the_loopback_address(tmp_path: Path, host: str) -> None:
    (tmp_path / "oidc.toml").write_text(GOOD.replace("https://console.shop.example/", f"http://{host}"))
    assert not read_oidc_file(tmp_path / "oidc.toml").is_secure
