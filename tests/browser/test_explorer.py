"""The explorer's page, in a browser: what it draws and says, against PyTorch and by keyboard alone.

The page shows 80 of the embedded digits under networks trained for a few epochs. What is exact is
computed a second time by the notebook's functions, which test_evidence.py holds to account.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from project import binarized, notebook_functions
from vae_digits import load_digits
from vae_explorer import explorer_page

pytestmark = pytest.mark.browser

N = 80
STEP = 0.02  # of the grid for the exact posterior
CSP = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Encoder(nn.Sequential):
    def forward(self, x):
        return super().forward(x).chunk(2, dim=1)


def decoder_like(hidden=500, activation=nn.Tanh, *more):
    return nn.Sequential(nn.Linear(2, hidden), activation(), nn.Linear(hidden, 784), *more)


@pytest.fixture(scope="module")
def model():
    """Trained networks, digits, their q and evidence; vae: the notebook's functions for them."""
    digits = load_digits(dataset="embedded")
    torch.manual_seed(5)
    encoder = Encoder(nn.Linear(784, 500), nn.Tanh(), nn.Linear(500, 4))
    vae = notebook_functions(encoder=encoder, decoder=decoder_like())
    vae.heldout_elbo, vae.report = lambda: 0.0, lambda history: None
    vae.train(encoder, vae.decoder, binarized(digits.train_images).split(100), n_epochs=2)
    m = SimpleNamespace(vae=vae, encoder=encoder, decoder=vae.decoder)
    m.x, m.labels = binarized(digits.test_images)[:N], digits.test_labels[:N]
    with torch.no_grad():
        m.q_mean, m.q_log_std = encoder(m.x)
    m.log_evidences = vae.log_evidence(m.x, step=0.06)
    m.elbos = m.log_evidences - torch.linspace(0.5, 9, N)  # which the page only shows
    return m


def page_of(model, decoder=None):
    decoder = decoder or model.decoder
    return explorer_page(
        model.encoder, decoder, model.x, model.labels, model.elbos, model.log_evidences
    )


@pytest.fixture(scope="module")
def html(model):
    return page_of(model)


