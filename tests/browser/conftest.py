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
def barriers():
    """Function: what keeps people from reading a page or frame, by axe's rules, as (rule, HTML).

    Only the elements that a selector selects are looked at, and those inside them.
    """
    package = "axe_playwright_python.sync_playwright"
    axe = pytest.importorskip(package, reason="axe-playwright-python is not installed").Axe()

    def find(frame, selector="html"):
        results = axe.run(frame, selector, {"resultTypes": ["violations", "incomplete"]}).response
        found = [(rule["id"], node) for rule in results["violations"] for node in rule["nodes"]]
        # Whether a single character is text, axe leaves open; a graphic needs a contrast of 3.
        for node in (node for rule in results["incomplete"] for node in rule["nodes"]):
            contrasts = [(check["data"] or {}).get("contrastRatio", 9) for check in node["any"]]
            found += [("faint", node)] if min(contrasts, default=9) < 3 else []
        return [(rule, node["html"]) for rule, node in found]

    return find
