"""The page at /docs is complete and loads nothing from other hosts."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.api.pages import page_endpoints

PAGE = Path(__file__).parents[3] / "gateway" / "api" / "docs_page"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.iterdir())}


def test_the_page_references_no_other_host() -> None:
    for name, text in TEXTS.items():
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text, re.IGNORECASE), name
        assert "@import" not in text, name
        assert "url(" not in text, name


def test_every_file_the_page_loads_is_shipped() -> None:
    linked = set(re.findall(r'(?:href|src)="/docs/([^"]+)"', TEXTS["index.html"]))
    imported = {name for text in TEXTS.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert linked | imported | {"index.html"} == set(TEXTS)


def test_every_file_of_the_page_is_served_at_the_path_the_page_loads() -> None:
    served = {endpoint.path for endpoint in page_endpoints((), "0")}
    assert {"/docs", "/openapi.json", *(f"/docs/{name}" for name in TEXTS if name != "index.html")} <= served


def test_the_page_works_under_its_content_security_policy() -> None:
    page = TEXTS["index.html"]
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\s(?:style|on\w+)=", page)
    assert not re.search(
        r"\.(?:innerHTML|outerHTML|style)\b|insertAdjacentHTML|\beval\(",
        "".join(text for name, text in TEXTS.items() if name.endswith(".js")),
    )


def test_the_page_takes_a_token_and_a_key_and_stores_neither() -> None:
    assert 'id="credentials"' in TEXTS["index.html"]
    assert 'type: "password"' in TEXTS["credentials.js"]
    everything = "".join(TEXTS.values())
    assert not re.search(r"localStorage|sessionStorage|document\.cookie|indexedDB", everything)


CREDENTIALS = """
globalThis.document = { createElement: () => ({ append() {}, setAttribute() {}, listeners: {}, value: "",
  addEventListener(name, act) { this.listeners[name] = act; } }) };
const made = [];
const create = document.createElement;
document.createElement = (tag) => { const element = create(tag); if (tag === "input") made.push(element); return element; };
const { credentialFields, credentialInputs } = await import("./credentials.js");
const api = { security: [{}, { shopper: [] }, { apiKey: [] }], components: { securitySchemes: {
  shopper: { type: "http", scheme: "bearer" }, apiKey: { type: "apiKey", in: "header", name: "X-Api-Key" } } } };
credentialInputs(api);
made[0].value = " Bearer abc.def.ghi "; made[0].listeners.input();
made[1].value = "key-1"; made[1].listeners.input();
console.log(JSON.stringify([credentialFields(api, {}), credentialFields(api, {}, { shown: true }), credentialFields(api, { security: [] })]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the scripts of the page")
def test_credentials_are_sent_where_the_operation_takes_them_and_shown_as_variables(tmp_path: Path) -> None:
    shutil.copytree(PAGE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(CREDENTIALS)
    ran = subprocess.run(["node", tmp_path / "run.js"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == (
        '[{"Authorization":"Bearer abc.def.ghi","X-Api-Key":"key-1"},'
        '{"Authorization":"Bearer $TOKEN","X-Api-Key":"$API_KEY"},{}]'
    )
