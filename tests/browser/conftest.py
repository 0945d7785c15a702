"""A browser, and what axe finds wrong with a page in it."""

import shutil

import pytest


@pytest.fixture(scope="module")  # its event loop must not outlive the module: nbclient has its own
def browser():
    """Debian's Chromium, driven by Playwright; what needs it is skipped where one is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = shutil.which("chromium")
    if not program:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, tmp_path):
    """A page for the files in tmp_path, offline; it must not complain, or ask for anything else."""
    page = browser.new_page(offline=True, has_touch=True, viewport={"width": 1000, "height": 700})
    page.set_default_timeout(600_000)  # milliseconds: the machine may be slow
    noise, requests = [], []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page
    # It is the tests that read the pictures back, frequently.
    assert [text for text in noise if "willReadFrequently" not in text] == []
    files = {path.as_uri() for path in tmp_path.iterdir()}
    assert {url for url in requests if not url.startswith("data:")} == files
    page.close()


@pytest.fixture
def barriers():
    """Function: what keeps people from reading a page or frame, by axe's rules, as (rule, HTML).

    Only the elements that a selector selects are looked at, and those inside them.
    """
    from axe_playwright_python.sync_playwright import Axe

    def find(frame, selector="html"):
        results = Axe().run(frame, selector, {"resultTypes": ["violations", "incomplete"]}).response
        found = [(rule["id"], node) for rule in results["violations"] for node in rule["nodes"]]
        # Whether a single character is text, axe leaves open; a graphic needs a contrast of 3.
        for node in (node for rule in results["incomplete"] for node in rule["nodes"]):
            contrasts = [(check["data"] or {}).get("contrastRatio", 9) for check in node["any"]]
            found += [("faint", node)] if min(contrasts, default=9) < 3 else []
        return [(rule, node["html"]) for rule, node in found]

    return find
