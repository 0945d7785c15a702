"""Draw the model and the way back, and put the picture into the notebook's text: an attachment.

python docs/draw_model.py
"""

import base64
import io
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch

NOTEBOOK = Path(__file__).parents[1] / "vae_assignment.ipynb"
CELL, NAME = "2093080c-8e85-11eb-1cdb-b35eb40e3949", "model.png"
SIZES = "3b386e56-90ac-11eb-31c2-29ba365a6967"  # the cell that defines Dz, Dh and Ddata

INK, BLUE, ORANGE = "#1f2328", "#0072B2", "#D55E00"
TOP, BOTTOM = 2.5, 0.75  # the rows: model and inference


def box(ax, x, y, text, colour, width=1.6):
    """A layer of a network."""
    corner = (x - width / 2, y - 0.36)
    shape = "round, pad=0, rounding_size=0.12"
    ax.add_patch(FancyBboxPatch(corner, width, 0.72, shape, fc="white", ec=colour, lw=1.6))
    ax.text(x, y, text, ha="center", va="center", color=INK)


def variable(ax, x, y, text, width=1.0):
    """A quantity: an ellipse."""
    ax.add_patch(Ellipse((x, y), width, 0.78, fc="#f1f3f5", ec=INK, lw=1.2))
    ax.text(x, y, text, ha="center", va="center", color=INK, size=15)


def arrow(ax, start, end, text="", above=0.14):
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "color": INK, "lw": 1.2}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **style))
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above)
    ax.text(*middle, text, ha="center", va="bottom", color=INK, size=11)


def below(ax, x, y, text):
    """What a quantity is, and its shape."""
    ax.text(x, y - 0.5, text, ha="center", va="top", color=INK, size=9)


def draw(Dz, Dh, Ddata):
    figure = plt.figure(figsize=(9.6, 3.5), facecolor="none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, 9.6), ylim=(0, 3.5))
    ax.axis("off")
    card = "round, pad=0, rounding_size=0.15"  # white, so that it reads in a dark theme, too
    ax.add_patch(FancyBboxPatch((0.02, 0.02), 9.56, 3.46, card, fc="white", ec="none"))

    ax.text(0.25, 3.2, r"model: decoder, parameters $\theta$", color=BLUE, weight="bold")
    variable(ax, 0.9, TOP, "$z$")
    arrow(ax, (1.4, TOP), (2.1, TOP))
    box(ax, 2.9, TOP, f"{Dh} tanh units", BLUE)
    arrow(ax, (3.7, TOP), (4.5, TOP))
    variable(ax, 5.0, TOP, "$y$")
    below(ax, 5.0, TOP, f"logit-means\n(B, {Ddata})")
    arrow(ax, (5.5, TOP), (6.5, TOP), r"$\sigma$")
    variable(ax, 7.0, TOP, r"$\mu$")
    below(ax, 7.0, TOP, f"means\n(B, {Ddata})")
    arrow(ax, (7.5, TOP), (8.2, TOP), "Ber")
    variable(ax, 8.7, TOP, "$x$")

    ax.text(0.25, 0.12, r"inference: encoder, parameters $\phi$", color=ORANGE, weight="bold")
    arrow(ax, (8.7, TOP - 0.39), (8.7, BOTTOM + 0.39))
    ax.text(8.58, 1.62, f"pixels\n(B, {Ddata})", ha="right", va="center", color=INK, size=9)
    variable(ax, 8.7, BOTTOM, "$x$")
    arrow(ax, (8.2, BOTTOM), (6.9, BOTTOM))
    box(ax, 6.1, BOTTOM, f"{Dh} tanh units", ORANGE)
    arrow(ax, (5.3, BOTTOM), (4.7, BOTTOM))
    variable(ax, 3.95, BOTTOM, r"$m,\ \log s$", width=1.5)
    words = f"mean, log standard\ndeviation (B, {Dz})"
    ax.text(3.95, 1.35, words, ha="center", va="center", color=INK, size=9)
    arrow(ax, (3.2, BOTTOM), (1.4, BOTTOM), r"$z = m + s \odot \epsilon$")
    variable(ax, 0.9, BOTTOM, "$z$")
    arrow(ax, (0.9, BOTTOM + 0.39), (0.9, TOP - 0.39))
    ax.text(1.02, 1.62, f"code\n(B, {Dz})", ha="left", va="center", color=INK, size=9)
    return figure


def png(figure):
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150, transparent=True, metadata={"Software": None})
    return data.getvalue()


if __name__ == "__main__":
    matplotlib.use("agg")
    plt.rcParams.update({"mathtext.fontset": "cm", "font.size": 11})
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells, sizes = {cell.id: cell for cell in notebook.cells}, {}
    exec(cells[SIZES].source, sizes)
    picture = png(draw(*(sizes[name] for name in ("Dz", "Dh", "Ddata"))))
    cells[CELL].attachments = {NAME: {"image/png": base64.b64encode(picture).decode()}}
    nbformat.write(notebook, NOTEBOOK)
