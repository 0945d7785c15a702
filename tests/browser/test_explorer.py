"""The explorer's page, in a browser: what it draws and says, against PyTorch and by keyboard alone.

The page shows 80 of the embedded digits under networks trained for a few epochs. What is exact is
computed here a second time, in double precision, by torch.distributions on a grid of codes.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import distributions as dist
from torch import nn

from project import binarized
from vae_digits import load_digits
from vae_explorer import explorer_page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("explorer")]

N = 80
STEP = 0.06  # of the reference grid; the narrowest posterior's standard deviation is larger
REACH = 4.5
CSP = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


class Encoder(nn.Sequential):
    def forward(self, x):
        return super().forward(x).chunk(2, dim=1)


def decoder_like(hidden=500, activation=nn.Tanh, *more):
    return nn.Sequential(nn.Linear(2, hidden), activation(), nn.Linear(hidden, 784), *more)


def log_joint(decoder, x, z):
    """log p(x, z) of all digits with all codes, in double precision: (B, 784), (G, 2) -> (B, G)."""
    decoder = copy.deepcopy(decoder).double()
    parts = []
    for codes in z.double().split(2000):
        y = decoder(codes)
        on, off = (dist.Bernoulli(logits=y).log_prob(torch.full_like(y, v)) for v in (1.0, 0.0))
        prior = dist.Normal(0.0, 1.0).log_prob(codes).sum(dim=1)
        parts.append(x.double() @ (on - off).T + off.sum(dim=1) + prior)
    return torch.cat(parts, dim=1)


@pytest.fixture(scope="module")
def model():
    """Trained networks, digits and, from a grid, their evidences and posteriors."""
    digits = load_digits(dataset="embedded")
    train, held_out = binarized(digits.train_images), binarized(digits.test_images)
    torch.manual_seed(5)
    encoder = Encoder(nn.Linear(784, 500), nn.Tanh(), nn.Linear(500, 4))
    decoder = decoder_like()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    for batch in train.repeat(2, 1)[torch.randperm(2 * len(train))].split(100):
        q_mean, q_log_std = encoder(batch)
        q = dist.Normal(q_mean, q_log_std.exp())
        likelihood = dist.Bernoulli(logits=decoder(q.rsample())).log_prob(batch).sum()
        loss = dist.kl_divergence(q, dist.Normal(0.0, 1.0)).sum() - likelihood
        optimizer.zero_grad()
        (loss / len(batch)).backward()
        optimizer.step()
    m = SimpleNamespace(encoder=encoder, decoder=decoder)
    m.x, m.labels = held_out[:N], digits.test_labels[:N]
    with torch.no_grad():
        m.q_mean, m.q_log_std = (part.double() for part in encoder(m.x))
        ticks = torch.arange(-REACH, REACH, STEP, dtype=torch.float64)
        m.codes = torch.cartesian_prod(ticks, ticks)
        joint = log_joint(decoder, m.x, m.codes) + torch.tensor(STEP**2).log()  # of the cells
    m.log_evidences = joint.logsumexp(dim=1)
    m.posteriors = (joint - m.log_evidences[:, None]).exp()
    m.elbos = m.log_evidences - torch.linspace(0.5, 9, N)  # which the page only shows
    return m


@pytest.fixture(scope="module")
def html(model):
    m = model
    return explorer_page(m.encoder, m.decoder, m.x, m.labels, m.elbos, m.log_evidences)


@pytest.fixture(scope="module")
def address(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    path.write_text(html, "utf-8")
    return path.as_uri()


def complain(page, text):
    if "willReadFrequently" not in text:  # it is the tests that read the pictures back, frequently
        page.noise.append(text)


@pytest.fixture(scope="module")
def open_page(browser, address):
    """Function that opens the page in a context of its own; what goes wrong is in page.noise."""
    contexts = []

    def open_page(to=address, script="", **options):
        contexts.append(context := browser.new_context(**options))
        page = context.new_page()
        page.set_default_timeout(120_000)  # milliseconds: the machine may be slow
        page.noise, page.requests = [], []
        page.on("console", lambda message: complain(page, message.text))
        page.on("pageerror", lambda error: page.noise.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        context.set_offline(True)
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
    assert shared_page.noise == []


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


def posterior_drawn(page):
    page.wait_for_function("document.getElementById('posterior').innerText.includes('±')")
    page.evaluate("new Promise(requestAnimationFrame)")


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
        page.evaluate("i => { chooseDigit(i); }", i)
        assert torch.equal(pixels(page, "original"), 255 * model.x[i].long())
        assert text(page, "name") == f"a {model.labels[i]}, {i + 1} of {N}"
        assert text(page, "elbo") == f"{model.elbos[i]:.1f}"
        assert text(page, "evidence") == f"{model.log_evidences[i]:.1f}"
        gap = float(text(page, "evidence")) - float(text(page, "elbo"))
        assert text(page, "gap") == f"{gap:.1f}" and gap > 0
        moments = zip(model.q_mean[i].tolist(), model.q_log_std[i].exp().tolist())
        assert text(page, "q") == "\n".join(f"{m:.2f} ± {s:.3f}" for m, s in moments)
        assert (code(page) - model.q_mean[i]).abs().max() < 0.0051


def posterior(page, i):
    found = page.evaluate("posterior", i)
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def reference(model, i):
    """Mean and std of p(z | x), its density on a finer grid of its own, and that grid's cell."""
    p = model.posteriors[i]
    mean = p @ model.codes
    std = (p @ (model.codes - mean) ** 2).sqrt()
    assert std.min() > STEP
    codes = mean + std * torch.cartesian_prod(*2 * [torch.linspace(-7, 7, 141).double()])
    with torch.no_grad():
        density = (log_joint(model.decoder, model.x[[i]], codes)[0] - model.log_evidences[i]).exp()
    cell = std.prod() * 0.1**2
    assert abs(density.sum() * cell - 1) < 0.01
    return mean, std, density, cell


