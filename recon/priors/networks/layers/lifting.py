"""Filters of a learned linear lifting: predictions of three phases of the pixels, and an update of the first.

A scale parts the pixels into four phases, of even and odd rows and columns. Those of odd columns are predicted from the
even ones, those of odd rows from both, those of both odd from all three; what is left are the details. The even phase
is updated by the details, and is the image of the next scale. Predictions and updates are undone in reverse order, so
that the transform has an inverse whatever their weights (Sweldens 1998, *The lifting scheme*). With the details of
every choice of the even phase, no pixel is distinguished, and they are correlations of the image with a few filters.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.priors.networks.architectures.network import drawn
from recon.priors.networks.layers.convolution import compose
from recon.priors.networks.layers.filter_bank import FilterBank

_Place = tuple[int, int, int]

BANDS = 3
"""Details of a scale: of odd columns, of odd rows, and of both."""

_UPDATED_FROM = 3
"""Rows and columns of the window of an update."""

_NEAREST = {
    (0, 0, -1): 0.5, (0, 0, 1): 0.5,
    (1, -1, 0): 0.5, (1, 1, 0): 0.5,
    (2, 0, -1): 0.5, (2, 0, 1): 0.5, (2, -1, 0): 0.5, (2, 1, 0): 0.5,
    (2, -1, -1): -0.25, (2, -1, 1): -0.25, (2, 1, -1): -0.25, (2, 1, 1): -0.25,
}  # fmt: skip
"""Predictions (band, row, column) of the separable lifting of the biorthogonal wavelets 5/3."""

_SHARES = 0.25, 0.25, 0.0625
"""Its updates, of each of the nearest details of a band."""


class LiftingFilters(FilterBank):
    """The filters of the details of some scales, each of the same Euclidean norm.

    Training starts from the lifting of the wavelets 5/3. Predictions sum to 1: constant images have no details. The
    update of the last scale changes no detail; it is there for the inverse.

    Args:
        scales: How often the even phase is split.
        size: Rows and columns of the window of a prediction, odd and at least 3.
    """

    def __init__(self, scales: int, size: int) -> None:
        super().__init__()
        self.scales, self.size, self.kernels = scales, size, nn.ParameterList()
        updates = [_SHARES[band] for band, _, _ in _updating()]
        self.predict = drawn((scales, len(_predicting(size))), lambda: _start(size).repeat(scales, 1))
        self.update = drawn((scales, len(updates)), lambda: torch.tensor(updates).repeat(scales, 1))

    def windows(self, scale: int) -> tuple[Tensor, Tensor]:
        """The weights of the predictions of a scale, (3, size, size), and of its updates, (3, 3, 3)."""
        places = _predicting(self.size)
        allowed = _placed(torch.ones_like(self.predict[scale]), places, self.size)
        given = _placed(self.predict[scale], places, self.size)
        missing = (1 - given.sum((1, 2), keepdim=True)) / allowed.sum((1, 2), keepdim=True)
        return given + missing * allowed, _placed(self.update[scale], _updating(), _UPDATED_FROM)

    def composed(self) -> Tensor:
        """See :meth:`FilterBank.composed`; the first three are of the finest scale."""
        image, found = self.predict.new_ones(1, 1, 1, 1), []
        for scale in range(self.scales):
            predict, update = self.windows(scale)
            details = _beside_one(-predict[:, None])
            low = _beside_one(compose(details, update[None]))
            found.append(compose(image, _spread(details, 2**scale)))
            image = compose(image, _spread(low, 2**scale))
        bank = torch.cat([_padded(each, found[-1].shape[-1]) for each in found])
        lengths: Tensor = torch.linalg.vector_norm(bank, dim=(1, 2, 3), keepdim=True)
        return bank / lengths


def _predicting(size: int) -> list[_Place]:
    """The pixels, (band, row, column) in a window, of phases that come before that of its middle."""
    return [
        (band, row, column)
        for band, row, column in itertools.product(range(BANDS), range(size), range(size))
        if _is_before(band, (row - size // 2) % 2, (column - size // 2) % 2)
    ]


def _is_before(band: int, row: int, column: int) -> bool:
    """Whether a pixel is of a phase before that of a band, by the parities of its distance."""
    return bool((not row and column, row, row or column)[band])


def _updating() -> list[_Place]:
    """The details, (band, row, column), around an even pixel."""
    parities = (0, 1), (1, 0), (1, 1)
    return [
        (band, row, column)
        for band, row, column in itertools.product(range(BANDS), range(_UPDATED_FROM), range(_UPDATED_FROM))
        if ((row - 1) % 2, (column - 1) % 2) == parities[band]
    ]


def _placed(values: Tensor, places: list[_Place], size: int) -> Tensor:
    """The windows, (bands, size, size), that have the values in these places."""
    where = torch.tensor(places, device=values.device).unbind(1)
    return values.new_zeros(BANDS, size, size).index_put(where, values)


def _start(size: int) -> Tensor:
    middle = size // 2
    return torch.tensor(
        [_NEAREST.get((band, row - middle, column - middle), 0.0) for band, row, column in _predicting(size)]
    )


def _beside_one(kernel: Tensor) -> Tensor:
    """A kernel whose middle is the pixel itself, with weight 1 beside what it has."""
    middle = kernel.shape[-1] // 2
    return kernel + functional.pad(kernel.new_ones(1, 1, 1, 1), (middle,) * 4)


def _spread(kernel: Tensor, step: int) -> Tensor:
    """A kernel of pixels that are ``step`` apart."""
    size = step * (kernel.shape[-1] - 1) + 1
    wide = kernel.new_zeros(*kernel.shape[:2], size, size)
    wide[..., ::step, ::step] = kernel
    return wide


def _padded(kernel: Tensor, size: int) -> Tensor:
    return functional.pad(kernel, ((size - kernel.shape[-1]) // 2,) * 4)
