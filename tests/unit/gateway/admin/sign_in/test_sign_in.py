"""Sign-in at the console: by the token and by OpenID Connect; sessions, CSRF and roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.admin.admin import Admin
from gateway.admin.sign_in.oidc_file import Oidc
from gateway.admin.sign_in.sessions import LIFE_S
from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory
from tests.issuer import NOW
from tests.oidc_issuer import CLIENT, SECRET, OidcIssuer, oidc_issuer
from tests.unit.gateway.admin.small_workers import Fleet
from tests.unit.gateway.admin.test_admin import TOKEN, admin_of

VIEWER_TOKEN = "the-token-of-viewers"
CONSOLE = "https://console.shop.example"


class Browser:
    """A browser at the console: its cookies, without the rules of sites, which the tests look at themselves."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.cookies: dict[str, str] = {}
        self.set: SimpleCookie = SimpleCookie()

    async def send(self, method: str, path: str, **options: Any) -> ClientResponse:
        headers = {**options.pop("headers", {}), "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        response = await self.client.request(method, path, headers=headers, allow_redirects=False, **options)
        await response.read()
        self.set = response.cookies
        for name, morsel in response.cookies.items():
            self.cookies[name] = morsel.value
            if not morsel.value:
                del self.cookies[name]
        return response

    async def sign_in_by_token(self, token: str = TOKEN) -> ClientResponse:
        return await self.send("POST", "/console/sign-in", data={"token": token})

    async def sign_in_by(self, issuer: OidcIssuer) -> ClientResponse:
        return await self.send("GET", "/console/callback", params=await self.authorized_by(issuer))

    async def authorized_by(self, issuer: OidcIssuer) -> dict[str, str]:
        begun = await self.send("GET", "/console/sign-in/oidc")
        assert begun.status == 303
        return issuer.authorize(begun.headers["Location"])

    async def session(self) -> dict[str, Any]:
        response = await self.send("GET", "/admin/v1/session")
        members: dict[str, Any] = await response.json(content_type=None)
        return members

    async def act(self, **headers: str) -> int:
        return (await self.send("POST", "/admin/v1/workers/replace", headers=headers)).status


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as issuer:
        issuer.claims = {"groups": ["staff", "on-call"]}
        yield issuer


@pytest.fixture
def admin(
    file: Path, workers: Workers, runtime: RuntimeDirectory, fleet: Fleet, issuer: OidcIssuer, clock: Clock
) -> Admin:
    oidc = Oidc(
        issuer=issuer.url,
        client_id=CLIENT,
        client_secret=SECRET,
        console_url=CONSOLE,
        operators=("on-call",),
        viewers=("support",),
    )
    return admin_of(file, workers, runtime, replaced=[], viewer_token=VIEWER_TOKEN, oidc=oidc, now=clock)


@pytest.fixture
async def browser(admin: Admin) -> AsyncIterator[Browser]:
    async with TestClient(TestServer(admin.application()), cookie_jar=DummyCookieJar()) as client:
        yield Browser(client)


# By the token


async def test_a_browser_is_sent_to_the_sign_in_and_a_program_is_not(browser: Browser) -> None:
    sent = await browser.send("GET", "/", headers={"Accept": "text/html,*/*"})
    assert (sent.status, sent.headers["Location"]) == (303, "/console/sign-in")
    assert (await browser.send("GET", "/console/sign-in")).status == 200
    assert (await browser.send("GET", "/", headers={"Accept": "*/*"})).status == 401


async def test_the_token_signs_in_an_operator_whose_page_acts(browser: Browser) -> None:
    assert (await browser.sign_in_by_token()).headers["Location"] == "/"
    session = await browser.session()
    assert (session["name"], session["role"], session["expires_at"]) == ("admin token", "operator", NOW + LIFE_S)
    assert await browser.act(**{"X-CSRF-Token": session["csrf"]}) == 202


async def test_the_cookie_is_strict_and_no_script_reads_it(browser: Browser) -> None:
    await browser.sign_in_by_token()
    cookie = browser.set["peakgate-console"]
    assert (cookie["samesite"], cookie["httponly"], cookie["secure"], cookie["path"]) == ("Strict", True, True, "/")


@pytest.mark.parametrize("headers", [{}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "guessed"}])
async def test_an_act_of_a_session_needs_the_token_of_its_page(browser: Browser, headers: dict[str, str]) -> None:
    await browser.sign_in_by_token()
    assert await browser.act(**headers) == 403


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
async def test_a_wrong_token_signs_nobody_in(browser: Browser, token: str) -> None:
    assert (await browser.sign_in_by_token(token)).status == 401
    assert browser.cookies == {}


