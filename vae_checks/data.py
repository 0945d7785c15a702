"""The digits and their minibatches."""

import torch

from .checking import Checker, Ddata, check, require, require_shape, same


class DataChecks(Checker):
    @check
    def digits(self):
        """greyscale_mnist and binarized_mnist against the pixels that were loaded, 0 to 255."""
        pixels = self.notebook.digits.train_images.flatten(start_dim=1).to(self.device)
        grey, binarized = self.notebook.greyscale_mnist, self.notebook.binarized_mnist
        require_shape("greyscale_mnist", grey, pixels.shape)
        require(
            # In parts, to spare memory.
            all(same(a, b / 255) for a, b in zip(grey.split(1000), pixels.split(1000))),
            "greyscale_mnist holds the training digits, from 0 to 1",
            "greyscale_mnist must hold the training digits as (N, 784), in their order, divided by "
            "255.",
        )
        require_shape("binarized_mnist", binarized, pixels.shape)
        right = (pixels > 127).float()
        require(
            binarized.is_floating_point() and torch.equal(binarized, right),
            "binarized_mnist is 1 above one half and 0 below",
            f"binarized_mnist must hold the floats 0 and 1, {right.mean():.1%} of them 1; here "
            f"{(binarized != 0).float().mean():.1%} are not 0. Is the threshold meant for 0 to "
            "255, the comparison reversed, .float() left out, or are the pixels still grey?",
        )

    @check
    def batches(self):
        """The minibatches, all together, against binarized_mnist, digit by digit in any order."""
        batches, size = self.notebook.batches, self.notebook.BS
        require(
            iter(batches) is not batches,
            "the batches can be iterated over again and again",
            "batches can be iterated over only once: make it a list, a DataLoader or a class with "
            "__iter__.",
        )
        require_shape("the first batch", next(iter(batches)), (size, Ddata))
        fingerprint = self.numbers(Ddata, seed=1000)  # a number that tells a digit from all others
        dealt, all_digits = (
            torch.cat([x.double() @ fingerprint for x in part]).sort().values
            for part in (batches, self.notebook.binarized_mnist.split(size))
        )
        require(
            same(dealt, all_digits),
            "the batches hold each binarized training digit once",
            "the batches must hold each digit of binarized_mnist once: are they made of the "
            "held-out or the grey digits, or is a part left out?",
        )
