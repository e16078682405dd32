"""The compiled loops of the image codec: one pass over the pixels of a plane, which codes or decodes them.

Encoder and decoder are the same loop, so both see the same model. What decides a bit is integer arithmetic, but for the
prediction by least squares: that is double precision with additions, subtractions, multiplications, divisions,
comparisons and ``floor`` alone, in the order that is written. IEEE 754 defines each of these to the last bit, and
without ``fastmath`` the compiler neither reorders nor fuses them: the tests search the machine code for fused
operations, and compare with the same loops run by the interpreter.

The entropy coder is here too. The probability of each bit follows from all bits before it, some ten for each pixel, and
a library that is called through Python for each of them would take a thousand times as long.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

# Nothing is allocated here, so references need no counts (`_nrt`), which took a quarter of the time: numba counted each
# array twice for each pixel.
_compiled = numba.njit(error_model="numpy", cache=True, nogil=True, _nrt=False)
_forced = numba.njit(error_model="numpy", forceinline=True, nogil=True, _nrt=False)
_inlined = numba.njit(error_model="numpy", inline="always")

Array = Any
Integer = Any
Real = Any

PAD = 4
"""Pixels of border around a plane, with copies of what is nearest."""

TAPS = (
    (-1, 0), (-1, 1), (-1, -1), (0, -2), (-2, 0), (-2, 1), (-2, -1), (-1, 2), (-1, -2), (-2, 2), (-2, -2), (0, -3),
    (-3, 0), (-1, 3), (-3, 1), (-3, -1), (-1, -3), (0, -4),
    (-2, 3),
)  # fmt: skip
"""Rows and columns of the neighbours that predict a pixel, relative to the left one, nearest first."""

REFERENCE_TAPS = ((0, 0), (0, 1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""The same in the plane before, relative to its pixel on the left."""

FEW = 5
"""How many neighbours, and taps of the reference, the smaller of the two predictions takes."""

BLOCK = 16
"""Pixels in a row with the same weights of the prediction."""

TOGETHER = 4
"""Rows of the equations that are eliminated at once, because one sum waits for itself."""

WINDOW = 64
"""Rows that are kept, beside those that the next row needs."""

PREDICTORS = 4
CONTEXTS = 6
"""How many contexts give a probability for each bit."""

CONTEXT_SIZE = 8192
SCALES = 14
UNARY = 24
"""The longest quotient in unary digits; larger ones follow by their number of bits."""

ZERO, SIGN, QUOTIENT, LENGTH, REST, LOW = 0, 1, 2, 2 + UNARY, 3 + UNARY, 4 + UNARY
MODELLED = 2
"""So many of the low bits, from the highest, have probabilities of their own."""

DECISIONS = LOW + 4 * MODELLED

# Found on the validation images, by tests/benchmarks/archive.py
KEPT_A_ROW, BESIDE, FURTHER, CURRENT = 0.75, 0.5, 0.1, 0.9
"""Weights of the rows above, of the blocks beside, of those two away, and of the current row in the equations."""

RIDGE, RELATIVE_RIDGE = 0.05, 1e-10
SIMPLE = 0.1
"""Trust in a prediction by a fixed formula, against one by least squares of the same error."""

HALF = 1 << 31
"""A counter that has seen nothing; 0 stands for it, so that memory that is not used is never written."""

RATE_LIMIT = 1000
LEARNING_RATE = 10
FIRST_WEIGHT = 15000
"""Of a probability in the mixture, in units of 1 / 65536."""

LARGEST_WEIGHT = 2.0**22
ROOM = 512
"""More bytes than one pixel can take."""

FULL = -1
"""Returned where the coded plane does not fit in its buffer."""


class Coder(NamedTuple):
    """An arithmetic coder: its interval and position, and the bytes that it reads or writes."""

    state: Array
    data: Array


class Mixture(NamedTuple):
    """Adaptive probabilities of one bit in several contexts, and the weights that mix them."""

    counters: Array
    weights: Array
    slots: Array
    inputs: Array
    stretch: Array
    squash: Array
    reciprocal: Array


