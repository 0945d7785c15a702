"""Draw a small data set of handwritten-looking digits, in MNIST's own file format.

    python data/draw_digits.py            # writes the four files beside this script
    python data/draw_digits.py FOLDER     # writes them into FOLDER

Written are 6,000 training and 1,000 test digits (28 x 28 grey pixels, bright ink on black, equally
many of each class, in shuffled order) and their labels: gzipped IDX files under MNIST's names.

Each digit is drawn by a hand of its own. The hand picks one of the usual ways of writing the digit,
follows its pen strokes with some unsteadiness, bends and slants them, and leaves ink as wide as its
pen. The result is then framed as MNIST's digits are: it fills a box of 20 x 20 pixels, and its
centre of mass lies at the centre of the image. The strokes are designed by hand, no data is read,
and all chance comes from one seeded generator, so every run writes the same bytes.
"""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np

SEED = 1
SIDE = 28  # of an image, in pixels
BOX = 20  # side of the box that the ink fills, in pixels
SETS = {"train": 600, "t10k": 100}  # how many digits of each class

# The ways of writing each digit: roughly how common the way is, and the path of the pen, as points
# "x,y" in percent of the digit's height, x to the right and y down. The pen starts at the first
# point and ends at the last; the points between pull it along a smooth curve that stays inside
# them, which is why many lie beyond 0 and 100. "!" marks a sharp corner, which the pen does reach;
# "|" lifts the pen for another stroke.
WAYS = {
    0: [  # round, pointed at the top, begun inside, left open
        (4, "72,2 22,0 -6,48 6,94 48,106 92,98 112,52 96,8 56,-4 30,8"),
        (3, "70,0 38,12 6,56 4,98 40,106 84,92 100,48 82,2 56,4"),
        (2, "50,26 66,-4 24,0 -4,48 8,96 50,106 92,98 110,52 94,8 62,0"),
        (1, "34,2 2,24 -6,70 24,104 76,104 106,74 100,24 70,0"),
    ],
    1: [  # a straight bar, two bowed ones, with a flag, with a flag and a base
        (10, "58,0 42,100"),
        (3, "58,0 49,35 44,65 46,100"),
        (3, "54,0 55,35 50,65 38,100"),
        (1, "34,18 48,8 56,0! 52,50 48,100"),
        (1, "26,24 42,14 56,0! 53,50 50,98 | 18,98 48,99 80,97"),
    ],
    2: [  # five with a corner at the bottom left, five with a loop there
        (2, "4,26 16,0 62,-8 96,14 80,50 36,80 2,97! 50,96 98,92"),
        (2, "8,22 18,-2 74,-8 88,24 50,70 6,98! 34,82 68,96 108,90"),
        (2, "30,24 24,0 66,-6 72,30 56,64 34,96! 54,92 84,98"),
        (2, "0,12 40,2 86,0 84,24 40,70 6,97! 50,94 110,88"),
        (1, "20,14 40,-4 78,2 76,30 46,64 0,96! 40,84 80,80 130,78"),
        (3, "4,26 26,-4 76,-6 96,28 68,72 26,108 -10,94 8,62 50,78 84,94 124,80"),
        (3, "12,32 20,-2 76,-8 92,24 80,66 44,106 -6,104 -2,62 46,64 88,86 110,106"),
        (3, "8,26 24,-4 76,-8 92,26 68,66 30,104 -2,98 4,66 40,76 70,98 104,88"),
        (1, "24,20 50,0 84,10 84,60 40,104 10,90 30,70 70,84 100,100"),
        (1, "34,24 38,-2 70,-6 80,26 62,70 42,106 18,98 28,78 50,86 74,104"),
    ],
    3: [  # with a sharp waist, with a soft one, flat-topped, wide, narrow, hanging
        (4, "10,14 36,-6 82,0 82,38 34,48! 88,48 92,98 44,106 4,88"),
        (2, "10,12 40,-6 84,2 76,38 44,53 30,47 50,43 88,58 86,102 40,104 4,90"),
        (2, "10,4 40,4 80,2! 58,24 38,44! 84,42 98,92 48,108 4,90"),
        (2, "0,16 30,-6 96,-6 98,36 32,48! 104,46 112,102 40,110 -8,88"),
        (1, "24,8 52,-4 84,10 68,40 46,48! 78,54 84,86 60,104 20,98"),
        (1, "-10,6 30,0 80,8 60,36 34,46! 80,46 100,70 92,92 70,106"),
    ],
    4: [  # open with a corner, open and rounded, closed, in one stroke
        (5, "22,4 14,30 4,58! 50,56 96,52 | 74,0 72,40 68,100"),
        (3, "14,4 10,30 8,60 40,62 72,48 | 82,2 78,40 74,100"),
        (2, "60,0 34,30 2,66! 50,66 98,64 | 62,0 62,50 60,100"),
        (1, "20,4 8,40 30,60 76,46 86,2! 76,50 70,100"),
    ],
    5: [  # four with the bar drawn last, from upright to lying; three in one stroke
        (2, "20,2 16,24 8,48! 60,32 102,62 82,106 30,110 0,90 | 20,4 50,4 94,4"),
        (3, "36,4 28,24 16,48! 60,34 98,58 84,104 36,110 0,88 | 36,4 64,4 100,2"),
        (3, "48,8 34,26 20,46! 62,38 88,62 66,102 26,108 -6,90 | 46,10 80,8 124,0"),
        (2, "52,14 36,32 22,50! 60,40 78,64 50,100 10,108 -14,94 | 52,16 86,10 130,-6"),
        (3, "98,2 64,4 32,4! 26,24 16,48! 60,36 92,62 78,104 30,106 -2,92"),
        (2, "102,0 48,-6 8,14 16,42 68,52 92,84 52,108 -2,92"),
        (1, "84,0 44,4 14,8! 16,26 18,46! 62,42 84,62 78,88 50,104"),
    ],
    6: [  # curved, straight, narrow, curled in, with a hooked top, with a corner
        (4, "62,-2 34,14 6,50 8,100 60,112 98,82 72,52 36,64 20,88"),
        (3, "46,0 30,24 14,60 14,98 46,110 88,96 90,66 52,58 22,84"),
        (2, "50,0 34,24 20,60 24,100 56,110 78,86 58,64 36,78 26,96"),
        (2, "22,0 4,40 0,90 40,112 100,104 108,68 70,50 44,72 48,92"),
        (1, "78,4 40,-6 4,34 2,86 36,112 88,100 90,62 50,50 14,74"),
        (2, "62,0 36,40 14,98! 50,106 94,84 78,60 40,68 16,90"),
    ],
    7: [  # plain, begun with a hook, rounded, with a crossbar, wide, upright
        (4, "6,12 36,6 84,4! 72,40 56,100"),
        (3, "8,30 4,10 44,8 86,2! 68,40 48,100"),
        (2, "4,14 44,6 94,-4 90,30 66,60 54,100"),
        (2, "6,8 40,6 86,4! 68,40 50,100 | 28,54 56,52 92,48"),
        (1, "0,8 50,4 108,6! 70,40 24,100"),
        (1, "4,16 20,4 60,2 88,6! 84,50 82,100"),
    ],
    8: [  # seven that are an S and its way back, one of two circles
        (3, "84,14 60,-8 10,0 12,34 50,50 90,74 76,110 20,110 8,76 46,50 84,28 84,6 62,-4"),
        (3, "100,4 56,-6 10,8 20,40 66,58 76,98 44,108 14,92 34,60 76,34 100,8"),
        (3, "94,14 60,2 20,-4 14,28 50,50 76,76 62,108 20,108 18,76 52,50 80,22 102,-6"),
        (2, "80,20 70,-6 26,-6 18,26 46,48 66,70 66,106 34,106 32,72 56,46 80,20 74,2"),
        (2, "66,8 48,-6 26,2 30,34 60,48 96,70 90,108 10,108 6,72 44,48 66,28 66,6 50,-4"),
        (1, "90,10 60,-8 0,0 4,40 50,56 66,74 60,106 36,106 34,76 60,50 96,30 88,0"),
        (1, "112,2 60,4 30,20 50,44 68,70 50,104 14,108 16,84 50,50 76,26 70,0 44,2 36,12"),
        (2, "52,0 14,4 20,42 52,48 80,40 84,4 50,-2 | 50,48 8,56 8,100 52,106 92,98 90,56 48,48"),
    ],
    9: [  # with a straight tail, narrow, in one sweep, with a curled tail, pointed, wide
        (5, "78,14 50,-8 6,4 4,46 50,56 78,18 80,6! 76,50 64,100"),
        (3, "74,10 56,-4 26,2 22,38 46,48 72,16! 72,50 64,100"),
        (3, "80,22 64,-4 18,-4 4,38 38,58 74,36 82,8 76,50 50,104"),
        (2, "76,10 50,-6 22,8 20,44 54,48 78,10! 76,70 66,102 40,106 22,96"),
        (1, "78,4 50,2 18,20 14,48 50,52 80,4! 74,50 66,100"),
        (2, "94,12 60,-8 0,10 4,52 60,50 92,8! 90,50 92,100"),
    ],
}

