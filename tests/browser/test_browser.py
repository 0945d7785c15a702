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

from contrast import faint_texts
from instructor.cells import SCATTER, TRAINING
from project import NOTEBOOK, ROOT, SMALL_RUN

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")

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

IMAGES = """images => Promise.all(images.map(async image => {
    image.loading = "eager";
    await image.decode().catch(() => {});
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = image.naturalWidth && context.getImageData(0, 0, canvas.width, canvas.height);
    const alphas = (pixels.data || []).filter((_, i) => i % 4 == 3);
    return {
        width: image.naturalWidth,
        alt: image.alt,
        opaque: alphas.every(alpha => alpha == 255),
        corner: pixels && Math.min(...pixels.data.slice(0, 3)),
    };
}))"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with the hand-out and three solved copies, one of them for a long training."""
    folder = tmp_path_factory.mktemp("course")
    make_handout = [sys.executable, "-m", "instructor", "handout"]
    subprocess.run([*make_handout, str(folder / "handout")], check=True)
    solve(folder / "handout", folder / "solved", n_epochs=4)
    solve(folder / "handout", folder / "exported", n_epochs=2)
    solve(folder / "handout", folder / "interrupted", n_epochs=10_000, last=SCATTER)
    return folder


def solve(handout, folder, n_epochs, last=None):
    """Copy the hand-out with the solutions in, without outputs, and up to the cell `last`."""
    shutil.copytree(handout, folder)
    shutil.copy(ROOT / "vae_helpers.py", folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    ids = [cell.id for cell in notebook.cells]
    if last:
        del notebook.cells[ids.index(last) + 1 :]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    settings = notebook.cells[ids.index("run-settings")]
    settings.source = settings.source.replace("N_EPOCHS = 100", f"N_EPOCHS = {n_epochs}")
    nbformat.write(notebook, folder / NOTEBOOK.name)


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
            command, cwd=course, env=environment, stdout=output, stderr=subprocess.STDOUT
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
        if path.exists() and (text := path.read_text()).endswith("}"):
            return json.loads(text)
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()}")


@contextmanager
def opened(browser, lab, name):
    """The page of the notebook in this folder, with its kernel ready."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    notebook = f"lab/workspaces/{name}/tree/{name}/{NOTEBOOK.name}"
    page.goto(f"{lab['url']}{notebook}?token={lab['token']}")
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
    page.locator(".jp-CodeCell").last.wait_for(state="attached")
    yield page
    page.close()


def choose(page, *path):
    """Choose an entry of JupyterLab's menus."""
    page.locator(".lm-MenuBar-itemLabel").get_by_text(path[0], exact=True).click()
    for label in path[1:]:
        page.locator(".lm-Menu-itemLabel").get_by_text(label, exact=True).click()


def run_all(page):
    """Run all cells, until the last one has run or one has failed."""
    choose(page, "Run", "Run All Cells")
    page.wait_for_function(HAS_ENDED)