class Window(NamedTuple):
    """Rows of grey values, of errors and of the squared errors of each predictor, with a border."""

    grey: Array
    error: Array
    squared: Array


class Equations(NamedTuple):
    """Normal equations of the prediction, of rows above and of the current row, by blocks; and their solution."""

    above: Array
    current: Array
    matrix: Array
    lower: Array
    diagonal: Array
    reduced: Array
    weights: Array
    few_weights: Array
    taps: Array


@_inlined
def _shift(coder: Coder, encodes: Integer) -> None:
    """Write, or read, the leading bytes on which both ends of the interval agree."""
    state, data = coder.state, coder.data
    while ((state[0] ^ state[1]) & 0xFF000000) == 0:
        position = state[3]
        if encodes:
            data[position] = state[1] >> 24
        else:
            byte = np.int64(data[position]) if position < data.shape[0] else np.int64(0)
            state[2] = ((state[2] << 8) & 0xFFFFFFFF) | byte
        state[3] = position + 1
        state[0] = (state[0] << 8) & 0xFFFFFFFF
        state[1] = ((state[1] << 8) & 0xFFFFFFFF) | 255


@_inlined
def _divide(coder: Coder, probability: Integer, bit: Integer, encodes: Integer) -> Integer:
    """Narrow the interval to the part of one bit, which is returned; ``probability`` of a 1 is in 1 / 65536."""
    state = coder.state
    width = state[1] - state[0]
    middle = state[0] + (width >> 16) * probability + (((width & 0xFFFF) * probability) >> 16)
    if encodes == 0:
        bit = 1 if state[2] <= middle else 0
    if bit:
        state[1] = middle
    else:
        state[0] = middle + 1
    return bit


@_forced
def _code_bit(
    bit: Integer, decision: Integer, row: Integer, encodes: Integer, coder: Coder, mixture: Mixture
) -> Integer:
    """Code or decode one bit, and learn from it; ``row`` chooses the weights that mix the probabilities."""
    counters, weights, slots, inputs = mixture.counters, mixture.weights, mixture.slots, mixture.inputs
    first = row * CONTEXTS
    total: Real = 0.0
    for i in range(CONTEXTS):
        value = mixture.stretch[np.uint64((np.int64(counters[np.uint64(slots[i] + decision)]) ^ HALF) >> 20)]
        inputs[i] = value
        total += weights[np.uint64(first + i)] * value
    mixed: Integer = min(max(np.int64(np.floor(total * 2.0**-16)), -2047), 2047)
    probability = np.int64(mixture.squash[np.uint64(mixed + 2048)])
    bit = _divide(coder, probability, bit, encodes)
    _shift(coder, encodes)
    error = float(((bit << 16) - probability) * LEARNING_RATE)
    for i in range(CONTEXTS):
        place = np.uint64(first + i)
        weight = weights[place] + np.floor((inputs[i] * error + 2.0**17) * 2.0**-18)
        weights[place] = min(max(weight, -LARGEST_WEIGHT), LARGEST_WEIGHT)
    target = bit << 22
    for i in range(CONTEXTS):
        place = np.uint64(slots[i] + decision)
        counter = np.int64(counters[place]) ^ HALF
        count = counter & 1023
        change = ((target - (counter >> 10)) * mixture.reciprocal[np.uint64(count)]) >> 16
        counters[place] = (counter + (change << 10) + (count < RATE_LIMIT)) ^ HALF
    return bit


@_inlined
def _code_even(bit: Integer, encodes: Integer, coder: Coder) -> Integer:
    """Code or decode a bit that is as often 0 as 1."""
    bit = _divide(coder, 32768, bit, encodes)
    _shift(coder, encodes)
    return bit


@_compiled
def _code_tail(value: Integer, row: Integer, encodes: Integer, coder: Coder, mixture: Mixture) -> Integer:
    """Code or decode what a quotient has beyond :data:`UNARY`: the number of its bits, then the bits."""
    length = 0
    while encodes and (value + 1) >> (length + 1) > 0:
        length += 1
    count = 0
    while count < 36 and _code_bit(1 if count < length else 0, LENGTH, row + LENGTH, encodes, coder, mixture):
        count += 1
    found = np.int64(1)
    for i in range(count - 1, -1, -1):
        bit = ((value + 1) >> i) & 1
        found = found * 2 + _code_bit(bit, REST, row + REST, encodes, coder, mixture)
    return found - 1