# The curve is a uniform cubic B-spline: each point of it is a weighted mean of four neighbouring
# control points. A row of CURVE holds the four weights at one of the steps between two controls.
T = np.arange(0, 1, 1 / 16)
CURVE = (
    np.column_stack([(1 - T) ** 3, 3 * T**3 - 6 * T**2 + 4, -3 * T**3 + 3 * T**2 + 3 * T + 1, T**3])
    / 6
)


def read_strokes(path):
    """Turn a path of WAYS into strokes: pairs of controls (n, 2) and whether each is sharp (n,)."""
    strokes = []
    for stroke in path.split("|"):
        words = stroke.split()
        controls = np.array([word.rstrip("!").split(",") for word in words], dtype=float) / 100
        sharp = np.array([word.endswith("!") for word in words])
        sharp[[0, -1]] = True  # the pen reaches both ends of a stroke
        strokes.append((controls, sharp))
    return strokes


def shake(controls, rng):
    """Misplace each control point (n, 2) of a stroke a little, and its ends more."""
    error = rng.normal(0, 0.018, size=controls.shape)
    error[[0, -1]] *= 3
    return controls + error


def follow(controls, sharp):
    """Sample the curve of one stroke densely: controls (n, 2) to points (m, 2)."""
    # The spline passes through a control point, and turns sharply there, if it is written thrice.
    controls = np.repeat(controls, np.where(sharp, 3, 1), axis=0)
    neighbours = np.stack([controls[i : len(controls) - 3 + i] for i in range(4)], axis=1)
    return (CURVE @ neighbours).reshape(-1, 2)