async def test_a_form_of_another_site_signs_nobody_in(browser: Browser) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert (await browser.send("POST", "/console/sign-in", data={"token": TOKEN}, headers=headers)).status == 403
    assert browser.cookies == {}


async def test_the_token_of_viewers_signs_in_a_viewer(browser: Browser) -> None:
    await browser.sign_in_by_token(VIEWER_TOKEN)
    session = await browser.session()
    assert session["role"] == "viewer"
    assert await browser.act(**{"X-CSRF-Token": session["csrf"]}) == 403


async def test_a_session_ends_at_the_sign_out_and_its_cookie_opens_nothing(browser: Browser) -> None:
    await browser.sign_in_by_token(VIEWER_TOKEN)
    cookies, session = dict(browser.cookies), await browser.session()
    headers = {"X-CSRF-Token": session["csrf"]}
    assert (await browser.send("POST", "/console/sign-out")).status == 403
    assert (await browser.send("POST", "/console/sign-out", headers=headers)).status == 200
    assert browser.cookies == {}
    browser.cookies = cookies
    assert (await browser.send("GET", "/admin/v1/status")).status == 401


async def test_a_session_ends_after_its_time(browser: Browser, clock: Clock) -> None:
    await browser.sign_in_by_token()
    clock.now += LIFE_S - 1
    assert (await browser.send("GET", "/admin/v1/session")).status == 200
    clock.now += 1
    assert (await browser.send("GET", "/admin/v1/session")).status == 401


async def test_the_stream_of_a_page_ends_with_its_session(browser: Browser, admin: Admin, clock: Clock) -> None:
    await browser.sign_in_by_token()
    await admin.sampler.look()
    cookie = {"Cookie": f"peakgate-console={browser.cookies['peakgate-console']}"}
    async with browser.client.get("/console/stream", headers=cookie) as stream:
        first = await stream.content.readuntil(b"}\n\n")
        assert b"data: " in first
        clock.now += LIFE_S
        await admin.sampler.look()
        assert await stream.content.read() == b""


async def test_a_made_up_cookie_opens_nothing(browser: Browser) -> None:
    browser.cookies = {"peakgate-console": "made-up"}
    assert (await browser.send("GET", "/admin/v1/status")).status == 401


# By OpenID Connect


async def test_an_operator_signs_in_and_acts_under_their_name(browser: Browser, issuer: OidcIssuer) -> None:
    signed_in = await browser.sign_in_by(issuer)
    assert signed_in.status == 200
    assert browser.set["peakgate-console"]["samesite"] == "Strict"
    session = await browser.session()
    assert (session["name"], session["role"]) == ("ada@shop.example", "operator")
    assert await browser.act(**{"X-CSRF-Token": session["csrf"]}) == 202
    acts = (await (await browser.send("GET", "/admin/v1/acts")).json(content_type=None))["acts"]
    assert [(act["act"], act["who"]) for act in acts] == [
        ("workers/replace", "ada@shop.example"),
        ("sign-in", "ada@shop.example"),
    ]


@pytest.mark.parametrize(("groups", "role"), [("on-call", "operator"), (["support"], "viewer")])
async def test_the_role_is_in_a_claim(browser: Browser, issuer: OidcIssuer, groups: Any, role: str) -> None:
    issuer.claims = {"groups": groups}
    await browser.sign_in_by(issuer)
    assert (await browser.session())["role"] == role


@pytest.mark.parametrize("groups", [None, [], ["staff"], 7, {"on-call": True}, [["on-call"]]])
async def test_nobody_signs_in_without_a_role(browser: Browser, issuer: OidcIssuer, groups: Any) -> None:
    issuer.claims = {"groups": groups}
    assert (await browser.sign_in_by(issuer)).status == 403
    assert "peakgate-console" not in browser.cookies


async def test_an_answer_of_the_issuer_is_used_once(browser: Browser, issuer: OidcIssuer) -> None:
    answer = await browser.authorized_by(issuer)
    cookies = dict(browser.cookies)
    assert (await browser.send("GET", "/console/callback", params=answer)).status == 200
    browser.cookies = cookies
    assert (await browser.send("GET", "/console/callback", params=answer)).status == 403


