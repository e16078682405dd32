"""Centre of a mask of k-space, where it is densest."""

from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

WINDOW = 8
"""Of the sides of k-space, one part in so many: about the part that is usually sampled in full."""

THIN = 0.5
"""The density in the middle, of the greatest, below which a mask is not that of a centred k-space."""


def off_centre_warning(mask: Tensor) -> str:
    """Say that a mask is densest far from the middle, where the zero frequency is expected; nothing where it is not.

    The density is that of a window that wraps around, so a mask whose zero frequency is in the corner shows as one.

    Args:
        mask: (height, width), bool.
    """
    sides = tuple(mask.shape)
    reach = tuple(max(side // (2 * WINDOW), 1) for side in sides)
    if min(sides) < WINDOW:
        return ""
    around = pad(mask[None, None].double(), (reach[1], reach[1], reach[0], reach[0]), mode="circular")
    density = avg_pool2d(around, (2 * reach[0] + 1, 2 * reach[1] + 1), stride=1)[0, 0]
    middle, most = float(density[sides[0] // 2, sides[1] // 2]), float(density.max())
    if middle >= THIN * most:
        return ""
    row, column = divmod(int(density.argmax()), sides[1])
    return (
        f"the mask is densest about row {row}, column {column}, where {most:.0%} is sampled, and {middle:.0%} about "
        f"({sides[0] // 2}, {sides[1] // 2}), where the zero frequency is expected; a mask, and data, with the zero "
        "frequency in the corner are to be shifted by half their sides (numpy.fft.fftshift)."
    )
