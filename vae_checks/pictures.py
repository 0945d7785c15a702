"""The arrays behind the four pictures. What the pictures look like is for people to judge."""

import torch

from .checking import (
    Checker,
    CheckFailed,
    Ddata,
    Dz,
    check,
    require,
    require_shape,
    require_values,
)


class PictureChecks(Checker):
    def array(self, name, shape):
        """The notebook's tensor of this name, which must have this shape and can be drawn."""
        tensor = getattr(self.notebook, name)
        require_shape(name, tensor, shape)
        if tensor.requires_grad:
            raise CheckFailed(
                f"{name} still carries a gradient, and matplotlib cannot draw that: compute it "
                "inside `with torch.no_grad():`."
            )
        return tensor.to(self.device)

    @check
    def codes(self):
        """means against the encoder's, and labels against those of the same digits."""
        batch_size = self.notebook.BS
        means = self.array("means", (batch_size, Dz))
        with torch.no_grad():
            mean, log_std = self.notebook.encoder(self.notebook.binarized_mnist[:batch_size])
        mistakes = {"are these the log_stds?": log_std}
        otherwise = "are these samples, or other digits than the first BS?"
        require_values("means", means, mean, mistakes, otherwise)
        labels = torch.as_tensor(self.notebook.labels).cpu()
        require(
            torch.equal(labels, self.notebook.digits.train_labels[:batch_size]),
            "labels belong to the same digits as means",
            "labels are not those of the digits that were encoded, the first BS of the training "
            "digits: are they of another part, or in another order?",
        )

    @check
    def prior_samples(self):
        """Codes, means and binary samples of picture 2, each against the one before."""
        codes = self.array("prior_codes", (10, Dz))
        require(
            ((codes < 0) | (codes > 1)).any()
            and 2.5 < (codes**2).sum() < 65
            and len(codes.unique()) == 20,
            "prior_codes look like draws from the prior",
            "prior_codes do not look like twenty draws of N(0, 1): torch.rand for torch.randn, or "
            "numbers repeated?",
        )
        means = self.array("prior_means", (10, Ddata))
        with torch.no_grad():
            y = self.notebook.decoder(codes)
        mistakes = {"are these the logit-means?": y}
        otherwise = "are these samples, or the means of other codes than prior_codes?"
        require_values("prior_means", means, torch.sigmoid(y), mistakes, otherwise)
        self.binary_samples("prior_samples", means[:, None].expand(10, 3, Ddata))

    @check
    def reconstructions(self):
        """Codes, means and binary images of picture 3, each against the one before."""
        originals = self.array("originals", (4, Ddata))
        digits = self.notebook.binarized_mnist
        require(
            all((digits == original).all(dim=1).any() for original in originals)
            and len(originals.unique(dim=0)) == 4,
            "originals are four of the binarized digits",
            "originals must be four different digits of binarized_mnist.",
        )
        codes = self.array("codes", (4, 2, Dz))
        with torch.no_grad():
            mean, log_std = self.notebook.encoder(originals)
            right_means = torch.sigmoid(self.notebook.decoder(codes))
        deviations = (codes - mean[:, None]) / log_std.exp()[:, None]
        require(
            1 < (deviations**2).sum() < 60 and len(deviations.round(decimals=4).unique()) > 12,
            "codes are two draws from q(z | x) for each digit",
            "codes must be two different draws from q(z | x) for each digit: mean + exp(log_std) * "
            "noise?",
        )
        means = self.array("reconstruction_means", (4, 2, Ddata))
        otherwise = "are these other than the sigmoid of the decoder's outputs at codes?"
        require_values("reconstruction_means", means, right_means, otherwise=otherwise)
        self.binary_samples("reconstructions", right_means)

    def binary_samples(self, name, means):
        """Binary images against their means (images, samples of each, Ddata)."""
        samples = self.array(name, means.shape).float()
        require(
            ((samples == 0) | (samples == 1)).all(),
            f"{name} are zeros and ones",
            f"{name} must be 0 or 1: are these the means?",
        )
        residuals, variances = samples - means, means * (1 - means)
        z_score = residuals.sum() / torch.sqrt(variances.sum())
        # Along what tells each image from the others: far below 0 if they are those of other means.
        logits = torch.logit(means, eps=1e-6)
        own = logits - logits.flatten(end_dim=1).mean(dim=0)
        own_score = (residuals * own).sum() / torch.sqrt((variances * own**2).sum())
        surprise = (residuals**2).sum(-1) / variances.sum(-1)  # of each image; 1 on average
        correlations = torch.corrcoef(residuals.transpose(0, 1).flatten(1))
        correlations -= torch.eye(len(correlations), device=self.device)
        require(
            abs(z_score) < 6
            and own_score > -6
            and ((0.4 < surprise) & (surprise < 2)).all()
            and correlations.abs().max() < 0.3,
            f"{name} are draws with those means",
            f"{name} are not independent draws with those means: a threshold, the same draw twice, "
            "or the means of other images?",
        )

    @check
    def lattice(self):
        """The lattice against the axes, and the picture against tiles put side by side."""
        reach = self.notebook.REACH
        axis = torch.linspace(-reach, reach, 50, device=self.device)
        right = torch.stack([axis.expand(50, 50), axis.flip(0)[:, None].expand(50, 50)], dim=2)
        rows_for_columns = right.transpose(0, 1)
        mistakes = {
            "does z_y grow downwards?": right.flip(0),
            "are rows and columns exchanged?": rows_for_columns,
            "are z_x and z_y exchanged?": right.flip(2),
            "are rows and columns exchanged, and does z_y grow downwards?": rows_for_columns.flip(
                1
            ),
        }
        otherwise = "does it go from -REACH to REACH, z_x along the columns, z_y up the rows?"
        lattice = self.array("lattice", (50, 50, Dz))
        require_values("lattice", lattice, right, mistakes, otherwise)
        with torch.no_grad():
            images = torch.sigmoid(self.notebook.decoder(right)).reshape(50, 50, 28, 28)
        # Row by row of tiles, and in it tile beside tile.
        picture = torch.cat([torch.cat([*row], dim=1) for row in images])
        tiles = picture.reshape(50, 28, 50, 28)
        mistakes = {
            "is each tile transposed?": tiles.transpose(1, 3).reshape(1400, 1400),
            "are the rows and columns of tiles exchanged?": tiles.transpose(0, 2).reshape(
                1400, 1400
            ),
            "is the whole picture transposed?": picture.T,
            "are the dimensions not permuted before reshaping?": images.reshape(1400, 1400),
            "are these bytes, where numbers from 0 to 1 are asked for?": (255 * picture).round(),
        }
        otherwise = (
            "does permute bring the dimensions into the order tile row, pixel row, tile column, "
            "pixel column, and are these the means at the lattice?"
        )
        require_values("picture", self.array("picture", (1400, 1400)), picture, mistakes, otherwise)
