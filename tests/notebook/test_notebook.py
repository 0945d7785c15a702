"""The notebook: its cells, what it stores, and what it does when it is run.

It is executed once, on the embedded digits; the tests look at that kernel one after the other.
"""

import base64
import copy
import io
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

from instructor.cells import LAST_GRADED, PICTURES, TRAINING, cell_of, pictures_of
from project import ROOT

# The ids of the original's cells, in its order. Between them lie the cells that the port adds.
ORIGINAL_CELLS = Path(__file__).with_name("original_cells.txt").read_text().split()
DECODER = "d7415d20-90af-11eb-266b-b3ea86750c98"
LOAD = "54749c92-8c1d-11eb-2a54-a1ae0b1dc587"

LIBRARY_MADE = re.compile(
    r"distributions?|scipy|pyro|numpyro|log_prob|logpdf|normal_?|bernoulli_?|binomial|multinomial|"
    r"poisson|kl_div|\w*cross_entropy\w*|\w+_loss|\w*Loss"
)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell):
    """Everything that the cell's outputs say in words."""
    texts = [o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return "\n".join(texts)


def pixels_of(cell):
    """The one picture that the cell shows, as grey values or colours."""
    (png,) = pictures_of(cell)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


# The cells ----------------------------------------------------------------------------------


def test_every_cell_of_the_original_is_there_in_its_order(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert [id for id in ids if id in ORIGINAL_CELLS] == ORIGINAL_CELLS
    assert len(set(ids)) == len(ids)
    added = set(ids) - set(ORIGINAL_CELLS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", id) for id in added)


def test_no_probability_comes_from_a_library(notebook):
    written = [cell.source for cell in code_cells(notebook) if not cell.id.startswith("check-")]
    source = "\n".join([*written, (ROOT / "vae_helpers.py").read_text()])
    source = re.sub("(?m)^%.*", "", source)  # without IPython's magics
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    assert "logsigmoid" in names
    assert {name for name in names if LIBRARY_MADE.fullmatch(name)} <= {"batch_loss"}


# The stored outputs -------------------------------------------------------------------------


def test_stored_outputs_are_complete_and_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in code_cells(notebook):
        assert all(o.output_type != "error" and o.get("name") != "stderr" for o in cell.outputs)
    below, shown = None, set()
    for cell in notebook.cells:
        below = cell.id if cell.id in ORIGINAL_CELLS and cell.cell_type == "markdown" else below
        shown |= {below} if pictures_of(cell) else set()
    assert set(PICTURES) <= shown


def test_stored_pictures_can_be_seen_on_any_page_and_have_words(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" not in output.get("data", {}):
                continue
            assert len(output.metadata["image/png"]["alt"]) > 40, cell.id
            picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
            assert picture.convert("RGBA").getextrema()[3] == (255, 255), cell.id  # not transparent
            if cell.id != LAST_GRADED:  # on paper, but for the map
                assert min(picture.convert("RGB").getpixel((0, 0))) > 240, cell.id


def test_stored_outputs_hold_nothing_that_changes_by_itself(notebook):
    for cell in code_cells(notebook):
        assert set(cell.metadata) <= {"tags", "nbgrader"}, cell.id
        # Addresses, paths, bars, times, warnings.
        pattern = r"0x[0-9a-f]{6,}|/\w+/|[A-Z]:\\|it/s|\d%|\d\d:\d\d|Warning"
        noise = re.search(pattern, text_of(cell))
        assert not noise, (cell.id, noise)
        for output in cell.outputs:  # of HTML only the frame, whose page is a file
            assert ("text/html" in output.get("data", {})) == (cell.id == "explorer"), cell.id
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_stored_result_is_that_of_100_epochs_on_mnist(notebook):
    loaded, trained = (text_of(cell_of(notebook, id)) for id in (LOAD, TRAINING))
    assert "MNIST: 60,000 training and 10,000 held-out digits" in loaded
    numbers = r"after epoch (\d+): train ELBO (-[\d.]+), held-out ELBO (-[\d.]+)"
    epochs, train_elbo, heldout_elbo = re.search(numbers, trained).groups()
    assert int(epochs) == 100
    # What an independent implementation reached, and 1.5 nats for another seed.
    assert float(train_elbo) == pytest.approx(-135.2, abs=1.5)
    assert float(heldout_elbo) == pytest.approx(-147.2, abs=1.5)


# Running it ---------------------------------------------------------------------------------


def test_runs_from_top_to_bottom_on_the_embedded_digits(executed):
    for cell in code_cells(executed.client.nb):
        assert all(o.get("name") != "stderr" for o in cell.outputs), cell.id
    loaded, trained = (text_of(executed.cell(id)) for id in (LOAD, TRAINING))
    assert "embedded digits: 6,000 training and 1,000 held-out digits" in loaded
    assert trained.startswith("after epoch 2: train ELBO -")


def compared(cell):
    """The cell's outputs as nbval compares them, pictures by their sizes in words."""
    outputs = copy.deepcopy(cell.outputs)
    for output in outputs:
        output.pop("execution_count", None), output.pop("metadata", None)
        output.get("data", {}).pop("image/png", None)
    return outputs


def test_what_nbval_compares_is_the_same_on_any_digits_after_any_training(notebook, executed):
    for stored, cell in zip(code_cells(notebook), code_cells(executed.client.nb), strict=True):
        assert len(pictures_of(cell)) == len(pictures_of(stored)), cell.id
        if "nbval-ignore-output" not in cell.metadata.get("tags", []):
            assert compared(cell) == compared(stored), cell.id


def test_names_have_the_agreed_shapes(executed):
    shapes = executed.evaluate("""
x, z = binarized_mnist[:7], torch.zeros(7, Dz)
for tensor in (greyscale_mnist, binarized_mnist, decoder(z), *encoder(x), log_prior(z),
               log_q(z, z, z), log_likelihood(x, z), joint_log_density(x, z), elbo(x), loss(x)):
    print(tuple(tensor.shape))
""").splitlines()
    assert shapes[:2] == ["(6000, 784)"] * 2
    assert shapes[2:5] == ["(7, 784)", "(7, 2)", "(7, 2)"]
    assert shapes[5:] == ["(7,)"] * 4 + ["()"] * 2


def test_binarized_digits_are_the_grey_ones_above_a_half(executed):
    equal = executed.evaluate("""
def binarized(images):
    return (images.reshape(len(images), -1) >= 128).float()
print(torch.equal(binarized_mnist, binarized(digits.train_images)),
      torch.equal(heldout_mnist, binarized(digits.test_images)))
""")
    assert equal == "True True\n"


def test_batches_deal_out_every_digit_once_in_a_new_order_each_time(executed):
    verdicts = executed.evaluate("""
fingerprint = torch.randn(Ddata, 1, generator=generator(9), dtype=torch.float64)
first, second = ([x.double() @ fingerprint for x in batches] for _ in range(2))
in_order = [torch.cat(parts).sort(dim=0).values for parts in (first, second)]
everything = (binarized_mnist.double() @ fingerprint).sort(dim=0).values
print({len(batch) for batch in first} == {BS}, len(first) == len(batches),
      not torch.equal(torch.cat(first), torch.cat(second)),
      *(torch.allclose(numbers, everything) for numbers in in_order))
""")
    assert verdicts == "True True True True True\n"


def test_training_improves_the_elbo(executed):
    first, last = map(float, executed.evaluate("print(history[0][1], history[-1][1])").split())
    assert -400 < first < last < -100


def test_the_lattice_is_one_grey_picture_with_its_axes_the_correct_way_up(executed):
    picture = pixels_of(executed.cell(LAST_GRADED))
    assert picture.shape == (1400, 1400)
    # Decoded one by one: tile (row, column) belongs to z_x = -3 + 6 column / 49 and
    # z_y = 3 - 6 row / 49, since z_x grows to the right and z_y upwards.
    places = [(0, 0), (0, 49), (49, 0), (49, 49), (13, 31)]
    codes = [[-3 + 6 * column / 49, 3 - 6 * row / 49] for row, column in places]
    rows = executed.evaluate(f"""
for row in 255 * torch.sigmoid(decoder(torch.tensor({codes}))).reshape(-1, 28):
    print(*row.tolist())
""").splitlines()
    expected = np.array([row.split() for row in rows], float).reshape(-1, 28, 28)
    for tile, (row, column) in zip(expected, places):
        found = picture[28 * row : 28 * (row + 1), 28 * column : 28 * (column + 1)]
        assert np.abs(found - tile).max() < 0.51  # rounded to a whole grey value


def test_a_cell_run_again_shows_the_same_picture(executed):
    graded = executed.cells[executed.index[TRAINING] + 1 : executed.index[LAST_GRADED] + 1]
    # Backwards first, so that no cell finds what the one above it has just left behind.
    for cell in [*reversed(graded), *graded]:
        # Without the checks, one of which seeds PyTorch's global noise.
        if cell.cell_type == "code" and not cell.id.startswith("check-"):
            before = pictures_of(cell)
            assert pictures_of(executed.run(cell.id)) == before, cell.id


# Training -----------------------------------------------------------------------------------


@pytest.fixture
def kernel(executed):
    """The executed notebook's kernel; what a test changes of the training is put back."""
    executed.evaluate("""
settings = N_EPOCHS, BFLOAT16, batches, train, heldout_elbo, [*history]
states = copy.deepcopy([network.state_dict() for network in (encoder, decoder)])
""")
    yield executed
    executed.run(DECODER), executed.run("encoder")
    executed.evaluate("""
N_EPOCHS, BFLOAT16, batches, train, heldout_elbo, history = settings
for network, state in zip((encoder, decoder), states):
    network.load_state_dict(state)
""")


def test_training_run_again_trains_on_from_the_same_weights(kernel):
    kernel.run(TRAINING)
    lengths = kernel.evaluate("print(len(history), history[3] > history[1] > history[0])")
    assert lengths == "4 True\n"


def test_saved_parameters_are_loaded_when_asked_for(kernel):
    kernel.run(TRAINING)
    saved = kernel.evaluate("print(history, heldout_elbo())")
    kernel.evaluate("""
LOAD_PARAMETERS, history = True, 0
for network in (encoder, decoder):
    for p in network.parameters():
        p.data.zero_()
""")
    try:
        assert text_of(kernel.run(TRAINING)).startswith("after epoch ")
    finally:
        kernel.evaluate("LOAD_PARAMETERS = False")
    restored = kernel.evaluate("print(history, heldout_elbo())")
    (history, elbo), (history_again, elbo_again) = (t.rsplit(" ", 1) for t in (saved, restored))
    assert history == history_again
    assert float(elbo) == pytest.approx(float(elbo_again), abs=0.5)  # other noise


def test_training_starts_from_the_weights_that_the_student_chose(kernel):
    kernel.evaluate("for p in decoder.parameters():\n    p.data.fill_(0.123)")
    kernel.run_all(after=DECODER, until=TRAINING)
    kernel.evaluate("def train(*networks_and_more):\n    return []")
    kernel.run(TRAINING)
    extremes = "print([[p.min().item(), p.max().item()] for p in decoder.parameters()])"
    values = re.findall(r"[-\d.]+", kernel.evaluate(extremes))
    assert [float(value) for value in values] == pytest.approx([0.123] * 8)


def test_an_interrupt_keeps_what_was_learned(kernel):
    # Some time after the second epoch, in the middle of whatever it is doing then.
    kernel.evaluate("""
import _thread, threading
N_EPOCHS, called, whole_heldout_elbo = 100_000, [], heldout_elbo
def heldout_elbo():
    called.append(True)
    if len(called) == 2:
        threading.Timer(0.1, _thread.interrupt_main).start()
    return whole_heldout_elbo()
""")
    assert "Interrupted: what was learned so far is kept." in text_of(kernel.run(TRAINING))
    assert 2 < int(kernel.evaluate("print(len(history))")) < 100_000
    elbos = kernel.evaluate("print(whole_heldout_elbo() > settings[-1][-1][1] - 5)")
    assert elbos == "True\n"
    kernel.run_all(after=TRAINING, until="0a761dc4-90bb-11eb-1f6c-fba559ed5f66")


def test_bfloat16_is_for_the_training_and_not_for_the_held_out_digits(kernel):
    kernel.run(DECODER), kernel.run("encoder")
    kernel.evaluate("""
BFLOAT16, N_EPOCHS, batches, used = True, 1, binarized_mnist[:2400].split(200), set()
def note(network, z, y):
    used.add((torch.is_grad_enabled(), y.dtype))
decoder.register_forward_hook(note)
""")
    kernel.run(TRAINING)
    dtypes = "{(True, torch.bfloat16), (False, torch.float32)}"
    assert kernel.evaluate(f"print(used == {dtypes})") == "True\n"
    # From -543 at first; about that on average, too, if no step saw what the last had changed.
    assert kernel.evaluate("print(history[-1][0] > -450)") == "True\n"


# Settings -----------------------------------------------------------------------------------


EPOCHS = ("VAE_EPOCHS", "run-settings", "N_EPOCHS or VAE_EPOCHS must be a whole number")
DATASET = ("VAE_DATASET", LOAD, "VAE_DATASET or dataset must be auto, mnist or embedded")


@pytest.mark.parametrize(
    "setting, wrong",
    [(EPOCHS, "0"), (EPOCHS, "-1"), (EPOCHS, "ten"), (EPOCHS, ""), (DATASET, "cifar")],
    ids=["0", "-1", "ten", "empty", "cifar"],
)
def test_a_wrong_setting_stops_with_one_clear_line(setting, wrong, executed):
    variable, cell, words = setting
    change = f"correct, os.environ[{variable!r}] = os.environ[{variable!r}], {wrong!r}"
    executed.evaluate(change)
    try:
        with pytest.raises(CellExecutionError) as caught:
            executed.run(cell)
    finally:
        executed.evaluate(f"os.environ[{variable!r}] = correct")
        executed.run(cell)
    assert caught.value.ename == "ValueError"
    assert caught.value.evalue.startswith(words) and caught.value.evalue.endswith(f"{wrong!r}")
