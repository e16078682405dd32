"""The memory of a training step of an unrolled reconstruction, by a formula; tests compare it with what is kept."""

import math

from recon.priors.networks import UnrolledConfig
from recon.priors.networks.architectures.unrolled import CODING
from recon.priors.networks.architectures.unrolled_codes import code_shape, coefficients_of

_SINGLE, _DOUBLE = 4, 8


def backward_bytes(config: UnrolledConfig, shape: tuple[int, ...], measured: int, batch: int, memory: str) -> int:
    """Bytes that are kept for the backward pass at its largest, weights and operator not included.

    Of a step autograd keeps the input of each convolution, and the change of the data that the step size multiplies;
    of primal-dual two more of the measurement's size. Sparse coding keeps the codes before and after the threshold and
    those that are coded again, the residual on each lattice, and its atoms thrice. Coarser scales keep three images of
    features each, and the sum with what they make. With ``"momentum"`` it is that of one step and three states, of
    which two in double precision, whatever T; with ``"checkpoint"`` that of a segment of sqrt(T) steps, and two states
    for each segment.

    Args:
        config: The architecture.
        shape: Of an image or a volume.
        measured: Numbers that are measured of one, in each channel.
        batch: How many.
        memory: As of :class:`recon.training.unrolled_config.UnrolledTrainingConfig`.
    """
    pixels, numbers = batch * math.prod(shape), batch * measured * config.channels
    image = config.channels * pixels
    given = 2 * config.channels + config.conditioned + config.hidden
    step = (given + (config.depth - 1) * config.features) * pixels + image
    for scale in range(1, config.scales):
        finer = 2 ** (len(shape) * (scale - 1))
        step += config.features * (pixels // finer + 3 * pixels // (finer * 2 ** len(shape)))
    state = image + config.hidden * pixels
    if config.method == CODING:
        step, extra = _of_codes(config, shape, batch, image)
        state += extra
    if config.method == "primal-dual":
        step, state = step + 2 * numbers, state + numbers
    if memory == "plain":
        return _SINGLE * config.steps * step
    if memory == "momentum":
        return _SINGLE * (step + state) + 2 * _DOUBLE * state
    stride = math.ceil(math.sqrt(config.steps))
    return _SINGLE * (stride * step + 2 * math.ceil(config.steps / stride) * state)


def _of_codes(config: UnrolledConfig, shape: tuple[int, ...], batch: int, image: int) -> tuple[int, int]:
    """Numbers that a step of sparse coding keeps, and those of the codes in its state."""
    codes, lattices = batch * coefficients_of(config, shape), config.shifts**2
    side = math.ceil(config.size / config.stride)
    squares = math.prod(length + side - 1 for length in code_shape(shape, config.size, config.stride))
    residual = lattices * batch * config.channels * config.stride**2 * squares
    atoms = config.features * config.channels * (side * config.stride) ** 2
    return 3 * codes + residual + (2 if lattices == 1 else 1) * image + 3 * atoms, codes


def in_words(count: int) -> str:
    """A number of bytes with its unit."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