def narrowest(model):
    """The digit with the narrowest posterior."""
    entropy = -(model.posteriors * model.posteriors.clamp_min(1e-300).log()).sum(dim=1)
    return entropy.argmin().item()


def test_posterior_is_exact(page, model):
    for i in (2, narrowest(model)):
        found, (mean, std, density, cell) = posterior(page, i), reference(model, i)
        assert ((found["mean"] - mean).abs() < 0.02 * std).all()
        assert ((found["std"] / std - 1).abs() < 0.02).all()
        # Its grid holds all of the mass: what normalizes it there is the evidence.
        with torch.no_grad():
            joint = log_joint(model.decoder, model.x[[i]], found["codes"])[0]
        log_density = found["values"] - found["steps"].prod().log()
        near = found["values"] > found["values"].max() - 9
        assert (joint - log_density - model.log_evidences[i])[near].abs().max() < 0.02
        # The regions are those of highest density, and hold what they should.
        for level, mass in zip(found["levels"], (0.5, 0.95)):
            held = density[density > level.exp() / found["steps"].prod()].sum() * cell
            assert abs(held - mass) < 0.02


def drawn(page, canvas, name):
    """The codes at which a canvas has a named colour, (K, 2)."""
    script = f"""() => {{
        const colour = getComputedStyle(document.documentElement).getPropertyValue("--{name}");
        const rgb = [1, 3, 5].map(k => parseInt(colour.trim().slice(k, k + 2), 16)), found = [];
        const data = {canvas}.getContext("2d").getImageData(0, 0, {canvas}.width, {canvas}.width);
        for (let k = 0; k < data.width ** 2; k++) {{
            if (rgb.every((c, n) => data.data[4 * k + n] === c)) {{
                found.push([k % data.width + 0.5, Math.floor(k / data.width) + 0.5]);
            }}
        }}
        const [x, y, r] = square({canvas});
        return found.map(([left, top]) =>
            [x - r + left * 2 * r / data.width, y + r - top * 2 * r / data.width]);
    }}"""
    return torch.tensor(page.evaluate(script), dtype=torch.float64)


def test_lens_draws_both_distributions_where_they_are(page, model):
    i = narrowest(model)
    page.evaluate("i => { chooseDigit(i); }", i)
    posterior_drawn(page)
    codes = drawn(page, "lens", "q")
    radius = ((codes - model.q_mean[i]) / model.q_log_std[i].exp()).norm(dim=1)
    rings = torch.tensor([0.5, 0.95]).neg().log1p().mul(-2).sqrt()
    distance = (radius[:, None] - rings).abs()
    width = page.evaluate("2 * square(lens)[2] / lens.width") / model.q_log_std[i].exp().min()
    assert (distance.amin(dim=1) < 1.5 * width).all()
    assert ((distance < 1.5 * width).sum(dim=0) > 50).all()
    codes = drawn(page, "lens", "posterior")
    with torch.no_grad():
        joint = log_joint(model.decoder, model.x[[i]], codes)[0]
    found = posterior(page, i)
    levels = found["levels"] - found["steps"].prod().log() + model.log_evidences[i]
    distance = (joint[:, None] - levels).abs()
    assert (distance.amin(dim=1) < 0.25).all()
    assert ((distance < 0.25).sum(dim=0) > 50).all()
    assert len(drawn(page, "plane", "posterior")) > 0  # there it is as small as it is


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
    times = page.evaluate("""Array.from({ length: 301 }, (_, k) => {
        const start = performance.now();
        chooseCode(Math.cos(k), Math.sin(k));
        return performance.now() - start;
    })""")
    assert sorted(times)[150] < 16


