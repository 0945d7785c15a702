"""What students see in JupyterLab, and readers in the exported page, in a real browser.

JupyterLab is started once, on the hand-out and on copies of it with the solutions in, and is driven
by its menus and buttons. The notebook runs in subprocesses only: nbclient and Playwright would be
at odds about event loops.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

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
    prompt: cell.querySelector(".jp-InputPrompt").textContent,
    text: cell.querySelector(".jp-Cell-outputArea").textContent,
    failed: cell.querySelector('[data-mime-type="application/vnd.jupyter.stderr"]') != null,
}))"""

HAS_ENDED = f"""() => {{
    const cells = ({CODE_CELLS})();
    return cells.some(cell => cell.failed) || /\\d/.test(cells.at(-1).prompt);
}}"""

KEEP_COUNTS = """output => {  // of the bar: how many epochs it has shown as done, in window.counts
    window.counts = [];
    new MutationObserver(() => {
        const count = output.textContent.match(/(\\d+)\\/\\d+ \\[/);
        if (count && count[1] != window.counts.at(-1)) window.counts.push(count[1]);
    }).observe(output, {childList: true, subtree: true, characterData: true});
}"""

WIDTHS = """images => Promise.all(images.map(async image => {
    image.loading = "eager";
    await image.decode().catch(() => {});
    return image.naturalWidth;  // 0 if it could not be decoded
}))"""


def solved_until(last, n_epochs):
    """The solved notebook up to one of its cells, without outputs, for so many epochs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    ids = [cell.id for cell in notebook.cells]
    del notebook.cells[ids.index(last) + 1 :]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    settings = notebook.cells[ids.index("run-settings")]
    settings.source = changed(settings.source, "N_EPOCHS = 100 ", f"N_EPOCHS = {n_epochs} ")
    return notebook


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with the hand-out and two solved copies of it: folder and notebooks.

    Of the last part, which takes a minute, the first has the explorer and what it calls.
    """
    folder = tmp_path_factory.mktemp("course")
    make_handout(folder / "handout")
    solved = solved_until(LAST_GRADED, n_epochs=4)
    *last_part, explorer = solved_until("explorer", n_epochs=4).cells[len(solved.cells) :]
    functions = [definitions(cell.source) for cell in last_part if cell.cell_type == "code"]
    solved.cells += [code_cell("\n".join(functions), "functions"), explorer]
    notebooks = {
        "handout": nbformat.read(folder / "handout" / NOTEBOOK.name, as_version=4),
        "solved": solved,
        "interrupted": solved_until("training-curve", n_epochs=10_000),
    }
    for name in ("solved", "interrupted"):
        shutil.copytree(folder / "handout", folder / name)
        shutil.copy(ROOT / "vae_helpers.py", folder / name)
        nbformat.write(notebooks[name], folder / name / NOTEBOOK.name)
    return SimpleNamespace(folder=folder, notebooks=notebooks)


