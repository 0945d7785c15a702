"""The notebook: its cells, what it stores, and what it does when it is run."""

import ast
import base64
import io
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

from instructor.cells import SCATTER, TRAINING
from instructor.grading.source import library_names
from project import NOTEBOOK, ROOT, SMALL_RUN
from vae_checks.library import FORBIDDEN

# The cells of the original, in its order. Between them lie the cells that the port adds.
ORIGINAL_CELLS = """
    9e368304-8c16-11eb-0417-c3792a4cd8ce d402633e-8c18-11eb-119d-017ad87927b0
    54749c92-8c1d-11eb-2a54-a1ae0b1dc587 176f0938-8c1e-11eb-1135-a5db6781404d
    c6fa2a9c-8c1e-11eb-3e3c-9f8f5c218dec 9e7e46b0-8e84-11eb-1648-0f033e4e6068
    743d473c-8c1f-11eb-396d-c92cacb0235b db655546-8e84-11eb-21df-25f7c8e82362
    2093080c-8e85-11eb-1cdb-b35eb40e3949 45bc7e00-90ac-11eb-2d62-092a13dd1360
    c70eaa72-90ad-11eb-3600-016807d53697 e12a5b5e-90ad-11eb-25a8-43c9aff1e0db
    3b07d20a-8e88-11eb-1956-ddbaaf178cb3 ce50c994-90af-11eb-3fc1-a3eea9cda1a2
    3b386e56-90ac-11eb-31c2-29ba365a6967 d7415d20-90af-11eb-266b-b3ea86750c98
    5b8721dc-8ea3-11eb-3ace-0b13c00ce256 0afbe054-90b0-11eb-0233-6faede537bc4
    b8a20c8c-8ea4-11eb-0d48-a37047ab70c5 615e59c6-90b6-11eb-2598-d32538e14e8f
    ccf226b8-90b6-11eb-15a2-d30c9e27aebb f00b5444-90b6-11eb-1e0d-5d034735ec0e
    70ccd9a4-90b7-11eb-1fb2-3f7aff4073a0 5efb0baa-90b8-11eb-304f-7dbb8d5c0ba6
    c86a877c-90b9-11eb-31d8-bbcb71e4fa66 17c5ddda-90ba-11eb-1fce-93b8306264fb
    0a761dc4-90bb-11eb-1f6c-fba559ed5f66 1201bfee-90bb-11eb-23e5-af9a61f64679
    d908c2f4-90bb-11eb-11b1-b340f58a1584 d9b3c078-90bb-11eb-1c41-c784851a9148
    da5527ee-90bb-11eb-190a-897e2d743368 db18e7e2-90bb-11eb-18e5-87e4f094123d
    dcedbba4-90bb-11eb-2652-bf6448095107 805a265e-90be-11eb-2c34-1dd0cd1a968c
    80d6b61a-90be-11eb-2fae-638cdaaf7abd 815d4720-90be-11eb-0fb2-2bb764a45824
    820e9994-90be-11eb-23a1-0f52d3cf7c0f 82b0a368-90be-11eb-0ddb-310f332a83f0
    f27bdffa-90c0-11eb-0f71-6d572f799290 00b7f55e-90c1-11eb-119e-f577037923a9
    02181adc-90c1-11eb-29d7-736dce72a0ac 3a0e1d5a-90c2-11eb-16a7-8f9de1ea09e4
    3a9a2624-90c2-11eb-1986-17b80a2a58c5 3b6f8e5e-90c2-11eb-3da4-a5fd3048ab63
    3cb18062-90c2-11eb-3622-1f29d445e0ba
""".split()

DECODER = "d7415d20-90af-11eb-266b-b3ea86750c98"
LOAD = "54749c92-8c1d-11eb-2a54-a1ae0b1dc587"
SHOW_SAMPLES = "820e9994-90be-11eb-23a1-0f52d3cf7c0f"
SHOW_RECONSTRUCTIONS = "00b7f55e-90c1-11eb-119e-f577037923a9"
SHOW_LATTICE = "3cb18062-90c2-11eb-3622-1f29d445e0ba"
PICTURES = [
    "training-curve",
    SCATTER,
    "held-out-codes",
    SHOW_SAMPLES,
    SHOW_RECONSTRUCTIONS,
    SHOW_LATTICE,
]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell):
    """Everything that the cell's outputs say in words."""
    texts = [o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return "\n".join(texts)


def picture_of(cell):
    """The picture that the cell shows."""
    pngs = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pngs) == 1
    return Image.open(io.BytesIO(base64.b64decode(pngs[0])))