# By hand ------------------------------------------------------------------------------------


def test_keyboard_is_enough(page, model):
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
    plane, lens = page.locator("#plane"), page.locator("#lens")
    plane.press("ArrowRight")
    small = code(page)
    assert small[0] > 0 and small[1] == 0
    plane.press("Shift+ArrowUp")
    assert code(page)[0] == small[0] and code(page)[1] > 2 * small[0]
    for key in ("Shift+ArrowLeft", "ArrowDown"):
        plane.press(key)
    assert code(page)[0] < 0
    nearest = (model.q_mean - code(page)).norm(dim=1).argmin().item()
    plane.press("Enter")
    before = page.evaluate("code")
    lens.press("ArrowUp")
    after = page.evaluate("code")
    assert after[0] == before[0] and 0 < after[1] - before[1] < small[0]
    for button, step in (("", 0), ("#previous", -1), ("#next", 1), ("#next", 1)):
        if button:
            page.locator(button).press("Enter")
        nearest = (nearest + step) % N
        assert text(page, "name").endswith(f", {nearest + 1} of {N}")


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
    page.wait_for_function(
        f"document.getElementById('name').innerText.endsWith(', {i + 1} of {N}')"
    )
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
    page.evaluate("chooseDigit(3); null")
    page.wait_for_function("said.length === 2")
    for part in (f"a {model.labels[3]}, 4 of {N}", text(page, "elbo"), text(page, "evidence")):
        assert part in status.text_content()


def test_light_and_dark_and_readable_by_everyone(page, barriers):
    shown = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        assert barriers(page) == []
        colours = "[...document.querySelectorAll('#labels b')].map(b => getComputedStyle(b).color)"
        shown.append((page.evaluate("plane.toDataURL()"), page.screenshot()))
        assert len({*page.evaluate(colours)}) == 10
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
    for button in ("#next", "#sample"):
        frame.locator(button).click()
    frame.locator("#posterior", has_text="±").wait_for()
    assert page.requests == [] and page.noise == []


# The function -------------------------------------------------------------------------------


def test_same_networks_give_the_same_bytes_and_not_too_many(model, html):
    m = copy.deepcopy(model)
    again = explorer_page(
        m.encoder, m.decoder, m.x, [*m.labels], m.elbos.tolist(), m.log_evidences.float()
    )
    assert again == html
    thousand = [t.repeat(13, *[1] * (t.dim() - 1))[:1000] for t in (m.x, m.labels, m.elbos)]
    large = explorer_page(m.encoder, m.decoder, *thousand, thousand[2])
    assert 1e6 < len(large.encode()) < 1.5e6


class ByHand(nn.Module):
    """A student's own module: other names, another order, transposed weights, double precision."""

    def __init__(self, decoder):
        super().__init__()
        w1, b1, w2, b2 = (p.detach().double() for p in decoder.parameters())
        self.out_bias, self.out = nn.Parameter(b2), nn.Parameter(w2.T.contiguous())
        self.into, self.into_bias = nn.Parameter(w1.T.contiguous()), nn.Parameter(b1)

    def forward(self, z):
        return torch.tanh(z @ self.into + self.into_bias) @ self.out + self.out_bias


def test_takes_a_module_of_any_make(model, html):
    m = model
    own = explorer_page(m.encoder, ByHand(m.decoder), m.x, m.labels, m.elbos, m.log_evidences)
    assert own == html


OTHERS = {
    "relu": lambda: decoder_like(500, nn.ReLU),
    "400 units": lambda: decoder_like(400),
    "means": lambda: decoder_like(500, nn.Tanh, nn.Sigmoid()),
    "no bias": lambda: nn.Sequential(nn.Linear(2, 500, bias=False), nn.Tanh(), nn.Linear(500, 784)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_says_that_it_cannot_draw_another_decoder(model, other):
    m = model
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="draws a 2-500-784 tanh decoder") as error:
        explorer_page(m.encoder, other(), m.x, m.labels, m.elbos, m.log_evidences)
    assert "\n" not in str(error.value)
