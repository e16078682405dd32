"""What double precision loses in convolutions, whatever their order of summation.

In the standard model (Higham 2002, sections 3.1 and 3.5) a sum of n products, in any order and with or without fused
additions, is off by at most ``g_n sum |a_i| |b_i|``, ``g_n = n v / (1 - n v)`` and ``v = 2^-53``, and by ``n 2^-1074``
where products underflow. So an analysis ``W x`` is off by at most ``g_n || |W| |x| ||``, and a synthesis ``W^T z`` by
``g_n || |W|^T |z| ||``, n the products of each number. A bound of the norm of |W|, which bounds that of W too, makes
these a few multiplications.

Convolutions in double precision are sums of products: by im2col on the CPU, and in cuDNN, whose fast algorithms
(Winograd, Fourier transforms), for which this does not hold, are of single and half precision.
"""

from torch import Tensor

from recon.operators.rounding import LEAST, gamma


class ConvolutionRounding:
    """The rounding of an analysis and a synthesis, from the norms of their inputs.

    Args:
        kernel: ``(filters, channels, k, k)``.
        absolute: A bound of the norm of |W|.

    Attributes:
        down: Products of a response.
        up: Products of a pixel.
    """

    def __init__(self, kernel: Tensor, absolute: float) -> None:
        self.absolute = absolute
        self.down, self.up = kernel[0].numel(), kernel[:, 0].numel()

    def analysis(self, norms: Tensor) -> Tensor:
        """A bound of the norm of what an analysis of images of these norms is off by."""
        return gamma(self.down) * self.absolute * norms

    def synthesis(self, norms: Tensor) -> Tensor:
        """The same of a synthesis, from the norms of the responses."""
        return gamma(self.up) * self.absolute * norms

    def summed(self, total: Tensor, entries: int, is_zero: Tensor) -> Tensor:
        """A bound that is made of norms, with the rounding of these norms and of underflow.

        Args:
            total: The bound, ``(batch,)``.
            entries: Numbers of an item: of its image, and of its responses.
            is_zero: Items all of whose products are zero, exactly.
        """
        lost = LEAST * (self.down + self.up) * entries * (1 + self.absolute) ** 2
        return total * (1 + 2 * gamma(entries + 64)) + lost * (~is_zero).double()
