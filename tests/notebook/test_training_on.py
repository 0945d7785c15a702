"""Training in several goes: every epoch counts, and the last part shows each under its number."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from instructor.cells import TRAINING, is_check
from project import NOTEBOOK, changed

EVIDENCE = ["training-curve", "log-evidence", "log-weights", "evidence-by-epoch", "who-overfits"]

FEW_DIGITS = """
binarized_mnist, heldout_mnist = binarized_mnist[:400], heldout_mnist[:200]
batches = Batches(binarized_mnist, BS)
verdict = print

marks = []  # what tells the parameters after each epoch from others
heldout_elbo_of_the_notebook = heldout_elbo


def heldout_elbo():
    if len(marks) == interrupted_after:
        marks.append("the epoch in which the interrupt came")
        raise KeyboardInterrupt
    marks.append(fingerprint(decoder.state_dict()))
    return heldout_elbo_of_the_notebook()


def fingerprint(state):
    return sum(values.double().sum().item() for values in state.values())


interrupted_after = None
"""


@pytest.fixture(scope="module")
def kernel(kernel_for):
    """A kernel that is ready to train 3 epochs on a few digits, with a coarse grid of codes."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    ids = [cell.id for cell in notebook.cells]
    before = [id for id in ids[: ids.index(TRAINING) + 1] if not is_check(id)]
    notebook.cells = [cell for cell in notebook.cells if cell.id in before + EVIDENCE]
    for cell in notebook.cells:
        if cell.id == "log-weights":
            cell.source = changed(cell.source, "step=0.06", "step=0.5")
    with kernel_for(notebook, VAE_EPOCHS="3") as kernel:
        kernel.run_all(until=TRAINING)
        kernel.evaluate(FEW_DIGITS)
        yield kernel


def last_part(kernel):
    """The table of the last part, and the epochs that it and its figure show."""
    cells = [kernel.run(id) for id in EVIDENCE]
    table = cells[3].outputs[0].text
    rows = [line.split() for line in table.splitlines() if "epoch" not in line]
    epochs = [int(row[0]) for row in rows]
    training, held_out = epochs[: len(epochs) // 2], epochs[len(epochs) // 2 :]
    assert training == held_out
    drawn = kernel.evaluate("""
for line in [*left.lines, *right.lines]:
    print(*line.get_xdata())
""")
    assert drawn.splitlines() == [" ".join(map(str, training))] * 6
    return table, training


def assert_each_snapshot_is_of_its_epoch(kernel):
    kept = kernel.evaluate("""
marks = [mark for mark in marks if isinstance(mark, float)]
print(all(fingerprint(copies[1]) == marks[epoch - 1] for epoch, copies in snapshots.items()))
""")
    assert kept == "True\n"


def test_epochs_of_all_training_are_counted(kernel):
    for said, expected in ((3, [1, 2, 3]), (6, [1, 2, 5, 6])):
        assert f"after epoch {said}: " in kernel.run(TRAINING).outputs[0].text
        assert last_part(kernel)[1] == expected

    kernel.evaluate("interrupted_after = 7")
    says = "".join(output.text for output in kernel.run(TRAINING).outputs)
    assert "Interrupted: what was learned so far is kept.\nafter epoch 7: " in says
    assert last_part(kernel)[1] == [1, 2, 5, 7]

    kernel.evaluate("interrupted_after = None")
    assert "after epoch 10: " in kernel.run(TRAINING).outputs[0].text
    assert last_part(kernel)[1] == [1, 2, 5, 10]
    assert_each_snapshot_is_of_its_epoch(kernel)


def test_a_trial_beside_the_training_changes_nothing(kernel):
    table, _ = last_part(kernel)
    kernel.evaluate("""
untrained = parameters()
train(encoder, decoder, [binarized_mnist[:20]], n_epochs=12)
set_parameters(untrained)
""")
    assert last_part(kernel)[0] == table


def test_what_was_saved_is_loaded_with_its_epochs(kernel):
    table, _ = last_part(kernel)
    kernel.evaluate("""
LOAD_PARAMETERS, history, snapshots = True, [], {}
for network in (encoder, decoder):
    for p in network.parameters():
        p.data.zero_()
""")
    assert "after epoch 10: " in kernel.run(TRAINING).outputs[0].text
    assert last_part(kernel)[0] == table

    kernel.evaluate("LOAD_PARAMETERS = False")
    assert "after epoch 13: " in kernel.run(TRAINING).outputs[0].text
    assert last_part(kernel)[1] == [1, 2, 5, 10, 13]


@pytest.mark.parametrize("change, error, says", [
    ("digits = digits._replace(name='MNIST')", "ValueError", "holds a training on embedded digits"),
    ("PARAMETERS_FILE.unlink()", "FileNotFoundError", "is missing: train with LOAD_PARAMETERS = F"),
])  # fmt: skip
def test_a_file_that_cannot_be_loaded_gets_one_line(change, error, says, kernel):
    kernel.evaluate(f"LOAD_PARAMETERS = True\n{change}")
    with pytest.raises(CellExecutionError) as caught:
        kernel.run(TRAINING)
    assert caught.value.ename == error and "\n" not in caught.value.evalue
    assert caught.value.evalue.startswith(f"vae_embedded_digits.pt {says}")