@_forced
def _code_magnitude(
    value: Integer, low_bits: Integer, row: Integer, encodes: Integer, coder: Coder, mixture: Mixture
) -> Integer:
    """Code or decode a number of at least 0: its quotient by a power of two in unary digits, then its low bits."""
    quotient = value >> low_bits
    count = np.int64(0)
    while count < UNARY:
        decision = QUOTIENT + count
        if _code_bit(1 if quotient > count else 0, decision, row + decision, encodes, coder, mixture) == 0:
            break
        count += 1
    found = count
    if count == UNARY:
        found = UNARY + _code_tail(quotient - UNARY, row, encodes, coder, mixture)
    for i in range(low_bits - 1, -1, -1):
        place = low_bits - 1 - i
        bit = (value >> i) & 1
        if place < MODELLED:
            decision = LOW + 4 * place + min(count, 3)
            found = found * 2 + _code_bit(bit, decision, row + decision, encodes, coder, mixture)
        else:
            found = found * 2 + _code_even(bit, encodes, coder)
    return found


@_forced
def _code_residual(value: Integer, scale: Integer, encodes: Integer, coder: Coder, mixture: Mixture) -> Integer:
    """Code or decode a signed number whose magnitude is about 2 to the power of ``scale``."""
    row = scale * DECISIONS
    apart = 1 if scale == 0 else 0  # where most residuals are 0, that is a decision of its own
    found = np.int64(0)
    if apart == 0 or _code_bit(1 if value != 0 else 0, ZERO, row + ZERO, encodes, coder, mixture):
        negative = _code_bit(1 if value < 0 else 0, SIGN, row + SIGN, encodes, coder, mixture)
        folded = -value - 1 if value < 0 else value - apart
        size = _code_magnitude(folded, scale, row, encodes, coder, mixture)
        found = -size - 1 if negative else size + apart
    return found


@_compiled
def _long_level(value: Integer) -> Integer:
    """Four times the binary logarithm of ``value + 1``, roughly, at most 63."""
    value += 1
    octave = 0
    while value >= 16:
        value >>= 1
        octave += 1
    if value >= 8:
        part = 12 + ((value - 8) >> 1)
    elif value >= 4:
        part = 8 + (value - 4)
    elif value >= 2:
        part = 4 + (value - 2) * 2
    else:
        part = 0
    return min(octave * 4 + part, 63)


@_compiled
def _long_scale(magnitude: Integer) -> Integer:
    """One less than the binary logarithm of ``magnitude``, within the scales."""
    scale = 0
    while magnitude >> (scale + 1) > 0 and scale < SCALES - 1:
        scale += 1
    return max(scale - 1, 0)


SHORT = 4096
"""Of what is below this, there are tables."""

LEVELS = np.array([_long_level.py_func(value) for value in range(SHORT)], np.int64)
LEVELS_OF_SCALE = np.array([_long_scale.py_func(value) for value in range(SHORT)], np.int64)


@_inlined
def _level(value: Integer) -> Integer:
    """The same as :func:`_long_level`, from a table where the value is small: branches would be mispredicted."""
    return LEVELS[np.uint64(value)] if value < SHORT else _long_level(value)


@_inlined
def _scale(magnitude: Integer) -> Integer:
    return LEVELS_OF_SCALE[np.uint64(magnitude)] if magnitude < SHORT else _long_scale(magnitude)


