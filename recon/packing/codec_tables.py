"""Tables of the entropy coder, computed in exact arithmetic: the same on every machine.

``math.exp`` is not: its last digit depends on the library of the system. ``decimal`` rounds its exponential correctly.
"""

import decimal
import functools

import numpy as np

from recon.io.image import Array

_PRECISION = 30
_LEAST = 16
"""Of a probability, in 1 / 65536: no bit costs more than 12 bits."""


@functools.cache
def tables() -> tuple[Array, Array, Array]:
    """The logistic function, its inverse, and the step of an adaptive probability after n bits.

    The first maps t in -2048..2047, which stands for t / 256, to a probability in units of 1 / 65536; the second maps
    one of 4096 probabilities back; the third is 65536 / (n + 1.6) for n below 1024.
    """
    context = decimal.Context(prec=_PRECISION)
    squash = [_logistic(context, position - 2048) for position in range(4096)]
    stretch, position = [], 0
    for index in range(4096):  # the first t whose probability is at least that of the middle of the bin
        while position < 4095 and squash[position] < 16 * index + 8:
            position += 1
        stretch.append(min(max(position - 2048, -2047), 2047))
    reciprocal = [655360 // (10 * n + 16) for n in range(1024)]
    return np.array(squash, np.int32), np.array(stretch, np.int32), np.array(reciprocal, np.int64)


def _logistic(context: decimal.Context, position: int) -> int:
    power = context.exp(context.divide(decimal.Decimal(-position), decimal.Decimal(256)))
    value = context.divide(decimal.Decimal(65536), context.add(decimal.Decimal(1), power))
    nearest = int(value.to_integral_value(decimal.ROUND_HALF_EVEN, context))
    return min(max(nearest, _LEAST), 65536 - _LEAST)
