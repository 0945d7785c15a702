"""The explorer's page, in a browser: what it draws and says, against PyTorch and by keyboard alone.

The page shows samples of an untrained decoder. What is exact is computed a second time by the
notebook's functions, which test_evidence.py holds to account.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from project import notebook_functions
from vae_explorer import explorer_page

pytestmark = pytest.mark.browser

N = 80
STEP = 0.02  # of the grid for the exact posterior
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def model():
    """A decoder, digits of it and some q for each; vae: the notebook's functions for it."""
    torch.manual_seed(5)
    layers = nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 784)
    m = SimpleNamespace(decoder=nn.Sequential(*layers), labels=torch.randint(10, (N,)))
    m.decoder[2].weight.data *= 5  # so that its pictures differ
    m.vae = notebook_functions(decoder=m.decoder)
    codes = torch.randn(N, 2)
    m.x = (torch.rand(N, 784) < m.decoder(codes).sigmoid()).float()
    m.q_mean, m.q_log_std = codes + 0.1 * torch.randn(N, 2), -2.5 + 0.3 * torch.randn(N, 2)
    m.encoder = lambda x: (m.q_mean, m.q_log_std)
    m.log_evidences = torch.linspace(-180, -120, N)  # which the page only shows, and the ELBOs
    m.elbos = m.log_evidences - torch.linspace(0.5, 9, N)
    m.shown = m.x, m.labels, m.elbos, m.log_evidences
    m.decoder.requires_grad_(False)
    return m


@pytest.fixture
def blank_page(page):
    """The browser's page before the explorer is in it."""
    return page


@pytest.fixture
def page(page, model, tmp_path):
    return opened(page, tmp_path, explorer_page(model.encoder, model.decoder, *model.shown))


def opened(page, folder, html):
    """The browser's page with this HTML in it, which lies in the folder."""
    (folder / "page.html").write_text(html, "utf-8")
    page.goto((folder / "page.html").as_uri())
    return page


def pixels(page, id):
    """The grey levels of a digit's canvas, (784,)."""
    script = f"[...{id}.getContext('2d').getImageData(0, 0, 28, 28).data]"
    rgba = torch.tensor(page.evaluate(script)).reshape(784, 4)
    assert (rgba[:, :3] == rgba[:, :1]).all() and (rgba[:, 3] == 255).all()
    return rgba[:, 0]


def text(page, id):
    return page.locator(f"#{id}").inner_text()


def place(page, z):
    """Where on the screen the plane has a code."""
    box, reach = page.locator("#plane").bounding_box(), page.evaluate("REACH")
    x, y = ((1 + c / reach) * box["width"] / 2 for c in (float(z[0]), -float(z[1])))
    return box["x"] + x, box["y"] + y


# The numbers and pictures -------------------------------------------------------------------


def test_draws_what_the_decoder_draws_where_one_points(page, model):
    torch.manual_seed(1)
    for z in 1.5 * torch.randn(10, 2):
        page.mouse.move(*place(page, z))
        x, y = page.evaluate("code")
        assert text(page, "code") == f"z = ({x:.2f}, {y:.2f})"
        assert (torch.tensor([x, y]) - z).abs().max() < 0.03
        expected = 255 * model.decoder(torch.tensor([[x, y]])).sigmoid()[0]
        assert (pixels(page, "digit") - expected).abs().max() <= 2
        assert expected.max() - expected.min() > 100  # there is something to see


@pytest.mark.parametrize("n_hidden", [1, 200, 777])
def test_draws_a_decoder_of_another_size(n_hidden, blank_page, tmp_path, model):
    torch.manual_seed(2)
    first, last = nn.Linear(2, n_hidden), nn.Linear(n_hidden, 784)
    last.weight.data *= 5 * math.sqrt(n_hidden / 500)  # its pictures differ as the model's do
    decoder = nn.Sequential(first, nn.Tanh(), last).requires_grad_(False)
    page = opened(blank_page, tmp_path, explorer_page(model.encoder, decoder, *model.shown))
    for z in 1.5 * torch.randn(10, 2):
        page.evaluate(f"chooseCode({z[0]}, {z[1]})")
        expected = 255 * decoder(z).sigmoid()
        assert (pixels(page, "digit") - expected).abs().max() <= 2
        assert expected.max() - expected.min() > 100  # there is something to see