def code_cells(page, notebook):
    """What the prompts and outputs of the page's code cells say, by the cells' ids."""
    ids = [cell.id for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    cells = (SimpleNamespace(**cell) for cell in page.evaluate(CODE_CELLS))
    return dict(zip(ids, cells, strict=True))


def assert_all_ran(cells):
    assert [id for id, cell in cells.items() if cell.failed] == []
    assert [id for id, cell in cells.items() if not re.fullmatch(r"\[\d+\]:", cell.prompt)] == []


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


@pytest.fixture(scope="module")
def handout(browser, lab, course):
    """The hand-out in JupyterLab after one run of all of its cells: page and cells."""
    with opened(browser, lab, "handout") as page:
        run_all(page)
        yield page, code_cells(page, course / "handout" / NOTEBOOK.name)


@pytest.fixture(scope="module")
def solved(browser, lab, course):
    """The solved notebook in JupyterLab after one run of all of its cells: page and cells."""
    with opened(browser, lab, "solved") as page:
        cells = code_cells(page, course / "solved" / NOTEBOOK.name)
        training = page.locator(".jp-CodeCell").nth([*cells].index(TRAINING))
        training.locator(".jp-Cell-outputArea").evaluate(KEEP_COUNTS)
        run_all(page)
        yield page, code_cells(page, course / "solved" / NOTEBOOK.name)


@pytest.fixture(scope="module")
def exported(course):
    """The page that the README's first command writes, in the notebook's folder."""
    folder = course / "exported"
    result = folder / "vae_assignment.html"
    command = [sys.executable, "-m", "instructor", "execute", NOTEBOOK.name, result.name]
    subprocess.run(command, cwd=folder, env={**os.environ, **SMALL_RUN}, check=True)
    return result


@pytest.fixture(scope="module")
def export(browser, exported):
    """That page in a browser without a network; what it asked for; what it complained of."""
    context = browser.new_context(offline=True)
    page, requests, complaints = context.new_page(), [], []
    page.set_default_timeout(1000 * PATIENCE)
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(exported.as_uri())
    yield SimpleNamespace(page=page, requests=requests, complaints=complaints)
    context.close()


def test_the_handout_runs_up_to_its_first_blank(handout):
    _, cells = handout
    first_blank = [*cells].index("check-bernoulli")
    assert_all_ran(dict([*cells.items()][:first_blank]))
    where = "see 'A stable Bernoulli density', 1."
    says = cells["check-bernoulli"].text
    assert f"bernoulli_log_density is not written yet: {where}" in says and "Traceback" not in says


def test_the_solved_notebook_runs_to_its_end(solved):
    _, cells = solved
    assert_all_ran(cells)


def test_a_bar_moves_while_the_network_trains_and_is_gone_afterwards(solved):
    page, cells = solved
    counts = [int(count) for count in page.evaluate("window.counts")]
    assert counts == sorted(counts) and len(counts) >= 2
    assert re.fullmatch(r"\s*after epoch 4: train ELBO .* nats per digit\n", cells[TRAINING].text)


def test_every_picture_is_shown(solved):
    page, _ = solved
    images = page.locator(".jp-OutputArea-output img").evaluate_all(IMAGES)
    assert len(images) == number_of_pictures()
    assert all(image["width"] > 0 for image in images)


def number_of_pictures():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_explorer_answers_beside_the_notebook(solved):
    page, _ = solved
    assert_the_explorer_answers(page)


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_outputs_can_be_read(handout, solved, theme):
    for page, _ in (handout, solved):
        choose(page, "Settings", "Theme", f"JupyterLab {theme}")
        themed = f'body[data-jp-theme-name="JupyterLab {theme}"]'
        page.locator(themed).wait_for(state="attached")
        assert faint_texts(page, ".jp-OutputArea-output") == []
    page.emulate_media(color_scheme=theme.lower())  # as the browser tells the explorer
    texts = "h1, p:not(#labels), figcaption, dl, label, button"  # the labels are a key to colours
    assert faint_texts(explorer_frame(page), texts) == []
    for image in page.locator(".jp-OutputArea-output img").evaluate_all(IMAGES):
        assert image["opaque"]  # no theme shines through,
        assert image["corner"] > 240 or image["width"] == 1400  # and but for the map, it is paper


def test_an_interrupt_keeps_what_was_learned(browser, lab, course):
    with opened(browser, lab, "interrupted") as page:
        cells = code_cells(page, course / "interrupted" / NOTEBOOK.name)
        choose(page, "Run", "Run All Cells")
        training = page.locator(".jp-CodeCell").nth([*cells].index(TRAINING))
        training.get_by_text(re.compile(r"\b[1-9]\d*/10000 \[")).wait_for()
        page.locator('[data-command="notebook:interrupt-kernel"]').click()
        page.wait_for_function(HAS_ENDED)
        cells = code_cells(page, course / "interrupted" / NOTEBOOK.name)
    assert_all_ran(cells)
    says = cells[TRAINING].text
    assert re.search(r"Interrupted: what was learned so far is kept\. *\nafter epoch \d+: ", says)


def test_the_page_needs_no_network(export):
    explorer_frame(export.page)
    files = {export.page.url, export.page.url.replace("vae_assignment.html", EXPLORER)}
    assert {url for url in export.requests if not url.startswith("data:")} == files
    assert export.complaints == []


def test_the_pictures_of_the_page_are_shown_and_described(export):
    images = export.page.locator("img").evaluate_all(IMAGES)
    assert len(images) == number_of_pictures()
    assert all(image["width"] > 0 for image in images)
    assert [i for i in images if not i["alt"] or "No description" in i["alt"]] == []


def test_the_equations_of_the_page_are_set(export):
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    texts = [re.sub(r"`[^`]*`", "", c.source) for c in cells if c.cell_type == "markdown"]
    equations = [e for text in texts for e in re.findall(r"(?s)\$\$.*?\$\$|\$.*?\$", text)]
    assert export.page.locator("math").count() == len(equations) > 0
    shown = export.page.locator(".jp-MarkdownCell").all_inner_texts()
    assert [text for text in shown if "$" in text or "\\" in text] == []


def test_the_explorer_answers_in_the_page(export):
    assert_the_explorer_answers(export.page)