async def test_an_answer_is_of_use_to_the_browser_that_asked_alone(browser: Browser, issuer: OidcIssuer) -> None:
    answer = await browser.authorized_by(issuer)
    browser.cookies = {"peakgate-sign-in": "of-another-browser"}
    assert (await browser.send("GET", "/console/callback", params=answer)).status == 403


async def test_an_answer_comes_in_time(browser: Browser, issuer: OidcIssuer, clock: Clock) -> None:
    answer = await browser.authorized_by(issuer)
    clock.now += 601
    assert (await browser.send("GET", "/console/callback", params=answer)).status == 403


@pytest.mark.parametrize(
    "changes",
    [{"state": "made-up"}, {"code": "made-up"}, {"iss": "https://other.example"}],
    ids=["state", "code", "issuer"],
)
async def test_a_changed_answer_is_refused(browser: Browser, issuer: OidcIssuer, changes: dict[str, str]) -> None:
    answer = {**await browser.authorized_by(issuer), **changes}
    assert (await browser.send("GET", "/console/callback", params=answer)).status == 403


async def test_a_refusal_of_the_issuer_is_shown(browser: Browser, issuer: OidcIssuer) -> None:
    answer = await browser.authorized_by(issuer)
    refused = {"error": "access_denied", "state": answer["state"]}
    response = await browser.send("GET", "/console/callback", params=refused)
    assert (response.status, "the issuer has refused it" in await response.text()) == (403, True)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another-client"]},
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"iss": "https://other.example"},
        {"exp": NOW - 31},
        {"exp": None},
        {"exp": "soon"},
        {"iat": NOW + 31},
        {"nbf": NOW + 31},
        {"sub": None},
    ],
    ids=str,
)
async def test_a_token_for_something_else_is_refused(
    browser: Browser, issuer: OidcIssuer, claims: dict[str, Any]
) -> None:
    issuer.claims |= claims
    assert (await browser.sign_in_by(issuer)).status == 403
    assert "peakgate-console" not in browser.cookies


async def test_a_token_for_several_audiences_is_issued_to_this_client(browser: Browser, issuer: OidcIssuer) -> None:
    issuer.claims |= {"aud": [CLIENT, "another-client"], "azp": CLIENT}
    assert (await browser.sign_in_by(issuer)).status == 200


async def test_a_token_by_another_key_is_refused(browser: Browser, issuer: OidcIssuer) -> None:
    issuer.forged = ec.generate_private_key(ec.SECP256R1())
    assert (await browser.sign_in_by(issuer)).status == 403


async def test_a_key_that_the_issuer_has_changed_is_fetched(browser: Browser, issuer: OidcIssuer, clock: Clock) -> None:
    await browser.sign_in_by(issuer)
    issuer.keys.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    issuer.kid = "ec-2"
    # Not more often than every 30 s, so that no one makes the console ask all the time.
    assert (await browser.sign_in_by(issuer)).status == 403
    clock.now += 30
    assert (await browser.sign_in_by(issuer)).status == 200


async def test_an_issuer_that_is_away_is_named_and_the_token_signs_in(browser: Browser, issuer: OidcIssuer) -> None:
    issuer.is_away = True
    assert (await browser.send("GET", "/console/sign-in/oidc")).status == 503
    assert (await browser.sign_in_by_token()).status == 303


@pytest.mark.parametrize("member", ["token_endpoint", "authorization_endpoint", "jwks_uri"])
async def test_secrets_are_not_sent_over_an_open_network(browser: Browser, issuer: OidcIssuer, member: str) -> None:
    issuer.discovery = {member: "http://id.shop.example/"}
    assert (await browser.send("GET", "/console/sign-in/oidc")).status == 503


async def test_metadata_of_another_issuer_are_refused(browser: Browser, issuer: OidcIssuer) -> None:
    issuer.discovery = {"issuer": "https://other.example"}
    assert (await browser.send("GET", "/console/sign-in/oidc")).status == 503


async def test_without_a_client_there_is_no_sign_in_by_an_issuer(
    file: Path, workers: Workers, runtime: RuntimeDirectory
) -> None:
    admin = admin_of(file, workers, runtime, replaced=[])
    async with TestClient(TestServer(admin.application()), cookie_jar=DummyCookieJar()) as client:
        browser = Browser(client)
        assert [
            (await browser.send("GET", path)).status for path in ("/console/sign-in/oidc", "/console/callback")
        ] == [404, 404]
        await browser.sign_in_by_token()
        assert browser.set["peakgate-console"]["secure"] == ""