@pytest.fixture(scope="module")
def lab(course, tmp_path_factory):
    """JupyterLab in that folder, as one who starts it for the first time has it: url and token."""
    home = tmp_path_factory.mktemp("home")
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VAE_")},
        **{"HOME": str(home), "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "VAE_DATASET": "embedded"},
        **{f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")},
        **{"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "IPYTHONDIR": str(home / "ipython")},
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"]
    log = home / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=course.folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield address(server, home / "RUNTIME", log)
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)


def address(server, folder, log):
    """What the server writes into its runtime folder once it listens: a dict."""
    deadline = time.monotonic() + PATIENCE
    path = folder / f"jpserver-{server.pid}.json"
    while server.poll() is None and time.monotonic() < deadline:
        text = path.read_text() if path.exists() else ""
        if text.endswith("}"):
            return json.loads(text)
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def opened(browser, lab, course):
    """Context manager: the page of a notebook of the course, with its kernel ready."""

    @contextmanager
    def open_page(name):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        notebook = f"lab/workspaces/{name}/tree/{name}/{NOTEBOOK.name}"
        page.goto(f"{lab['url']}{notebook}?token={lab['token']}")
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        page.locator(".jp-CodeCell").last.wait_for(state="attached")
        ids = [cell.id for cell in course.notebooks[name].cells if cell.cell_type == "code"]
        yield Page(page, ids)
        page.close()

    return open_page


class Page:
    """A notebook in JupyterLab."""

    def __init__(self, page, ids):
        self.page, self.ids = page, ids

    def choose(self, *path):
        """Choose an entry of JupyterLab's menus."""
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(path[0], exact=True).click()
        for label in path[1:]:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(label, exact=True).click()

    def code_cell(self, id):
        return self.page.locator(".jp-CodeCell").nth(self.ids.index(id))

    def cells(self):
        """What the prompts and outputs of the code cells say, by the cells' ids."""
        cells = [SimpleNamespace(**cell) for cell in self.page.evaluate(CODE_CELLS)]
        return dict(zip(self.ids, cells, strict=True))

    def until_all_ran(self):
        """Wait until the last cell has run or one has failed, and see that none has."""
        self.page.wait_for_function(HAS_ENDED)
        cells = self.cells()
        assert [id for id, cell in cells.items() if cell.failed] == []
        assert [id for id, c in cells.items() if not re.fullmatch(r"\[\d+\]:", c.prompt)] == []
        return cells


def explorer_frame(page):
    """The explorer's page, loaded and in sight."""
    place = page.locator(f'iframe[src*="{EXPLORER}"]')
    place.scroll_into_view_if_needed()
    frame = place.element_handle().content_frame()
    frame.locator("#plane").wait_for()
    frame.wait_for_load_state()
    return frame


def assert_the_explorer_answers(page):
    """Two clicks into the plane show two codes and two digits, and a held-out digit its numbers."""
    frame = explorer_frame(page)
    now = """() => [
        document.querySelector("#code").textContent, document.querySelector("#digit").toDataURL()
    ]"""
    for x in (30, 90):
        before = frame.evaluate(now)
        frame.locator("#plane").click(position={"x": x, "y": 60})
        frame.wait_for_function(f"before => ({now})().every((s, i) => s != before[i])", arg=before)
    frame.locator("#next").click()
    for name in ("elbo", "evidence"):
        frame.locator(f"#{name}").get_by_text(re.compile(r"^-\d+\.\d$")).wait_for()


def assert_all_are_shown(images, cells):
    """As many pictures can be seen as the committed notebook's cells show."""
    widths = images.evaluate_all(WIDTHS)
    assert len(widths) == sum(len(pictures_of(cell)) for cell in cells) > 0
    assert min(widths) > 0


# JupyterLab ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handout(opened):
    """The hand-out after one run of all of its cells."""
    with opened("handout") as lab:
        lab.choose("Run", "Run All Cells")
        lab.page.wait_for_function(HAS_ENDED)
        yield lab


@pytest.fixture(scope="module")
def solved(opened):
    """The solved notebook after one run of all of its cells."""
    with opened("solved") as lab:
        lab.code_cell(TRAINING).locator(".jp-Cell-outputArea").evaluate(KEEP_COUNTS)
        lab.choose("Run", "Run All Cells")
        lab.until_all_ran()
        yield lab


def test_the_handout_runs_up_to_its_first_blank(handout):
    cells = handout.cells()
    before = handout.ids[: handout.ids.index("check-bernoulli")]
    assert [id for id in before if cells[id].failed or not cells[id].prompt.strip("[ ]:")] == []
    where = "see 'A stable Bernoulli density', 1."
    says = cells["check-bernoulli"].text
    assert f"bernoulli_log_density is not written yet: {where}" in says and "Traceback" not in says


def test_the_solved_notebook_shows_its_pictures_and_a_bar_that_moves(solved, notebook):
    counts = [int(count) for count in solved.page.evaluate("window.counts")]
    assert counts == sorted(counts) and len(counts) >= 2
    says = solved.cells()[TRAINING].text  # the bar is gone
    assert re.fullmatch(r"\s*after epoch 4: train ELBO .* nats per digit\n", says)
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


def test_an_interrupt_keeps_what_was_learned(opened):
    with opened("interrupted") as lab:
        lab.choose("Run", "Run All Cells")
        lab.code_cell(TRAINING).get_by_text(re.compile(r"\b[1-9]\d*/10000 \[")).wait_for()
        lab.page.locator('[data-command="notebook:interrupt-kernel"]').click()
        says = lab.until_all_ran()[TRAINING].text
    assert re.search(r"Interrupted: what was learned so far is kept\. *\nafter epoch \d+: ", says)


# The exported page --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def export(browser, tmp_path_factory):
    """The committed notebook's page in a browser without a network; what it asks for and says."""
    folder = tmp_path_factory.mktemp("exported")
    html = html_page(nbformat.read(NOTEBOOK, as_version=4))
    (folder / "vae_assignment.html").write_text(html, "utf-8")
    shutil.copy(ROOT / "docs" / "explorer.html", folder / EXPLORER)
    context = browser.new_context(offline=True)
    page, requests, complaints = context.new_page(), [], []
    page.set_default_timeout(1000 * PATIENCE)
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "vae_assignment.html").as_uri())
    yield SimpleNamespace(page=page, requests=requests, complaints=complaints)
    context.close()


def test_the_page_needs_no_network(export):
    assert_the_explorer_answers(export.page)
    files = {export.page.url, export.page.url.replace("vae_assignment.html", EXPLORER)}
    assert {url for url in export.requests if not url.startswith("data:")} == files
    assert export.complaints == []


def test_the_pictures_of_the_page_are_shown_and_described(export, notebook):
    images = export.page.locator("img")
    assert_all_are_shown(images, notebook.cells)
    alts = images.evaluate_all("images => images.map(image => image.alt)")
    assert [alt for alt in alts if not alt or "No description" in alt] == []


def test_the_equations_of_the_page_are_set(export, notebook):
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    texts = [re.sub(r"`[^`]*`", "", source) for source in cells]
    equations = [e for text in texts for e in re.findall(r"(?s)\$\$.*?\$\$|\$.*?\$", text)]
    assert export.page.locator("math").count() == len(equations) > 0
    shown = export.page.locator(".jp-MarkdownCell").all_inner_texts()
    assert [text for text in shown if "$" in text or "\\" in text] == []
