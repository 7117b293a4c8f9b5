"""Acts of an operator on the console's page, in a browser: by keyboard, with one question each, recorded and undone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from benchmarks.harness.chromium import CHROMIUM, Page, browser_page
from tests.e2e.running_shop import RunningShop

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

FILE = '[[switches]]\nname = "search"\n'
SAID = "document.querySelector('#acts [role=status]').textContent"
DIALOG = "document.querySelector('dialog[open]')"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    folder = tmp_path_factory.mktemp("console")
    (folder / "peakgate.toml").write_text(FILE)
    shop = RunningShop(folder / "data")
    words = ("--workers", "1", "--config", str(folder / "peakgate.toml"), "--viewer-token-file", str(folder / "viewer"))
    shop.start(*words)
    yield shop
    assert shop.stop() == 0


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser_page() as page:
        yield page
        assert page.errors == []


async def sign_in(page: Page, shop: RunningShop, token: str) -> None:
    """Sign in and open the folds of the section."""
    await page.open(f"{shop.admin_url}/")
    await page.until("document.querySelector('#token')")
    await page.run(f"document.querySelector('#token').value = {token!r}; document.querySelector('form').submit()")
    await page.until("document.querySelector('#acts details')")
    await page.run("document.querySelectorAll('#acts details').forEach((each) => { each.open = true; })")
    await page.until("document.querySelectorAll('#acts table').length >= 3")


def button(name: str) -> str:
    return (
        f"[...document.querySelectorAll('#acts button')].find((each) => each.getAttribute('aria-label') === {name!r})"
    )


async def test_an_operator_turns_a_switch_and_undoes_it_by_keyboard(page: Page, shop: RunningShop) -> None:
    await sign_in(page, shop, shop.admin_token)
    await page.run(f"{button('Turn off search')}.focus()")
    await page.press("Enter", 13)
    await page.until(DIALOG)
    asked = str(await page.run(f"{DIALOG}.innerText"))
    assert "Turn off: search?" in asked
    assert "on (as in the file)" in asked
    # The question opens on Cancel: a second Enter by mistake does nothing.
    await page.press("Enter", 13)
    await page.until(f"{DIALOG} === null")
    assert shop.admin("GET", "/admin/v1/status").body["manual_settings"] == {}

    await page.press("Enter", 13)
    await page.until(DIALOG)
    await page.press("Tab", 9)
    await page.press("Enter", 13)
    await page.until(f"{SAID} === 'Turn off: search: done.'")
    assert shop.admin("GET", "/admin/v1/status").body["manual_settings"]["switch"]["search"]["enabled"] is False

    act = shop.admin("GET", "/admin/v1/acts").body["acts"][0]["id"]
    await page.until(button(f"Undo act {act}"))
    await page.run(f"{button(f'Undo act {act}')}.click()")
    await page.until(DIALOG)
    await page.press("Tab", 9)
    await page.press("Enter", 13)
    await page.until(f"{SAID}.startsWith('Undo act {act}') && {SAID}.endsWith('done.')")
    assert shop.admin("GET", "/admin/v1/status").body["manual_settings"].get("switch", {}) == {}


async def test_an_act_on_a_view_that_is_out_of_date_is_refused_and_said(page: Page, shop: RunningShop) -> None:
    await sign_in(page, shop, shop.admin_token)
    await page.run(f"{button('Turn off search')}.click()")
    await page.until(DIALOG)
    shop.admin("POST", "/admin/v1/switches/search", {"percent": 10})
    await page.run(f"{DIALOG}.querySelector('button[value=do]').click()")
    await page.until(f"{SAID}.includes('Changed meanwhile')")
    shop.admin("POST", "/admin/v1/switches/search", {})
    # The refusal itself is an error of the browser's console.
    assert all("409" in each for each in page.errors)
    page.errors.clear()


async def test_a_viewer_sees_everything_and_no_button_but_the_sign_out(page: Page, shop: RunningShop) -> None:
    await sign_in(page, shop, (shop.data_dir.parent / "viewer").read_text().strip())
    buttons = "[...document.querySelectorAll('#acts button')].map((each) => each.textContent)"
    assert await page.run(buttons) == ["Sign out"]
    await page.run("document.querySelector('#acts button').click()")
    await page.until("location.pathname === '/console/sign-in'")