# The cells ----------------------------------------------------------------------------------


def test_every_cell_of_the_original_is_there_in_its_order(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert [id for id in ids if id in ORIGINAL_CELLS] == ORIGINAL_CELLS
    assert len(set(ids)) == len(ids)
    added = set(ids) - set(ORIGINAL_CELLS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", id) for id in added)


def forbidden_names(source):
    """Names of library-made probability that the source imports, uses or defines.

    Stricter than what is handed in: there normal_ may initialise a layer, and names are free.
    """
    tree = ast.parse(re.sub("(?m)^%.*", "", source))
    names = library_names(tree)
    for node in ast.walk(tree):
        names |= {getattr(node, "id", None) or "", getattr(node, "name", None) or ""}
    return {n for n in names if FORBIDDEN.fullmatch(n) or re.fullmatch(r"normal_|\w+_loss", n)} - {
        "batch_loss"
    }


def test_no_probability_comes_from_a_library(notebook):
    written = [cell for cell in code_cells(notebook) if not cell.id.startswith("check-")]
    assert not forbidden_names("\n".join(cell.source for cell in written))
    assert not forbidden_names((ROOT / "vae_helpers.py").read_text())


@pytest.mark.parametrize("source", [
    "from torch.distributions import Normal as N",
    "import torch.distributions as d",
    "from scipy.stats import norm",
    "q.log_prob(z)",
    "torch.normal(mean, std)",
    "z.normal_()",
    "torch.multinomial(p, 3)",
    "F.mse_loss(x, y)",
    "torch.bernoulli(mean)",
    "nn.BCEWithLogitsLoss()",
    "F.binary_cross_entropy_with_logits(y, x)",
    "from torch.nn.functional import gaussian_nll_loss as f",
    "F.kl_div(p, q)",
])  # fmt: skip
def test_library_made_probability_would_be_seen(source):
    assert forbidden_names(source)


# The stored outputs -------------------------------------------------------------------------


def test_stored_outputs_are_complete_and_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in code_cells(notebook):
        assert all(o.output_type != "error" and o.get("name") != "stderr" for o in cell.outputs)
    for id in PICTURES:
        picture_of(next(cell for cell in notebook.cells if cell.id == id))


def test_every_picture_has_words_for_those_who_cannot_see_it(notebook):
    pictures = [
        o for c in code_cells(notebook) for o in c.outputs if "image/png" in o.get("data", {})
    ]
    assert len(pictures) == len(PICTURES) + 3
    for output in pictures:
        assert len(output.metadata["image/png"]["alt"]) > 40


def test_stored_outputs_hold_nothing_that_changes_by_itself(notebook):
    assert "MNIST: 60,000 training and 10,000 held-out digits" in text_of(
        next(cell for cell in notebook.cells if cell.id == LOAD)
    )
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
    training = text_of(next(cell for cell in notebook.cells if cell.id == TRAINING))
    epochs, train_elbo, heldout_elbo = re.search(
        r"after epoch (\d+): train ELBO (-[\d.]+), held-out ELBO (-[\d.]+)", training
    ).groups()
    assert int(epochs) == 100
    # What an independent implementation reached, and 1.5 nats for another seed.
    assert float(train_elbo) == pytest.approx(-135.2, abs=1.5)
    assert float(heldout_elbo) == pytest.approx(-147.2, abs=1.5)


# Running it ---------------------------------------------------------------------------------


def test_runs_from_top_to_bottom_on_the_embedded_digits(executed):
    for cell in code_cells(executed.client.nb):
        assert all(o.get("name") != "stderr" for o in cell.outputs), cell.id
    loaded, trained = (text_of(executed.cells[executed.index[id]]) for id in (LOAD, TRAINING))
    assert "embedded digits: 6,000 training and 1,000 held-out digits" in loaded
    assert trained.startswith("after epoch 2: train ELBO -")


def test_nbval_finds_the_stored_outputs_again(tmp_path):
    shutil.copy(NOTEBOOK, tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", NOTEBOOK.name],
        cwd=tmp_path,
        env={**os.environ, **SMALL_RUN},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout


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
    assert (
        executed.evaluate("""
def binarized(images):
    return (images.reshape(len(images), -1) >= 128).float()
print(torch.equal(binarized_mnist, binarized(digits.train_images)),
      torch.equal(heldout_mnist, binarized(digits.test_images)))
""")
        == "True True\n"
    )


def test_batches_deal_out_every_digit_once_in_a_new_order_each_time(executed):
    assert (
        executed.evaluate("""
fingerprint = torch.randn(Ddata, 1, generator=generator(9), dtype=torch.float64)
first, second = ([x.double() @ fingerprint for x in batches] for _ in range(2))
print({len(batch) for batch in first} == {BS}, len(first) == len(batches),
      torch.equal(torch.cat(first), torch.cat(second)),
      torch.allclose(torch.cat(first).sort(dim=0)[0], torch.cat(second).sort(dim=0)[0]),
      torch.allclose(torch.cat(first).sort(dim=0)[0],
                     (binarized_mnist.double() @ fingerprint).sort(dim=0)[0]))
""")
        == "True True False True True\n"
    )


def test_training_improves_the_elbo(executed):
    first, last = map(float, executed.evaluate("print(history[0][1], history[-1][1])").split())
    assert -400 < first < last < -100


def test_the_lattice_is_one_grey_picture_with_its_axes_the_right_way_up(executed):
    picture = picture_of(executed.run(SHOW_LATTICE))
    assert (picture.size, picture.mode) == ((1400, 1400), "L")
    # Decoded one by one: tile (row, column) belongs to z_x = -3 + 6 column / 49 and
    # z_y = 3 - 6 row / 49, since z_x grows to the right and z_y upwards.
    places = [(0, 0), (0, 49), (49, 0), (49, 49), (13, 31)]
    expected = executed.evaluate(
        """
with torch.no_grad():
    expected = [torch.sigmoid(decoder(torch.tensor([[-3 + 6 * column / 49, 3 - 6 * row / 49]])))
                for row, column in PLACES]
print((255 * torch.cat(expected)).tolist())
""".replace("PLACES", str(places))
    )
    expected = np.array(ast.literal_eval(expected)).reshape(-1, 28, 28)
    pixels = np.asarray(picture).astype(float)
    for tile, (row, column) in zip(expected, places):
        found = pixels[28 * row : 28 * (row + 1), 28 * column : 28 * (column + 1)]
        assert np.abs(found - tile).max() < 0.51  # rounded to a whole grey value


def test_any_cell_run_again_gives_the_same_picture(executed):
    before = {id: picture_of(executed.cells[executed.index[id]]).tobytes() for id in PICTURES}
    after_training = executed.cells[executed.index[TRAINING] + 1 :]
    # Backwards first, so that no cell finds what the one above it has just left behind.
    for cell in [*reversed(after_training), *after_training]:
        if cell.cell_type == "code":
            executed.run(cell.id)
            if cell.id in PICTURES:
                assert picture_of(cell).tobytes() == before[cell.id], cell.id


def test_training_run_again_trains_on_from_the_same_weights(executed):
    executed.run(TRAINING)
    lengths = executed.evaluate("print(len(history), history[3] > history[1] > history[0])")
    assert lengths == "4 True\n"


def test_saved_parameters_are_loaded_when_asked_for(executed):
    saved = executed.evaluate("LOAD_PARAMETERS = True\nprint(history, heldout_elbo())")
    executed.evaluate("""
history = 0
for network in (encoder, decoder):
    for p in network.parameters():
        p.data.zero_()
""")
    assert text_of(executed.run(TRAINING)).startswith("after epoch ")
    restored = executed.evaluate("LOAD_PARAMETERS = False\nprint(history, heldout_elbo())")
    (history, elbo), (history_again, elbo_again) = (t.rsplit(" ", 1) for t in (saved, restored))
    assert history == history_again
    assert float(elbo) == pytest.approx(float(elbo_again), abs=0.5)  # other noise


def test_training_starts_from_the_weights_that_the_student_chose(notebook, kernel_for):
    decoder = next(cell for cell in notebook.cells if cell.id == DECODER)
    decoder.source += "\nfor p in decoder.parameters():\n    p.data.fill_(0.123)"
    with kernel_for(notebook) as kernel:
        kernel.run_all(until=TRAINING)
        kernel.evaluate("def train(*networks_and_more):\n    return []")
        kernel.run(TRAINING)
        at_start = "print({value for p in decoder.parameters() for value in p.unique().tolist()})"
        assert float(kernel.evaluate(at_start).strip("{}\n")) == pytest.approx(0.123)


def test_an_interrupt_keeps_what_was_learned(notebook, kernel_for):
    with kernel_for(notebook, VAE_EPOCHS="100000") as kernel:
        kernel.run_all(until=TRAINING)
        # Some time after the second epoch, in the middle of whatever it is doing then.
        kernel.evaluate("""
import _thread, threading
right_heldout_elbo, called = heldout_elbo, []
def heldout_elbo():
    called.append(True)
    if len(called) == 2:
        threading.Timer(0.1, _thread.interrupt_main).start()
    return right_heldout_elbo()
""")
        training = kernel.run(TRAINING)
        assert "Interrupted: what was learned so far is kept." in text_of(training)
        assert 0 < int(kernel.evaluate("print(len(history))")) < 100000
        assert kernel.evaluate("print(heldout_elbo() > -300)") == "True\n"
        kernel.run_all(after=TRAINING)


def test_bfloat16_is_for_the_training_and_not_for_the_held_out_digits(executed):
    executed.evaluate("""
whole, trained, past = batches, parameters(), [*history]
BFLOAT16, N_EPOCHS, batches = True, 1, binarized_mnist[:2400].split(200)
""")
    try:
        executed.run(DECODER), executed.run("encoder")
        executed.evaluate("""
used = set()
def note(network, z, y):
    used.add((torch.is_grad_enabled(), y.dtype))
decoder.register_forward_hook(note)
""")
        executed.run(TRAINING)
        dtypes = "{(True, torch.bfloat16), (False, torch.float32)}"
        assert executed.evaluate(f"print(used == {dtypes})") == "True\n"
        # From -543 at first; about that on average, too, if no step saw what the last had changed.
        assert executed.evaluate("print(history[-1][0] > -450)") == "True\n"
    finally:
        executed.run("run-settings"), executed.run(DECODER), executed.run("encoder")
        executed.evaluate("batches, history[:] = whole, past\nset_parameters(trained)")


@pytest.mark.parametrize("wrong", ["0", "-1", "ten", ""])
def test_a_wrong_number_of_epochs_stops_with_one_clear_line(executed, wrong):
    executed.evaluate(f"os.environ['VAE_EPOCHS'] = {wrong!r}")
    try:
        with pytest.raises(CellExecutionError) as caught:
            executed.run("run-settings")
    finally:
        executed.evaluate("os.environ['VAE_EPOCHS'] = '2'")
        executed.run("run-settings")
    words = f"N_EPOCHS or VAE_EPOCHS must be a whole number, 1 or more, not {wrong!r}"
    assert (caught.value.ename, caught.value.evalue) == ("ValueError", words)


def test_a_wrong_data_set_stops_with_one_clear_line(executed):
    executed.evaluate("os.environ['VAE_DATASET'] = 'cifar'")
    try:
        with pytest.raises(CellExecutionError) as caught:
            executed.run(LOAD)
    finally:
        executed.evaluate("os.environ['VAE_DATASET'] = 'embedded'")
        executed.run(LOAD)
    words = "VAE_DATASET or dataset must be auto, mnist or embedded, not 'cifar'"
    assert (caught.value.ename, caught.value.evalue) == ("ValueError", words)
