"""The arrays behind the four pictures."""

from .entry import Change, variants

BERNOULLI_SAMPLES = "sample_bernoulli(prior_means[:, None].expand(10, 3, Ddata), generator(2))"
PICTURE = "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28)"

MISTAKES = [
    *variants(
        place="means",
        check="check-codes",
        replaces="q_mean.cpu()",
        codes={
            "means as sample_gaussian(q_mean, q_log_std).cpu()": (
                "sample_gaussian(q_mean, q_log_std).cpu()"
            ),
            "means as q_log_std.cpu()": "q_log_std.cpu()",
            "means as q_log_std.exp().cpu()": "q_log_std.exp().cpu()",
            "means as q_mean.cpu().flip(0)": "q_mean.cpu().flip(0)",
            "means as q_mean.cpu().T": "q_mean.cpu().T",
        },
    ),
    *variants(
        place="labels",
        check="check-codes",
        replaces="digits.train_labels[:BS]",
        codes={
            "labels as test_labels[:BS]": "digits.test_labels[:BS]",
            "labels as train_labels[BS : 2 * BS]": "digits.train_labels[BS : 2 * BS]",
            "labels as train_labels[1 : BS + 1]": "digits.train_labels[1 : BS + 1]",
            "labels as train_labels[:BS].sort().values": "digits.train_labels[:BS].sort().values",
        },
    ),
    *variants(
        place="prior_codes",
        check="check-prior-samples",
        replaces="torch.randn(",
        codes={
            "uniform codes": "torch.rand(",
        },
    ),
    *variants(
        place="prior_means",
        check="check-prior-samples",
        replaces="torch.sigmoid(decoder(prior_codes))",
        codes={
            "samples for the means of the pixels": (
                "sample_bernoulli(torch.sigmoid(decoder(prior_codes)))"
            ),
        },
    ),
    *variants(
        place="prior_samples",
        check="check-prior-samples",
        replaces=BERNOULLI_SAMPLES,
        codes={
            "noise shared by all codes": """\
torch.stack([sample_bernoulli(m.expand(3, Ddata), generator(2)) for m in prior_means])
""",
            "means for samples of the pixels": "prior_means[:, None].expand(10, 3, Ddata)",
            "samples[:, [0, 1, 1]]": """\
sample_bernoulli(prior_means[:, None].expand(10, 3, Ddata), generator(2))[:, [0, 1, 1]]
""",
            "samples.flip(0)": (
                "sample_bernoulli(prior_means[:, None].expand(10, 3, Ddata), generator(2)).flip(0)"
            ),
        },
    ),
    *variants(
        place="originals",
        check="check-reconstructions",
        replaces="generator(3))",
        codes={
            "one code twice": "generator(3))[:, :1].expand(4, 2, Dz)",
        },
    ),
    *variants(
        place="originals",
        check="check-reconstructions",
        replaces="torch.sigmoid(decoder(codes.reshape(8, Dz)))",
        codes={
            "logit-means for reconstructions": (
                "(decoder(codes.reshape(8, Dz)) / 40 + 0.5).clamp(0, 1)"
            ),
        },
    ),
    *variants(
        place="reconstructions",
        check="check-reconstructions",
        replaces="sample_bernoulli(reconstruction_means, generator(4))",
        codes={
            "reconstructions above a threshold": "(reconstruction_means > 0.5).float()",
        },
    ),
    *variants(
        place="lattice",
        check="check-lattice",
        replaces="z_y, z_x = torch.meshgrid(ticks.flip(0), ticks",
        codes={
            "lattice of z_y, z_x = torch.meshgrid(ticks, ticks": (
                "z_y, z_x = torch.meshgrid(ticks, ticks"
            ),
            "lattice of z_x, z_y = torch.meshgrid(ticks, ticks.flip(0)": (
                "z_x, z_y = torch.meshgrid(ticks, ticks.flip(0)"
            ),
        },
    ),
    *variants(
        place="lattice",
        check="check-lattice",
        replaces="[z_x, z_y]",
        codes={
            "z_x and z_y exchanged": "[z_y, z_x]",
        },
    ),
    *variants(
        place="picture",
        check="check-lattice",
        replaces=PICTURE,
        codes={
            "bytes for the means in the picture": (
                "(255 * tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28)).round().byte()"
            ),
        },
    ),
    *variants(
        place="lattice_means",
        check="check-lattice",
        replaces="with torch.no_grad():",
        codes={
            "gradient in a picture": "if True:",
        },
    ),
    *variants(
        place="picture",
        check="check-lattice",
        replaces=PICTURE,
        codes={
            "make_grid with its padding": """\
__import__('torchvision').utils.make_grid(tiles.reshape(2500, 1, 28, 28), nrow=50)[0]
""",
        },
        says={
            "make_grid with its padding": "Pass padding=0",
        },
    ),
    *variants(
        place="lattice",
        check="check-lattice",
        replaces="(-REACH, REACH, 50",
        codes={
            "lattice over 0, REACH, 50": "(0, REACH, 50",
            "lattice over -1, 1, 50": "(-1, 1, 50",
            "lattice over REACH, -REACH, 50": "(REACH, -REACH, 50",
        },
    ),
    *variants(
        place="picture",
        check="check-lattice",
        replaces=PICTURE,
        codes={
            "picture.flip(1)": "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28).flip(1)",
            "picture.rot90()": "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28).rot90()",
            "picture.rot90(2)": "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28).rot90(2)",
            "picture.T": "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28).T",
            "picture[:1399, :1399]": (
                "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28)[:1399, :1399]"
            ),
            "picture[None]": "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28)[None]",
            "picture.flip(0)": "tiles.permute(0, 2, 1, 3).reshape(50 * 28, 50 * 28).flip(0)",
            "tiles.flip(0)": "tiles.flip(0).permute(0, 2, 1, 3).reshape(1400, 1400)",
            "tiles.flip(1)": "tiles.flip(1).permute(0, 2, 1, 3).reshape(1400, 1400)",
            "tiles.flip(2)": "tiles.flip(2).permute(0, 2, 1, 3).reshape(1400, 1400)",
            "tiles.flip(3)": "tiles.flip(3).permute(0, 2, 1, 3).reshape(1400, 1400)",
            "tiles.flip(2, 3)": "tiles.flip(2, 3).permute(0, 2, 1, 3).reshape(1400, 1400)",
        },
        says={
            "picture.flip(0)": "Is the picture upside down?",
        },
    ),
    *variants(
        place="picture",
        check="check-lattice",
        replaces=".permute(0, 2, 1, 3)",
        codes={
            "tiles for permute": "",
            "tiles.permute(0, 3, 1, 2) for permute": ".permute(0, 3, 1, 2)",
            "tiles.permute(1, 2, 0, 3) for permute": ".permute(1, 2, 0, 3)",
        },
    ),
    *variants(
        place="lattice_means",
        check="check-lattice",
        replaces="torch.sigmoid(decoder(lattice.reshape(2500, Dz)))",
        codes={
            "the sigmoid left out": "decoder(lattice.reshape(2500, Dz))",
            "tanh for the sigmoid": "torch.tanh(decoder(lattice.reshape(2500, Dz)))",
            "samples of the lattice": (
                "sample_bernoulli(torch.sigmoid(decoder(lattice.reshape(2500, Dz))))"
            ),
        },
        says={
            "the sigmoid left out": "logit-means, without the sigmoid",
            "tanh for the sigmoid": "Is it tanh",
            "samples of the lattice": "Are these samples",
        },
    ),
    *variants(
        place="picture",
        check="check-lattice",
        codes={
            "black on white": "picture = 1 - picture",
            "stretched": "picture = (picture - picture.min()) / (picture.max() - picture.min())",
        },
        says={"black on white": "black on white", "stretched": "normalize=True"},
    ),
    *variants(
        place="prior_codes",
        check="check-prior-samples",
        codes={"means as codes": "prior_codes = means[:10].to(DEVICE)"},
        says={"means as codes": "means of the encoder, no draws"},
    ),
    *variants(
        place="originals",
        check="check-reconstructions",
        replaces="codes = sample_gaussian(mean_twice, log_std[:, None], generator(3))",
        codes={
            "means of q": "codes = mean_twice",
            "codes from the prior": (
                "codes = torch.randn(4, 2, Dz, generator=generator(3), device=DEVICE)"
            ),
            "std for log_std": (
                "codes = sample_gaussian(mean_twice, log_std.exp()[:, None], generator(3))"
            ),
            "the same noise for all digits": (
                "codes = mean_twice + log_std.exp()[:, None] * torch.randn(2, Dz)"
            ),
        },
        says={
            "means of q": "these are the means of q(z | x)",
            "codes from the prior": "Are these draws from the prior?",
            "std for log_std": "Is the standard deviation passed",
            "the same noise for all digits": "the same noise in several codes",
        },
    ),
]

RIGHT = [
    *variants(
        place="means",
        codes={
            "means as an array of NumPy": "means = means.cpu().numpy()",
        },
    ),
    *variants(
        place="prior_codes",
        codes={
            "codes by NumPy": """\
import numpy
prior_codes = torch.from_numpy(numpy.random.default_rng(SEED).standard_normal((10, Dz)))
prior_codes_single = prior_codes.float()
""",
        },
        more=[
            Change("prior_means", "decoder(prior_codes)", "decoder(prior_codes_single)"),
        ],
    ),
    *variants(
        place="picture",
        replaces=PICTURE,
        codes={
            "picture by make_grid without padding": """\
__import__('torchvision').utils.make_grid(tiles.reshape(2500, 1, 28, 28), nrow=50, padding=0)[0]
""",
        },
    ),
]