@_compiled
def _solve(equations: Equations, block: Integer, few: Integer) -> None:
    """Weights of the prediction in one block, from its neighbourhood, by a factorisation L D L^T.

    The equations of the first ``few`` taps have the same first rows of L and D, so their solution costs no more than
    its back substitution.
    """
    above, current, matrix = equations.above, equations.current, equations.matrix
    lower, diagonal, reduced = equations.lower, equations.diagonal, equations.reduced
    size = diagonal.shape[0]
    for i in range(size):
        for j in range(size + 1):
            matrix[i, j] = (
                above[block + 2, i, j]
                + BESIDE * (above[block + 1, i, j] + above[block + 3, i, j])
                + FURTHER * (above[block, i, j] + above[block + 4, i, j])
                + CURRENT * current[block + 1, i, j]
                + FURTHER * current[block, i, j]
            )
    for first in range(0, size, TOGETHER):
        for j in range(first):
            _eliminate(equations, first, j)
        for i in range(first, min(first + TOGETHER, size)):
            least = RIDGE + RELATIVE_RIDGE * matrix[i, i]
            for j in range(first, i):
                value = matrix[i, j]
                for k in range(j):
                    value -= lower[i, k] * lower[j, k] * diagonal[k]
                lower[i, j] = value / diagonal[j]
            value = matrix[i, i] + least
            right = matrix[i, size]
            for k in range(i):
                value -= lower[i, k] * lower[i, k] * diagonal[k]
                right -= lower[i, k] * reduced[k]
            diagonal[i] = value if value > 0.5 * least else 0.5 * least
            reduced[i] = right
    _substitute(equations, size, equations.weights)
    _substitute(equations, few, equations.few_weights)


@_inlined
def _eliminate(equations: Equations, first: Integer, j: Integer) -> None:
    """Column ``j`` of L in the rows ``first`` to ``first + 3``: four sums side by side, each in its own order."""
    matrix, lower, diagonal = equations.matrix, equations.lower, equations.diagonal
    a, b, c, d = matrix[first, j], matrix[first + 1, j], matrix[first + 2, j], matrix[first + 3, j]
    for k in range(j):
        factor, pivot = lower[j, k], diagonal[k]
        a -= lower[first, k] * factor * pivot
        b -= lower[first + 1, k] * factor * pivot
        c -= lower[first + 2, k] * factor * pivot
        d -= lower[first + 3, k] * factor * pivot
    pivot = diagonal[j]
    lower[first, j] = a / pivot
    lower[first + 1, j] = b / pivot
    lower[first + 2, j] = c / pivot
    lower[first + 3, j] = d / pivot


@_inlined
def _substitute(equations: Equations, size: Integer, weights: Array) -> None:
    for i in range(size - 1, -1, -1):
        value = equations.reduced[i] / equations.diagonal[i]
        for k in range(i + 1, size):
            value -= equations.lower[k, i] * weights[k]
        weights[i] = value


@_inlined
def _at(place: Integer) -> Integer:
    """An index that is not negative, which spares the compiled code the test."""
    return np.uint64(place)


@_inlined
def _limited(value: Real, largest: Real) -> Real:
    """A prediction in the range of the plane; of a number that overflowed, 0."""
    if not value >= 0.0:
        return 0.0
    return largest if value > largest else value


@_compiled
def _roll(window: Window, width: Integer) -> None:
    """Move the last rows of the window to its top, for the rows that follow."""
    size, shift = PAD * width, WINDOW * width
    for i in range(size):
        window.grey[i] = window.grey[shift + i]
        window.error[i] = window.error[shift + i]
        for k in range(PREDICTORS):
            window.squared[i, k] = window.squared[shift + i, k]


@_compiled
def _copy(window: Window, target: Integer, source: Integer) -> None:
    window.grey[target] = window.grey[source]
    window.error[target] = window.error[source]
    for k in range(PREDICTORS):
        window.squared[target, k] = window.squared[source, k]