def test_binary_samples_follow_the_means(page, model):
    page.evaluate("chooseCode(0.4, -0.3)")
    mean, samples = model.decoder(torch.tensor([[0.4, -0.3]])).sigmoid()[0], []
    for _ in range(10):
        page.get_by_text("New sample").click()
        samples.append(pixels(page, "digit") / 255)
    samples = torch.stack(samples)
    assert samples.unique().tolist() == [0, 1]
    errors, variance = samples - mean, (mean * (1 - mean)).sum()
    assert 0.7 < 10 * errors.mean(dim=0).square().sum() / variance < 1.4
    assert errors.sum(dim=1).abs().max() < 5 * variance.sqrt()  # each pixel has its own noise
    page.get_by_label("Binary").uncheck()
    assert (pixels(page, "digit") - 255 * mean).abs().max() <= 2


def drawn(page, name):
    """The codes at which the lens has a named colour, (K, 2)."""
    codes = page.evaluate("""name => {
        const colour = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
        const rgb = [1, 3, 5].map(k => parseInt(colour.slice(k, k + 2), 16));
        const [x, y, r] = square(lens), n = lens.width, at = k => 2 * r * (k + 0.5) / n - r;
        const { data } = lens.getContext("2d").getImageData(0, 0, n, n);
        return [...Array(n * n).keys()].filter(k => rgb.every((c, i) => data[4 * k + i] === c))
            .map(k => [x + at(k % n), y - at(Math.floor(k / n))]);
    }""", name)  # fmt: skip
    return torch.tensor(codes)


def test_the_chosen_digit_has_its_numbers_its_q_and_its_exact_posterior(page, model):
    i = (model.q_mean.norm(dim=1) - 1).abs().argmin().item()  # not far from the grid's centre
    # Choosing it stops the computation for the digit that was chosen before.
    shown = page.evaluate("""async i => {
        const before = chooseDigit((i + 1) % N), now = chooseDigit(i);
        await before;
        return document.querySelector("#posterior").textContent;
    }""", i)  # fmt: skip
    assert "±" not in shown
    page.locator("#posterior", has_text="±").wait_for()
    page.evaluate(TWO_FRAMES)

    assert torch.equal(pixels(page, "original"), 255 * model.x[i].long())
    assert page.evaluate("code") == pytest.approx(model.q_mean[i].tolist(), abs=1e-4)
    q_mean, q_std = model.q_mean[i], model.q_log_std[i].exp()
    gap = float(text(page, "evidence")) - float(text(page, "elbo"))
    assert text(page, "name") == f"a {model.labels[i]}, {i + 1} of {N}"
    assert text(page, "elbo") == f"{model.elbos[i]:.1f}"
    assert text(page, "evidence") == f"{model.log_evidences[i]:.1f}"
    assert text(page, "gap") == f"{gap:.1f}"
    assert text(page, "q") == "\n".join(f"{m:.2f} ± {s:.3f}" for m, s in zip(q_mean, q_std))

    ticks = model.vae.latent_ticks(STEP, 2.5)
    log_p, log_posterior = model.vae.exact_posterior(model.x[[i]], ticks)
    p, z = log_posterior.flatten().softmax(dim=0), torch.cartesian_prod(ticks, ticks)
    mean = p @ z
    std = (p @ z**2 - mean**2).sqrt()
    shown = [line.split(" ± ") for line in text(page, "posterior").split("\n")]
    shown_mean, shown_std = torch.tensor([[float(n) for n in line] for line in shown]).T
    assert std.min() > 2 * STEP
    assert ((shown_mean - mean).abs() < 0.02 * std + 0.005).all()
    assert ((shown_std - std).abs() < 0.02 * std + 0.0005).all()

    # The lines are those around 50 and 95 % of each distribution.
    masses = torch.tensor([0.5, 0.95])
    radius = ((drawn(page, "--q") - q_mean) / q_std).norm(dim=1)
    rings = (-2 * torch.log(1 - masses)).sqrt()
    width = page.evaluate("2 * square(lens)[2] / lens.width") / q_std.min()
    joint = model.vae.grid_log_joint(model.x[[i]], drawn(page, "--posterior"))[0]
    falling = p.sort(descending=True).values
    levels = falling[torch.searchsorted(falling.cumsum(dim=0), masses)].log()
    levels += log_p - 2 * math.log(STEP)
    for at, lines, tolerance in [(radius, rings, 1.5 * width), (joint, levels, 0.25)]:
        distance = (at[:, None] - lines).abs()
        assert (distance.amin(dim=1) < tolerance).all()
        assert ((distance < tolerance).sum(dim=0) > 50).all()


