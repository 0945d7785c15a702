"""The contrast of texts with what is behind them, as WCAG defines it, in a browser."""

CONTRASTS = """selector => {
    const channels = colour => {
        const [r, g, b, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
        return [r, g, b, alpha];
    };
    const over = ([r, g, b, alpha], below) =>
        [r, g, b].map((c, i) => alpha * c + (1 - alpha) * below[i]);
    const background = element => {  // a page must have one of its own: NaN where it has none
        const colour = channels(getComputedStyle(element).backgroundColor);
        if (colour[3] == 1) return colour;
        return element.parentElement ? over(colour, background(element.parentElement)) : [NaN];
    };
    const luminance = colour => colour.slice(0, 3).map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const texts = document.createTreeWalker(document, NodeFilter.SHOW_TEXT), found = [];
    for (let text; text = texts.nextNode();) {
        const element = text.parentElement;
        if (!text.data.trim() || !element.closest(selector) || !element.checkVisibility()) continue;
        const below = background(element), ink = channels(getComputedStyle(element).color);
        const [low, high] = [below, over(ink, below)].map(luminance).sort((a, b) => a - b);
        found.push([(high + 0.05) / (low + 0.05), text.data.trim()]);
    }
    return found;
}"""


def contrasts(frame, selector):
    """Pairs (contrast, text) of the visible texts in what the selector selects."""
    return [tuple(pair) for pair in frame.evaluate(CONTRASTS, selector)]


def faint_texts(frame, selector):
    """The texts with less contrast than the 4.5 that WCAG asks for."""
    return [text for contrast, text in contrasts(frame, selector) if not contrast >= 4.5]
