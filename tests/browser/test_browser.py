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
from pathlib import Path

import nbformat
import pytest
from nbconvert.preprocessors import ClearOutputPreprocessor

from instructor.assignment import cell_of, pictures_of
from instructor.files import read_notebook
from instructor.handout import make_handout
from instructor.page import html_page
from project import LAST_GRADED, NOTEBOOK, ROOT, TRAINING, changed

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


def solved_notebook():
    """The solved notebook down to picture 4, and the explorer; it trains until it is interrupted.

    Of the last part, which takes a minute, it has what the explorer calls.
    """
    notebook = ClearOutputPreprocessor().preprocess(read_notebook(NOTEBOOK), {})[0]
    end = notebook.cells.index(cell_of(notebook, LAST_GRADED)) + 1
    called = "log-evidence", "explorer"
    notebook.cells[end:] = [cell_of(notebook, id) for id in called]
    settings = cell_of(notebook, "run-settings")
    settings.source = changed(settings.source, '"VAE_EPOCHS", 100', '"VAE_EPOCHS", 10_000')
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
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment |= {"JUPYTER_RUNTIME_DIR": str(home / "runtime"), "VAE_DATASET": "embedded"}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"]
    server = subprocess.Popen(command, cwd=course, env=environment)
    says = home / "runtime" / f"jpserver-{server.pid}.json"  # it writes this once it listens
    deadline = time.monotonic() + PATIENCE
    try:
        while not (says.exists() and says.read_text().endswith("}")):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield json.loads(says.read_text())
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)


class Page:
    """A notebook of the course in JupyterLab, with its kernel ready."""

    def __init__(self, browser, lab, name):
        self.page = browser.new_page(viewport={"width": 1400, "height": 900})
        self.page.set_default_timeout(1000 * PATIENCE)
        path = f"lab/workspaces/{name}/tree/{name}/{NOTEBOOK.name}"
        self.page.goto(f"{lab['url']}{path}?token={lab['token']}")
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        self.page.locator(".jp-CodeCell").last.wait_for(state="attached")
        cells = read_notebook(Path(lab["root_dir"], name, NOTEBOOK.name)).cells
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

    def barriers_in_both_themes(self, barriers):
        """What keeps people from reading the outputs, but for alt texts: JupyterLab shows none."""
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            self.choose("Settings", "Theme", theme)
            self.page.locator(f'[data-jp-theme-name="{theme}"]').wait_for(state="attached")
            found = barriers(self.page, ".jp-OutputArea-output")
            yield from ((theme, *barrier) for barrier in found if barrier[0] != "image-alt")


def assert_the_explorer_answers(page):
    """A click into the explorer's plane shows another code, and a held-out digit its numbers."""
    place = page.locator(f'iframe[src*="{EXPLORER}"]')
    place.scroll_into_view_if_needed()
    frame = place.element_handle().content_frame()
    frame.locator("#plane").wait_for()
    frame.wait_for_load_state()
    before = frame.locator("#code").inner_text()
    frame.locator("#plane").click(position={"x": 30, "y": 60})
    assert frame.locator("#code").inner_text() != before
    frame.locator("#next").click()
    for name in ("elbo", "evidence"):
        frame.locator(f"#{name}").get_by_text(re.compile(r"^-\d+\.\d$")).wait_for()


def assert_all_are_shown(images, cells):
    """There are as many pictures as the committed notebook's cells show, and all can be decoded."""
    assert images.count() == sum(len(pictures_of(cell)) for cell in cells) > 0
    images.evaluate_all("images => Promise.all(images.map(image => image.decode()))")


def test_the_handout_is_opened_unmodified_and_runs_up_to_its_first_blank(browser, lab, barriers):
    handout = Page(browser, lab, "handout")
    assert handout.page.locator(".jp-mod-dirty").count() == 0
    handout.choose("Run", "Run All Cells")
    cells = handout.cells()
    before = handout.ids[: handout.ids.index("check-bernoulli")]
    assert [id for id in before if cells[id]["failed"] or not cells[id]["ran"]] == []
    says, where = cells["check-bernoulli"]["text"], "see 'A stable Bernoulli density', 1."
    assert f"bernoulli_log_density is not written yet: {where}" in says and "Traceback" not in says
    assert [*handout.barriers_in_both_themes(barriers)] == []


def test_the_solved_notebook_shows_all_after_an_interrupt(browser, lab, notebook, barriers):
    solved = Page(browser, lab, "solved")
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
    assert [*solved.barriers_in_both_themes(barriers)] == []


def test_the_exported_page_shows_everything_without_a_network(page, notebook, tmp_path):
    path = tmp_path / "vae_assignment.html"
    path.write_text(html_page(notebook), "utf-8")
    shutil.copy(ROOT / "docs" / "explorer.html", tmp_path / EXPLORER)
    page.goto(path.as_uri())
    assert_the_explorer_answers(page)
    assert_all_are_shown(page.locator(".jp-OutputArea-output img"), notebook.cells)
    images = page.locator("img")  # those of the texts, too
    alts = images.evaluate_all("images => images.map(image => image.alt)")
    assert [alt for alt in alts if not alt or "No description" in alt] == []
    texts = page.locator(".jp-MarkdownCell").all_inner_texts()
    assert [text for text in texts if "$" in text or "\\" in text] == []  # equations are set