# For everyone, everywhere -------------------------------------------------------------------


def test_keyboard_reaches_and_does_everything(page, model):
    visited = []
    for _ in range(7):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid" or visited[-1] == ""
    # The last one leads out of the page.
    assert visited == ["plane", "binary", "sample", "previous", "next", "lens", ""]

    page.evaluate("chooseCode(0, 0)")
    plane, codes = page.locator("#plane"), [[0.0, 0.0]]
    for key in ("ArrowRight", "Shift+ArrowUp", "Shift+ArrowLeft", "ArrowDown"):
        plane.press(key)
        codes.append(page.evaluate("code"))
    codes = torch.tensor(codes)
    expected = torch.tensor([[1.0, 0], [0, 5], [-5, 0], [0, -1]])
    torch.testing.assert_close(codes.diff(dim=0) / codes[1][0], expected)
    chosen = (model.q_mean - codes[-1]).norm(dim=1).argmin().item()
    plane.press("Enter")
    for button, step in (("#previous", -1), ("#next", 1), ("#next", 1)):
        assert text(page, "name").endswith(f", {chosen + 1} of {N}")
        page.locator(button).press("Enter")
        chosen = (chosen + step) % N
    status = page.get_by_role("status")  # what screen readers are told
    status.get_by_text(f"ELBO {text(page, 'elbo')}").wait_for()
    before = page.evaluate("code")
    page.locator("#lens").press("ArrowUp")  # a smaller step: it is magnified
    after = page.evaluate("code")
    assert after[0] == before[0] and 0 < after[1] - before[1] < codes[1][0]
    status.get_by_text(f"{text(page, 'code')}, {text(page, 'near')}").wait_for()
    nine = (model.q_mean - torch.tensor(after)).norm(dim=1).argsort()[:9]
    assert text(page, "near") == f"likely a {model.labels[nine].bincount().argmax()}"


def test_light_and_dark_and_readable_by_everyone(page, barriers):
    shown = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(TWO_FRAMES)
        assert barriers(page) == []
        shown.append((page.evaluate("plane.toDataURL()"), page.screenshot()))
    assert all(light != dark for light, dark in zip(*shown))


@pytest.mark.parametrize("width", [320, 701, 1600])
def test_fits_every_width_and_a_finger(width, page, model):
    page.set_viewport_size({"width": width, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#plane").bounding_box()
    assert box["width"] >= 270 and abs(box["width"] - box["height"]) < 1
    distance = torch.cdist(model.q_mean, model.q_mean).fill_diagonal_(torch.inf)
    lone = distance.amin(dim=1).argmax().item()
    page.touchscreen.tap(*place(page, model.q_mean[lone]))
    page.locator("#name", has_text=f", {lone + 1} of {N}").wait_for()
    corner = page.evaluate("REACH") - 0.1
    page.touchscreen.tap(*place(page, [corner, corner]))  # far from all digits
    assert text(page, "name").endswith(f", {lone + 1} of {N}")
    assert page.evaluate("getComputedStyle(plane).touchAction") == "pinch-zoom"


def test_refuses_a_decoder_of_other_units_in_one_line(model):
    first, _, last = model.decoder
    line = "^the explorer draws a decoder of 2 inputs, one layer of tanh units and 784 outputs, .*$"
    with pytest.raises(ValueError, match=line):
        explorer_page(model.encoder, nn.Sequential(first, nn.ReLU(), last), *model.shown)


@pytest.mark.parametrize("n_in, n_out", [(3, 784), (2, 785)])
def test_refuses_a_decoder_of_other_inputs_or_outputs_in_one_line(n_in, n_out, model):
    decoder = nn.Sequential(nn.Linear(n_in, 200), nn.Tanh(), nn.Linear(200, n_out))
    line = "^the explorer draws .*, this one is something else: .*$"
    with pytest.raises(ValueError, match=line):
        explorer_page(model.encoder, decoder, *model.shown)