@_compiled
def code_plane(
    pixels: Array, largest: Integer, planes: Array, wide: Integer, refers: Integer, tolerance: Integer,
    encodes: Integer, offsets: Array, is_reference: Array, few: Integer,
    coder: Coder, mixture: Mixture, window: Window, equations: Equations, bias: Array, predicted: Array,
) -> Integer:  # fmt: skip
    """Code ``pixels`` of shape (rows, columns) and values in 0..largest, or decode them; return how many bytes.

    ``planes`` is the plane that they are predicted from, row by row of ``wide`` values with its border, if ``refers``.
    Each pixel is predicted by two solutions of least squares over its neighbourhood and by two fixed formulas, weighted
    by the inverse square of what each missed nearby. The residual is coded bit by bit, with probabilities of six
    contexts mixed by a logistic regression that learns as it goes. With a tolerance t > 0, the residual is rounded to a
    multiple of 2t + 1 and the pixel is what a decoder will see: nothing is more than t off.
    """
    height, columns = pixels.shape
    width = columns + 2 * PAD
    grey, missed, squared = window.grey, window.error, window.squared
    size = offsets.shape[0]
    blocks = (columns + BLOCK - 1) // BLOCK
    step = 2 * tolerance + 1
    limit = float(largest)
    taps = equations.taps
    weights, few_weights = equations.weights, equations.few_weights
    slots = mixture.slots
    for y in range(height):
        inside = y % WINDOW
        if inside == 0 and y > 0:
            _roll(window, width)
        start = (inside + PAD) * width + PAD
        for i in range(1, PAD + 1):
            _copy(window, start - i, start - width)
        for block in range(blocks):
            _solve(equations, block, few)
            gathered = equations.current[block + 2]
            gathered[:] = 0.0
            for x in range(block * BLOCK, min(columns, (block + 1) * BLOCK)):
                if encodes and coder.state[3] + ROOM > coder.data.shape[0]:
                    return FULL
                o = start + x
                r = (y + PAD) * wide + PAD + x
                west, north, north_west, north_east = (
                    grey[_at(o - 1)],
                    grey[_at(o - width)],
                    grey[_at(o - width - 1)],
                    grey[_at(o - width + 1)],
                )
                west_west, north_north, north_north_east = (
                    grey[_at(o - 2)],
                    grey[_at(o - 2 * width)],
                    grey[_at(o - 2 * width + 1)],
                )
                change = np.int64(0)
                if refers:
                    left = np.int64(planes[_at(r - 1)])
                    here = np.int64(planes[_at(r)])
                    change = abs(here - left) + abs(here - np.int64(planes[_at(r - wide)]))
                    for i in range(size):
                        if is_reference[i]:
                            taps[i] = float(np.int64(planes[_at(r + offsets[i])]) - left)
                        else:
                            taps[i] = grey[_at(o + offsets[i])] - west
                else:
                    for i in range(size):
                        taps[i] = grey[_at(o + offsets[i])] - west
                large, small = west, west
                for i in range(few):
                    large += weights[i] * taps[i]
                    small += few_weights[i] * taps[i]
                for i in range(few, size):
                    large += weights[i] * taps[i]
                predicted[0], predicted[1] = _limited(large, limit), _limited(small, limit)
                high = west if west > north else north
                low = north if west > north else west
                predicted[2] = min(max(west + north - north_west, low), high)
                predicted[3] = _limited(0.5 * west + 0.5 * north + 0.25 * (north_east - north_west), limit)
                total = 0.0
                value = 0.0
                for k in range(PREDICTORS):
                    off = (
                        squared[_at(o - 1), k] + squared[_at(o - width), k] + 0.7 * squared[_at(o - width + 1), k]
                        + 0.7 * squared[_at(o - width - 1), k] + 0.5 * squared[_at(o - 2), k]
                        + 0.5 * squared[_at(o - 2 * width), k]
                    )  # fmt: skip
                    trust = 1.0 / (off + 0.5)
                    trust = trust * trust
                    if k > 1:
                        trust = trust * SIMPLE
                    total += trust
                    value += trust * predicted[k]
                mean = value / total
                # what the prediction missed around the pixel, in halves of a grey value
                e_w, e_n, e_nw, e_ne = (
                    missed[_at(o - 1)],
                    missed[_at(o - width)],
                    missed[_at(o - width - 1)],
                    missed[_at(o - width + 1)],
                )
                e_ww, e_nn = missed[_at(o - 2)], missed[_at(o - 2 * width)]
                near = 2 * e_w + 2 * e_n + e_nw + e_ne + e_ww + e_nn
                far = (
                    2 * near + missed[_at(o - width + 2)] + missed[_at(o - width - 2)] + missed[_at(o - 3)]
                    + missed[_at(o - 2 * width + 1)] + missed[_at(o - 2 * width - 1)] + missed[_at(o - 3 * width)]
                    + missed[_at(o - 2 * width + 2)] + missed[_at(o - 2 * width - 2)]
                )  # fmt: skip
                slope = np.int64(
                    abs(west - north_west) + abs(north - north_west) + abs(north - north_east)
                    + abs(west - west_west) + abs(north - north_north) + abs(north_east - north_north_east)
                )  # fmt: skip
                apart = np.int64(abs(predicted[0] - predicted[2]) + 2.0 * abs(predicted[0] - predicted[1]))
                near_level, far_level, slope_level = _level(near >> 1), _level(far // 6), _level(slope)
                texture = 0
                if north > mean:
                    texture |= 1
                if west > mean:
                    texture |= 2
                if north_west > mean:
                    texture |= 4
                if north_east > mean:
                    texture |= 8
                if west_west > mean:
                    texture |= 16
                if north_north > mean:
                    texture |= 32
                pattern = (texture << 5) | (near_level >> 1)
                mean += float(bias[1, pattern]) / float(bias[0, pattern] * 16 + 60)
                sixteenths = np.int64(np.floor(_limited(mean, limit) * 16.0 + 0.5))
                centre = min((sixteenths + 8) >> 4, largest)
                part = ((sixteenths + 8) & 15) >> 2
                magnitude = (near + far // 3 + (slope >> 1)) >> 4
                scale = _scale(magnitude)
                few_scales = min(scale, 7)
                slots[0] = far_level * 8
                slots[1] = (min(_level(e_w), 47) >> 1) * 192 + (min(_level(e_n), 47) >> 1) * 8
                slots[2] = (slope_level >> 1) * 256 + (near_level >> 1) * 8
                slots[3] = (_level(apart) >> 1) * 8 + (near_level >> 3) * 256
                slots[4] = (texture & 31) * 32 + part * 8
                slots[5] = np.int64(float(centre * 63) / (limit + 1.0)) * 128 + (far_level >> 2) * 8
                if refers:
                    slots[4] = (_level(change) >> 1) * 8 + (far_level >> 3) * 256
                for i in range(CONTEXTS):
                    slots[i] = (i * CONTEXT_SIZE + slots[i] + few_scales) * DECISIONS
                residual = np.int64(0)
                if encodes:
                    residual = np.int64(pixels[y, x]) - centre
                    if tolerance:
                        residual = (residual + tolerance) // step
                residual = _code_residual(residual, scale, encodes, coder, mixture)
                residual = min(max(residual, -largest - 1), largest + 1)
                found = min(max(centre + residual * step, 0), largest)
                pixels[y, x] = found
                value = float(found)
                grey[o] = value
                missed[o] = np.int64(abs(value - mean) * 2.0 + 0.5)
                for k in range(PREDICTORS):
                    squared[o, k] = (value - predicted[k]) * (value - predicted[k])
                bias[0, pattern] += 1
                bias[1, pattern] += np.int64(np.floor((value - mean) * 16.0 + 0.5))
                if bias[0, pattern] >= 64:
                    bias[0, pattern] = 32
                    bias[1, pattern] >>= 1
                taps[size] = value - west
                trust = 1.0 / (8.0 + float(near))
                for i in range(size):
                    weighted = taps[i] * trust
                    for j in range(size + 1):
                        gathered[i, j] += weighted * taps[j]
        for block in range(2, blocks + 2):
            for i in range(size):
                for j in range(size + 1):
                    above = KEPT_A_ROW * equations.above[block, i, j]
                    equations.above[block, i, j] = above + equations.current[block, i, j]
        for i in range(PAD):
            _copy(window, start + columns + i, start + columns - 1)
    if encodes:
        for i in range(4):
            coder.data[coder.state[3]] = (coder.state[1] >> (24 - 8 * i)) & 255
            coder.state[3] += 1
    return coder.state[3]