def bend(points, rng):
    """Bend the plane under the points (m, 2) by slow waves, so that strokes which meet still do."""
    bent = points.copy()
    for _ in range(4):
        push = rng.normal(0, 0.04, size=2)
        wave = rng.normal(0, 0.35, size=2)  # periods per height of the digit
        bent += push * np.sin(2 * np.pi * (points @ wave + rng.random()))[:, None]
    return bent


def lean(points, rng):
    """Widen or narrow the digit, slant it (more often to the right), and turn it a little."""
    width = 0.8 * np.exp(rng.normal(0, 0.16))
    slant = rng.normal(0.16, 0.25)
    angle = rng.normal(0, 0.1)
    slanted = points @ np.array([[width, 0], [-slant, 1]])
    cosine, sine = np.cos(angle), np.sin(angle)
    return slanted @ np.array([[cosine, sine], [-sine, cosine]])


def choose_radii(count, rng):
    """Choose a pen and how hard it is pressed: its radius in pixels at each of `count` points."""
    radius = rng.triangular(1.4, 1.9, 4.3) / 2
    pressure = np.sin(2 * np.pi * (rng.random() + np.linspace(0, 1, count)))
    return radius * (1 + 0.12 * pressure)


def fit(points, radii):
    """Scale points (m, 2) to pixels, so that their ink just fits the box, amid the image."""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (BOX - 2 * radii.max()) / (high - low).max()
    return scale * (points - (low + high) / 2) + (SIDE - 1) / 2


def ink(points, radii):
    """Ink every pixel near the points (m, 2): grey (28, 28) from 0 to 1, fading over one pixel."""
    squares = (np.arange(SIDE)[:, None, None] - points) ** 2
    distance = np.sqrt(squares[:, None, :, 1] + squares[None, :, :, 0])  # rows, columns, points
    return np.clip((radii - distance).max(axis=2) + 0.5, 0, 1)


def centre(image):
    """Shift the image by whole pixels, to bring its centre of mass to the centre."""
    offsets = np.arange(SIDE) - SIDE / 2  # MNIST's centre is the middle of pixel (14, 14)
    down = -(image.sum(axis=1) @ offsets) / image.sum()
    right = -(image.sum(axis=0) @ offsets) / image.sum()
    reach = (SIDE - BOX) // 2 - 1  # a longer shift would push ink to the image's very edge
    shift = np.clip(np.rint([down, right]), -reach, reach).astype(int)
    return np.roll(image, shift, axis=(0, 1))


def draw_digit(digit, rng):
    """Draw one digit as a new hand would: grey (28, 28), uint8."""
    weights, paths = zip(*WAYS[digit])
    path = rng.choice(paths, p=np.array(weights) / sum(weights))
    strokes = [follow(shake(controls, rng), sharp) for controls, sharp in read_strokes(path)]
    points = lean(bend(np.concatenate(strokes), rng), rng)
    radii = choose_radii(len(points), rng)
    image = centre(ink(fit(points, radii), radii))
    return np.rint(255 * image).astype(np.uint8)


def draw_set(per_class, rng):
    """Draw a balanced, shuffled set: images (n, 28, 28) and labels (n,), both uint8."""
    labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), per_class))
    return np.stack([draw_digit(label, rng) for label in labels]), labels


def write_idx(path, array):
    """Write a uint8 array as gzipped IDX: a magic number, the sizes (big-endian), the values."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    # Neither a file name nor a time goes into the gzip header: equal arrays make equal files.
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped:
        zipped.write(header + array.tobytes())


def main(folder):
    """Draw both sets and write their four files into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(SEED))
    for name, per_class in SETS.items():
        images, labels = draw_set(per_class, rng)
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
