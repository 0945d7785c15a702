"""What students see in JupyterLab, and readers in the exported page, in a real browser.

JupyterLab is started once, on the hand-out and on a solved copy of it, and is driven by its menus
and buttons. The notebook runs in subprocesses only: nbclient and Playwright would be at odds about
event loops.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

from instructor.cells import LAST_GRADED, TRAINING, pictures_of
from instructor.handout import make_handout
from instructor.page import html_page
from project import NOTEBOOK, ROOT, changed, code_cell, definitions

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
pytestmark = pytest.mark.browser

PATIENCE = 600  # seconds; a condition that comes true ends the wait long before, even when loaded
EXPLORER = "vae_explorer.html"

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

# JupyterLab shows an error as it shows what is written to stderr.
CODE_CELLS = """() => [...document.querySelectorAll(".jp-CodeCell")].map(cell => ({
    ran: /\\d/.test(cell.querySelector(".jp-InputPrompt").textContent),
    text: cell.querySelector(".jp-Cell-outputArea").textContent,
    failed: cell.querySelector('[data-mime-type="application/vnd.jupyter.stderr"]') != null,
}))"""
HAS_ENDED = f"() => (c => c.some(cell => cell.failed) || c.at(-1).ran)(({CODE_CELLS})())"

WIDTHS = """images => Promise.all(images.map(async image => {
    image.loading = "eager";
    await image.decode().catch(() => {});
    return image.naturalWidth;  // 0 if it could not be decoded
}))"""


def solved_notebook():
    """The solved notebook down to picture 4, and the explorer; it trains until it is interrupted.

    Of the last part, which takes a minute, it has what the explorer calls.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    ids = [cell.id for cell in notebook.cells]
    end = ids.index(LAST_GRADED) + 1
    last_part = [cell.source for cell in notebook.cells[end:-1] if cell.cell_type == "code"]
    functions = code_cell("\n".join(map(definitions, last_part)), "functions")
    notebook.cells = notebook.cells[:end] + [functions, notebook.cells[ids.index("explorer")]]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    settings = notebook.cells[ids.index("run-settings")]
    settings.source = changed(settings.source, "N_EPOCHS = 100 ", "N_EPOCHS = 10_000 ")
    return notebook


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with the hand-out and a solved copy of it."""
    folder = tmp_path_factory.mktemp("course")
    make_handout(folder / "handout")
    shutil.copytree(folder / "handout", folder / "solved")
    shutil.copy(ROOT / "vae_helpers.py", folder / "solved")
    nbformat.write(solved_notebook(), folder / "solved" / NOTEBOOK.name)
    return folder


@pytest.fixture(scope="module")
def lab(course, tmp_path_factory):
    """JupyterLab in that folder, as one who starts it for the first time has it: url and token."""
    home = tmp_path_factory.mktemp("home")
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    others = ("VAE_", "JUPYTER", "IPYTHON", "XDG_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environment |= {"HOME": str(home), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "VAE_DATASET": "embedded"}
    environment |= {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=course, env=environment, stdout=log, stderr=log)
    says = home / "runtime" / f"jpserver-{server.pid}.json"  # it writes this once it listens
    deadline = time.monotonic() + PATIENCE
    try:
        while not (says.exists() and says.read_text().endswith("}")):
            assert server.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.1)
        yield json.loads(says.read_text())
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)


class Page:
    """A notebook of the course in JupyterLab, with its kernel ready."""

    def __init__(self, browser, lab, course, name):
        self.page = browser.new_page(viewport={"width": 1400, "height": 900})
        self.page.set_default_timeout(1000 * PATIENCE)
        notebook = f"lab/workspaces/{name}/tree/{name}/{NOTEBOOK.name}"
        self.page.goto(f"{lab['url']}{notebook}?token={lab['token']}")
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        self.page.locator(".jp-CodeCell").last.wait_for(state="attached")
        cells = nbformat.read(course / name / NOTEBOOK.name, as_version=4).cells
        self.ids = [cell.id for cell in cells if cell.cell_type == "code"]

    def choose(self, *path):
        """Choose an entry of JupyterLab's menus."""
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(path[0], exact=True).click()
        for label in path[1:]:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(label, exact=True).click()

    def cells(self):
        """Whether the code cells ran or failed, and what they say, once the run has ended."""
        self.page.wait_for_function(HAS_ENDED)
        return dict(zip(self.ids, self.page.evaluate(CODE_CELLS), strict=True))