@pytest.fixture(scope="module")
def open_page(browser, html, tmp_path_factory):
    """Function that opens the page in a context of its own; what goes wrong is in page.noise."""
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    path.write_text(html, "utf-8")
    contexts = []

    def open_page(to=path.as_uri(), script="", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)  # milliseconds: the machine may be slow
        page.noise, page.requests = [], []
        page.on("console", lambda message: page.noise.append(message.text))
        page.on("pageerror", lambda error: page.noise.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        contexts[-1].set_offline(True)
        page.add_init_script(script)
        page.goto(to)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def shared_page(open_page):
    return open_page(viewport={"width": 1000, "height": 700})


@pytest.fixture
def page(shared_page):
    """The page in its initial state, but for its size; it must not complain."""
    shared_page.reload()
    yield shared_page
    # It is the tests that read the pictures back, frequently.
    assert [text for text in shared_page.noise if "willReadFrequently" not in text] == []


def pixels(page, id):
    """The grey levels of a digit's canvas, (784,)."""
    script = f"[...{id}.getContext('2d').getImageData(0, 0, 28, 28).data]"
    rgba = torch.tensor(page.evaluate(script)).reshape(784, 4)
    assert (rgba[:, :3] == rgba[:, :1]).all() and (rgba[:, 3] == 255).all()
    return rgba[:, 0]


def text(page, id):
    return page.locator(f"#{id}").inner_text()


def code(page):
    """The code in the page's text."""
    return torch.tensor([float(z) for z in text(page, "code").strip("z= ()").split(",")])


def choose_digit(page, i):
    """Choose a digit, without waiting for its posterior."""
    page.evaluate("i => { chooseDigit(i); }", i)


def posterior(page, i):
    found = page.evaluate("posterior", i)
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


# The numbers and pictures -------------------------------------------------------------------


def test_draws_what_the_decoder_draws(page, model):
    torch.manual_seed(1)
    for z in 1.5 * torch.randn(10, 2):
        page.evaluate("z => chooseCode(...z)", z.tolist())
        with torch.no_grad():
            expected = 255 * model.decoder(z[None]).sigmoid()[0]
        assert (pixels(page, "digit") - expected).abs().max() <= 2
        assert expected.max() - expected.min() > 100  # there is something to see
        assert (code(page) - z).abs().max() < 0.0051


def test_shows_digits_with_the_numbers_given(page, model):
    for i in (0, N - 1):
        choose_digit(page, i)
        assert torch.equal(pixels(page, "original"), 255 * model.x[i].long())
        assert text(page, "name") == f"a {model.labels[i]}, {i + 1} of {N}"
        assert text(page, "elbo") == f"{model.elbos[i]:.1f}"
        assert text(page, "evidence") == f"{model.log_evidences[i]:.1f}"
        gap = float(text(page, "evidence")) - float(text(page, "elbo"))
        assert text(page, "gap") == f"{gap:.1f}" and gap > 0
        moments = zip(model.q_mean[i].tolist(), model.q_log_std[i].exp().tolist())
        assert text(page, "q") == "\n".join(f"{m:.2f} ± {s:.3f}" for m, s in moments)
        assert (code(page) - model.q_mean[i]).abs().max() < 0.0051


def moments_of(log_posterior, ticks):
    """Mean and standard deviation, (2,) each, of a density on the grid, (n, n)."""
    p, z = log_posterior.flatten().softmax(dim=0), torch.cartesian_prod(ticks, ticks)
    return p @ z, (p @ z**2 - (p @ z) ** 2).sqrt()


def test_posterior_is_exact(page, model):
    i = model.q_log_std.sum(dim=1).argmin().item()  # a narrow one
    with torch.no_grad():
        ticks = model.vae.latent_ticks(STEP, 4.5)
        log_p, log_posterior = model.vae.exact_posterior(model.x[[i]], ticks)
        mean, std = moments_of(log_posterior[0], ticks)
        found = posterior(page, i)
        joint = model.vae.grid_log_joint(model.x[[i]], found["codes"].float())[0]
    assert std.min() > 2 * STEP
    assert ((found["mean"] - mean).abs() < 0.02 * std).all()
    assert ((found["std"] / std - 1).abs() < 0.02).all()
    # Its grid holds all of the mass: what normalizes it there is the evidence.
    log_density = found["values"] - found["steps"].prod().log()
    near = found["values"] > found["values"].max() - 9
    assert (joint - log_density - log_p)[near].abs().max() < 0.02
    # The regions are those of highest density, and hold what they should.
    density = log_posterior.exp()
    for level, mass in zip(found["levels"], (0.5, 0.95)):
        held = density[density > level.exp() / found["steps"].prod()].sum() * STEP**2
        assert abs(held - mass) < 0.02


def drawn(page, name):
    """The codes at which the lens has a named colour, (K, 2)."""
    script = """name => {
        const colour = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
        const rgb = [1, 3, 5].map(k => parseInt(colour.slice(k, k + 2), 16)), found = [];
        const { data, width } = lens.getContext("2d").getImageData(0, 0, lens.width, lens.width);
        const [x, y, r] = square(lens), z = place => (place + 0.5) * 2 * r / width - r;
        for (let k = 0; k < width ** 2; k++) {
            if (rgb.every((c, n) => data[4 * k + n] === c)) {
                found.push([x + z(k % width), y - z(Math.floor(k / width))]);
            }
        }
        return found;
    }"""
    return torch.tensor(page.evaluate(script, name))


def test_lens_draws_both_distributions_where_they_are(page, model):
    i = 2
    page.evaluate("chooseDigit", i)
    page.evaluate(TWO_FRAMES)
    codes = drawn(page, "--q")
    radius = ((codes - model.q_mean[i]) / model.q_log_std[i].exp()).norm(dim=1)
    rings = torch.tensor([0.5, 0.95]).neg().log1p().mul(-2).sqrt()
    width = page.evaluate("2 * square(lens)[2] / lens.width") / model.q_log_std[i].exp().min()
    with torch.no_grad():
        joint = model.vae.grid_log_joint(model.x[[i]], drawn(page, "--posterior"))[0]
    found = posterior(page, i)
    levels = found["levels"] - found["steps"].prod().log() + model.log_evidences[i]
    for at, lines, tolerance in [(radius, rings, 1.5 * width), (joint, levels, 0.25)]:
        distance = (at[:, None] - lines).abs()
        assert (distance.amin(dim=1) < tolerance).all()
        assert ((distance < tolerance).sum(dim=0) > 50).all()


def test_choosing_another_digit_stops_the_computation_for_the_first(page):
    expected = posterior(page, 6)
    choose = """async choices => {
        const decode = logitMeans;
        let count = 0;
        logitMeans = z => { count++; return decode(z); };
        await Promise.all(choices.map(i => chooseDigit(i)));
        logitMeans = decode;
        return count;
    }"""
    alone = page.evaluate(choose, [6])
    assert alone > 1000
    assert page.evaluate(choose, [4, 5, 6]) < 1.5 * alone
    lines = [f"{m:.2f} ± {s:.3f}" for m, s in zip(expected["mean"], expected["std"])]
    assert text(page, "posterior") == "\n".join(lines)


def test_binary_samples_follow_the_means(page, model):
    seeded = "seed => { Math.random = () => (seed = seed * 16807 % 2147483647) / 2147483647; }"
    page.evaluate(seeded, 11)
    page.evaluate("chooseCode(0.4, -0.3)")
    page.get_by_label("Binary").check()
    total = torch.zeros(784)
    for _ in range(50):
        page.evaluate("sample.click()")
        image = pixels(page, "digit")
        assert {*image.tolist()} <= {0, 255}
        total += image / 255
    with torch.no_grad():
        mean = model.decoder(torch.tensor([[0.4, -0.3]])).sigmoid()[0]
    error = (total / 50 - mean) / (mean * (1 - mean) / 50).sqrt()
    varied = (mean > 0.05) & (mean < 0.95)
    assert varied.sum() > 30 and 0.7 < error[varied].square().mean() < 1.4
    page.get_by_label("Binary").uncheck()
    assert (pixels(page, "digit") - 255 * mean).abs().max() <= 2


def test_decodes_in_time(page):
    times = page.evaluate("""Array.from({ length: 101 }, (_, k) => {
        const start = performance.now();
        chooseCode(Math.cos(k), Math.sin(k));
        return performance.now() - start;
    })""")
    assert sorted(times)[50] < 16  # milliseconds, one frame


# By hand ------------------------------------------------------------------------------------


def test_keyboard_reaches_everything_and_shows_where_it_is(page):
    visited = []
    for _ in range(7):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid" or visited[-1] == ""
    # The last one leads out of the page.
    assert visited == ["plane", "binary", "sample", "previous", "next", "lens", ""]


def test_keys_move_the_code_and_choose_digits(page, model):
    page.evaluate("chooseCode(0, 0)")
    plane = page.locator("#plane")
    plane.press("ArrowRight")
    small = code(page)
    assert small[0] > 0 and small[1] == 0
    plane.press("Shift+ArrowUp")
    assert code(page)[0] == small[0] and code(page)[1] > 2 * small[0]
    plane.press("Shift+ArrowLeft"), plane.press("ArrowDown")
    assert code(page)[0] < 0
    chosen = (model.q_mean - code(page)).norm(dim=1).argmin().item()
    plane.press("Enter")
    assert text(page, "name").endswith(f", {chosen + 1} of {N}")
    for button, step in (("#previous", -1), ("#next", 1), ("#next", 1)):
        page.locator(button).press("Enter")
        chosen = (chosen + step) % N
        assert text(page, "name").endswith(f", {chosen + 1} of {N}")
    before = page.evaluate("code")
    page.locator("#lens").press("ArrowUp")
    after = page.evaluate("code")
    assert after[0] == before[0] and 0 < after[1] - before[1] < small[0]


def place(page, z):
    """Where on the screen the plane has a code."""
    box, reach = page.locator("#plane").bounding_box(), page.evaluate("REACH")
    x, y = ((1 + c / reach) * box["width"] / 2 for c in (float(z[0]), -float(z[1])))
    return box["x"] + x, box["y"] + y


def lone_digit(model):
    """A digit with no other beside it."""
    distance = torch.cdist(model.q_mean, model.q_mean).fill_diagonal_(torch.inf)
    return distance.amin(dim=1).argmax().item()


def test_mouse_chooses_codes_and_digits(page, model):
    page.mouse.move(*place(page, [1.0, -2.0]))
    assert (code(page) - torch.tensor([1.0, -2.0])).abs().max() < 0.03
    i = lone_digit(model)
    page.mouse.click(*place(page, model.q_mean[i]))
    assert text(page, "name").endswith(f", {i + 1} of {N}")
    reach = page.evaluate("REACH") - 0.1
    page.mouse.click(*place(page, [reach, reach]))  # far from all digits
    assert text(page, "name").endswith(f", {i + 1} of {N}")
    assert (code(page) - reach).abs().max() < 0.03


def test_finger_chooses_and_may_still_zoom(open_page, model):
    page = open_page(has_touch=True, viewport={"width": 360, "height": 700})
    i = lone_digit(model)
    page.touchscreen.tap(*place(page, model.q_mean[i]))
    page.locator("#name", has_text=f", {i + 1} of {N}").wait_for()
    assert page.evaluate("getComputedStyle(plane).touchAction") == "pinch-zoom"
    assert page.noise == []


# For everyone, everywhere -------------------------------------------------------------------


def test_screen_readers_are_told_what_changes(page, model):
    status = page.get_by_role("status")
    page.evaluate("""() => {
        window.said = [];
        const element = document.getElementById("status");
        new MutationObserver(() => said.push(element.textContent))
            .observe(element, { childList: true });
        for (let k = 0; k <= 40; k++) chooseCode(k / 20, -1);
    }""")
    page.wait_for_function("said.length")
    near = (model.q_mean - torch.tensor([2.0, -1.0])).norm(dim=1).argsort()[:9]
    likely = model.labels[near].bincount().argmax()
    assert page.evaluate("said") == [f"z = (2.00, -1.00), likely a {likely}"]
    choose_digit(page, 3)
    page.wait_for_function("said.length === 2")
    for part in (f"a {model.labels[3]}, 4 of {N}", text(page, "elbo"), text(page, "evidence")):
        assert part in status.text_content()


def test_light_and_dark_and_readable_by_everyone(page, barriers):
    shown = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(TWO_FRAMES)
        assert barriers(page) == []
        colours = "[...document.querySelectorAll('#labels b')].map(b => getComputedStyle(b).color)"
        assert len({*page.evaluate(colours)}) == 10
        shown.append((page.evaluate("plane.toDataURL()"), page.screenshot()))
    page.emulate_media(color_scheme="light")
    assert all(light != dark for light, dark in zip(*shown))


@pytest.mark.parametrize("width", [320, 701, 1600])
def test_fits_every_width(page, width):
    page.set_viewport_size({"width": width, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#plane").bounding_box()
    assert box["width"] >= 270 and abs(box["width"] - box["height"]) < 1
    outside = page.evaluate("""[...document.body.querySelectorAll("*:not(#status)")].filter(e =>
        e.getBoundingClientRect().right > innerWidth || e.scrollWidth > e.clientWidth + 1 &&
        getComputedStyle(e).display !== "inline").map(e => e.outerHTML)""")
    assert outside == []


def test_needs_no_network_and_breaks_no_rule_in_a_closed_frame(open_page, html):
    rule = f'<head><meta http-equiv="Content-Security-Policy" content="{CSP}">'
    listen = "addEventListener('securitypolicyviolation', e => console.log(e.violatedDirective))"
    page = open_page("about:blank", listen, viewport={"width": 900, "height": 800})
    page.evaluate(
        """html => {
            const frame = document.body.appendChild(document.createElement("iframe"));
            Object.assign(frame, { width: "100%", height: 640, srcdoc: html });
            frame.sandbox = "allow-scripts";
        }""",
        html.replace("<head>", rule, 1),
    )
    frame = page.frame_locator("iframe")
    frame.locator("#next").click()
    frame.locator("#sample").click()
    frame.locator("#posterior", has_text="±").wait_for()
    assert page.requests == [] and page.noise == []


# The function -------------------------------------------------------------------------------


class ByHand(nn.Module):
    """A student's own module: other names, another order, transposed weights, double precision."""

    def __init__(self, decoder):
        super().__init__()
        w1, b1, w2, b2 = (p.detach().double() for p in decoder.parameters())
        self.out_bias, self.out = nn.Parameter(b2), nn.Parameter(w2.T.contiguous())
        self.into, self.into_bias = nn.Parameter(w1.T.contiguous()), nn.Parameter(b1)

    def forward(self, z):
        return torch.tanh(z @ self.into + self.into_bias) @ self.out + self.out_bias


def test_same_networks_of_any_make_give_the_same_bytes_and_not_too_many(model, html):
    assert page_of(model, copy.deepcopy(model.decoder)) == html
    assert page_of(model, ByHand(model.decoder)) == html
    thousand = copy.copy(model)
    thousand.x, thousand.labels = model.x.repeat(13, 1)[:1000], model.labels.repeat(13)[:1000]
    thousand.elbos = thousand.log_evidences = model.elbos.repeat(13)[:1000]
    assert 1e6 < len(page_of(thousand).encode()) < 1.5e6


OTHERS = {
    "relu": lambda: decoder_like(500, nn.ReLU),
    "400 units": lambda: decoder_like(400),
    "means": lambda: decoder_like(500, nn.Tanh, nn.Sigmoid()),
    "no bias": lambda: nn.Sequential(nn.Linear(2, 500, bias=False), nn.Tanh(), nn.Linear(500, 784)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_says_that_it_cannot_draw_another_decoder(model, other):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="draws a 2-500-784 tanh decoder") as error:
        page_of(model, other())
    assert "\n" not in str(error.value)