def explorer_frame(page):
    """The explorer's page, loaded and in sight."""
    place = page.locator(f'iframe[src*="{EXPLORER}"]')
    place.scroll_into_view_if_needed()
    frame = place.element_handle().content_frame()
    frame.locator("#plane").wait_for()
    frame.wait_for_load_state()
    return frame


def assert_the_explorer_answers(page):
    """A click into the plane shows another code, and a held-out digit its numbers."""
    frame = explorer_frame(page)
    before = frame.locator("#code").inner_text()
    frame.locator("#plane").click(position={"x": 30, "y": 60})
    assert frame.locator("#code").inner_text() != before
    frame.locator("#next").click()
    for name in ("elbo", "evidence"):
        frame.locator(f"#{name}").get_by_text(re.compile(r"^-\d+\.\d$")).wait_for()


def assert_all_are_shown(images, cells):
    """As many pictures can be seen as the committed notebook's cells show."""
    widths = images.evaluate_all(WIDTHS)
    assert len(widths) == sum(len(pictures_of(cell)) for cell in cells) > 0
    assert min(widths) > 0


@pytest.fixture(scope="module")
def handout(browser, lab, course):
    return Page(browser, lab, course, "handout")


@pytest.fixture(scope="module")
def solved(browser, lab, course):
    return Page(browser, lab, course, "solved")


def test_the_handout_is_opened_unmodified_and_runs_up_to_its_first_blank(handout):
    assert handout.page.locator(".jp-mod-dirty").count() == 0
    handout.choose("Run", "Run All Cells")
    cells = handout.cells()
    before = handout.ids[: handout.ids.index("check-bernoulli")]
    assert [id for id in before if cells[id]["failed"] or not cells[id]["ran"]] == []
    says, where = cells["check-bernoulli"]["text"], "see 'A stable Bernoulli density', 1."
    assert f"bernoulli_log_density is not written yet: {where}" in says and "Traceback" not in says


def test_the_solved_notebook_trains_until_it_is_interrupted_and_shows_its_pictures(
    solved, notebook
):
    solved.choose("Run", "Run All Cells")
    training = solved.page.locator(".jp-CodeCell").nth(solved.ids.index(TRAINING))
    for epochs in (r"[1-9]\d*", r"([3-9]|[1-9]\d+)"):  # the bar moves
        training.get_by_text(re.compile(rf"\b{epochs}/10000 \[")).wait_for()
    solved.page.locator('[data-command="notebook:interrupt-kernel"]').click()
    cells = solved.cells()
    assert [id for id, cell in cells.items() if cell["failed"] or not cell["ran"]] == []
    # The bar is gone.
    words = r"Interrupted: what was learned so far is kept\.\s*after epoch \d+: train ELBO .*\n"
    assert re.fullmatch(rf"\s*{words}", cells[TRAINING]["text"])
    images = solved.page.locator(".jp-OutputArea-output img")
    assert_all_are_shown(images, [cell for cell in notebook.cells if cell.id in solved.ids])
    assert_the_explorer_answers(solved.page)


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_outputs_can_be_read(handout, solved, theme, barriers):
    for lab in (handout, solved):
        lab.choose("Settings", "Theme", f"JupyterLab {theme}")
        themed = f'body[data-jp-theme-name="JupyterLab {theme}"]'
        lab.page.locator(themed).wait_for(state="attached")
        found = barriers(lab.page, ".jp-OutputArea-output")
        assert [(rule, html) for rule, html in found if rule != "image-alt"] == []  # it shows none
    solved.page.emulate_media(color_scheme=theme.lower())  # as the browser tells the explorer
    assert barriers(explorer_frame(solved.page)) == []


def test_the_exported_page_shows_everything_without_a_network(browser, notebook, tmp_path):
    path = tmp_path / "vae_assignment.html"
    path.write_text(html_page(notebook), "utf-8")
    shutil.copy(ROOT / "docs" / "explorer.html", tmp_path / EXPLORER)
    page, requests, complaints = browser.new_context(offline=True).new_page(), [], []
    page.set_default_timeout(1000 * PATIENCE)
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    assert_the_explorer_answers(page)
    files = {path.as_uri(), (tmp_path / EXPLORER).as_uri()}
    assert {url for url in requests if not url.startswith("data:")} == files
    assert complaints == []
    images = page.locator("img")
    assert_all_are_shown(images, notebook.cells)
    alts = images.evaluate_all("images => images.map(image => image.alt)")
    assert [alt for alt in alts if not alt or "No description" in alt] == []
    texts = page.locator(".jp-MarkdownCell").all_inner_texts()
    assert [text for text in texts if "$" in text or "\\" in text] == []  # equations are set
