"""Blocks of a ``torch.nn.Sequential``: successive matrices, or convolutions of 1 x 1, with the activations between."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.compression.chain import at_places, draw_places
from recon.compression.decouple import Decoupled, decouple, observe, relative
from recon.compression.flexible import PIECES, FlexibleActivation
from recon.compression.sequential import flat, links_of
from recon.compression.sparse import Watch
from recon.errors import UsageError

TOLERANCE = 1e-3
"""The error of the output on held-out samples up to which the fewest units are sought, where no rank is given: 30 dB
below the output."""

_ROWS, _HELD, _LEAST = 4096, 2048, 48
"""Samples that a block is fitted to, and held-out ones for its error, at most; and those to fit it to, at least."""

_JACOBIANS, _ENTRIES = 200, 2**23
"""Samples with Jacobians, at most, and numbers in these at most."""


@final
@dataclass(frozen=True)
class BlockReport:
    """What became of a block.

    Attributes:
        name: The first and the last of its layers.
        weights: How many numbers there were, biases included.
        kept: How many there are.
        error: ``|y' - y|^2 / |y|^2`` on held-out samples, y what the block said in the network that was given and y'
            what the small one says of what the blocks before it hand on.
        fitted: The same on the samples that it was fitted to.
        rank: How many units; ``None`` of a block that is as it was, because no rank that saves numbers was in question.
        highest: The highest rank that saves numbers.
    """

    name: str
    weights: int
    kept: int
    error: float
    fitted: float
    rank: int | None
    highest: int

    @property
    def remark(self) -> str:
        """What there is to say of a block that was not decoupled, or not well; else empty."""
        if self.rank is None:
            return f"{self.name}: it is as it was, because at most rank {self.highest} would save numbers."
        if self.error > TOLERANCE:
            return (
                f"{self.name}: rank {self.rank} leaves an error of {self.error:.2e} of the output on held-out samples, "
                f"more than {TOLERANCE:g}; a higher rank, of at most {self.highest}, leaves less."
            )
        return ""


@final
@dataclass(frozen=True)
class Block:
    """A map of rows: matrices or convolutions of 1 x 1 with activations between, without those that follow the last.

    Attributes:
        name: The first and the last of its layers.
        modules: The layers.
    """

    name: str
    modules: tuple[nn.Module, ...]

    @property
    def first(self) -> nn.Conv2d | nn.Linear:
        """The first layer."""
        found = self.modules[0]
        assert isinstance(found, nn.Conv2d | nn.Linear)  # noqa: S101  see blocks_of
        return found

    @property
    def numbers(self) -> int:
        """Weights and biases."""
        return sum(each.numel() for module in self.modules for each in module.parameters())

    @property
    def sides(self) -> tuple[int, int]:
        """How many inputs and outputs."""
        last = [module for module in self.modules if isinstance(module, nn.Conv2d | nn.Linear)][-1]
        return self.first.weight.shape[1], last.weight.shape[0]

    @property
    def highest(self) -> int:
        """The highest rank with fewer numbers."""
        inputs, outputs = self.sides
        return max(0, (self.numbers - outputs - 1) // numbers_of_unit(inputs, outputs))

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs for tensors whose channels are dimension 1."""
        for module in self.modules:
            x = module(x)
        return x

    def of_rows(self, x: Tensor) -> Tensor:
        """The outputs for ``(samples, inputs)``, in double precision."""
        for module in self.modules:
            if isinstance(module, nn.Conv2d | nn.Linear):
                bias = None if module.bias is None else module.bias.detach().double()
                x = functional.linear(x, module.weight.detach().double().flatten(1), bias)
            else:
                x = copy.deepcopy(module).double()(x)
        return x

    def decoupled(self, found: Decoupled) -> list[nn.Module]:
        """Modules that apply a decoupled map in its place."""
        (inputs, outputs), rank = self.sides, found.left.shape[1]
        one = torch.float64
        first: nn.Module = nn.Linear(inputs, rank, bias=False, dtype=one)
        last: nn.Module = nn.Linear(rank, outputs, dtype=one)
        if isinstance(self.first, nn.Conv2d):
            first = nn.Conv2d(inputs, rank, 1, bias=False, dtype=one)
            last = nn.Conv2d(rank, outputs, 1, dtype=one)
        activation = FlexibleActivation(rank, found.coefficients.shape[1] - 3).double()
        _fill(first, weight=found.right.mT)
        _fill(activation, coefficients=found.coefficients, low=found.low, high=found.high)
        _fill(last, weight=found.left, bias=found.bias)
        like = self.first.weight
        return [each.to(dtype=like.dtype, device=like.device) for each in (first, activation, last)]


def _fill(module: nn.Module, **values: Tensor) -> None:
    with torch.no_grad():
        for name, value in values.items():
            parameter = module.get_parameter(name)
            parameter.copy_(value.reshape(parameter.shape))


def numbers_of_unit(inputs: int, outputs: int) -> int:
    """How many numbers a unit has: of its row, its column and its spline."""
    return inputs + outputs + PIECES + 5


def blocks_of(network: nn.Sequential) -> list[Block | tuple[str, nn.Module]]:
    """The blocks of a network, and the modules between them with their names.

    Activations after the last layer of a block stay where they are; of a block of a single layer they are a part, for
    without them it is linear.

    Raises:
        UsageError: A module is not understood; it is named, with its place.
    """
    links_of(network)
    found: list[Block | tuple[str, nn.Module]] = []
    held: list[tuple[str, nn.Module]] = []
    for name, module in (*flat(network), ("", nn.Flatten())):
        if _of_rows(module) or (held and not isinstance(module, nn.Conv2d | nn.Linear | nn.Flatten)):
            held.append((name, module))
            continue
        found += [*_closed(held), (name, module)]
        held = []
    return found[:-1]


def _of_rows(module: nn.Module) -> bool:
    """Whether a layer acts on each row, or each pixel, by itself."""
    if isinstance(module, nn.Conv2d):
        alone = module.kernel_size == (1, 1) and module.stride == (1, 1)
        return alone and module.padding in ((0, 0), "valid", "same")
    return isinstance(module, nn.Linear)


def _closed(held: list[tuple[str, nn.Module]]) -> list[Block | tuple[str, nn.Module]]:
    places = [place for place, (_, module) in enumerate(held) if _of_rows(module)]
    if not places or len(held) == 1:
        return [*held]  # nothing, or one linear layer without an activation
    stop = places[-1] + 1 if len(places) > 1 else len(held)
    names = dict.fromkeys((held[0][0], held[places[-1]][0]))
    return [Block("..".join(names), tuple(module for _, module in held[:stop])), *held[stop:]]


def decoupled_network(
    network: nn.Sequential, x: Tensor, rank: int | None, seed: int, watch: Watch
) -> tuple[nn.Sequential, list[BlockReport]]:
    """A network whose blocks are decoupled, one after the other; the modules of both are flat, and numbered anew.

    Args:
        network: The network, in evaluation mode.
        x: Inputs of it; the last quarter of them is held out for the errors.
        rank: Of each block; a block that would not get smaller by it is left. ``None``: the fewest with an error of
            :data:`TOLERANCE`, or, where no rank that saves numbers has it, none.
        seed: Of what is drawn.
        watch: Sees the progress.

    Raises:
        UsageError: There is no block, or none that gets smaller, or there are too few samples.
    """
    parts = blocks_of(network)
    blocks = [part for part in parts if isinstance(part, Block)]
    _check(blocks, rank)
    generator = torch.Generator().manual_seed(seed)
    held = max(1, len(x) // 4)
    dense = seen = x.to(blocks[0].first.weight)
    modules: list[nn.Module] = []
    reports: list[BlockReport] = []
    for part in parts:
        if not isinstance(part, Block):
            dense, seen = (_applied(*part, z) for z in (dense, seen))
            modules.append(copy.deepcopy(part[1]))
            continue
        watch(len(reports), len(blocks), part.name)
        made, report = _replaced(part, dense, seen, held, rank, generator)
        dense, seen = part(dense), nn.Sequential(*made)(seen)
        modules += made
        reports.append(report)
    if all(report.rank is None for report in reports):
        raise UsageError(
            f"decouple: no rank that saves numbers leaves an error of at most {TOLERANCE:g} of the output; expected a "
            f"rank to be given, of at most {max(block.highest for block in blocks)}, whose error is then said."
        )
    return nn.Sequential(*modules), reports


def _applied(name: str, module: nn.Module, x: Tensor) -> Tensor:
    try:
        found: Tensor = module(x)
    except RuntimeError as error:  # torch's, of shapes
        raise UsageError(f"{name}: {module} does not take what comes before it, of shape {tuple(x.shape)}.") from error
    return found


def _check(blocks: Sequence[Block], rank: int | None) -> None:
    if not blocks:
        raise UsageError(
            "decouple: there is no matrix and no convolution of 1 x 1 with an activation in the network; expected one, "
            "or several in succession, because these are the maps of rows that are decoupled."
        )
    highest = max(block.highest for block in blocks)
    if not highest:
        raise UsageError(
            "decouple: " + ", ".join(f"{block.name} has {block.numbers} numbers" for block in blocks)
            + f", and one unit has {min(numbers_of_unit(*block.sides) for block in blocks)}; expected a larger layer."
        )  # fmt: skip
    if rank is not None and not 1 <= rank <= highest:
        raise UsageError(
            f"rank = {rank!r}; expected 1 to {highest}, because with more units no block of the network gets smaller."
        )


def _replaced(  # noqa: PLR0913, PLR0917  one block, what it sees, and how it is fitted
    block: Block, dense: Tensor, seen: Tensor, held: int, rank: int | None, generator: torch.Generator
) -> tuple[list[nn.Module], BlockReport]:
    """A block, decoupled or as it was, and what became of it."""
    _check_input(block, seen)
    fitted = _rows(block, dense[:-held], seen[:-held], _ROWS, generator)
    shown = _rows(block, dense[-held:], seen[-held:], _HELD, generator)
    if len(fitted[0]) < _LEAST:
        raise UsageError(
            f"{block.name}: there are {len(fitted[0])} samples of what it sees to fit it to; expected {_LEAST} or more "
            "beside the last quarter of the inputs, which is held out."
        )
    inputs, outputs = block.sides
    count = max(1, min(_JACOBIANS, _ENTRIES // (inputs * outputs)))
    observed = observe(block.of_rows, fitted[0], fitted[1], count)
    if not bool((observed.outputs != observed.outputs[0]).any()):
        raise UsageError(f"{block.name}: its output is the same for all samples; expected samples that differ.")
    seed = int(torch.randint(2**31, (1,), generator=generator))
    tried: dict[int, tuple[float, Decoupled]] = {}

    def error_of(units: int) -> float:
        if units not in tried:
            found = decouple(observed, units, seed=seed)
            tried[units] = relative(found(shown[0]), shown[1]), found
        return tried[units][0]

    chosen = _fewest(block.highest, error_of) if rank is None else min(rank, block.highest + 1)
    if chosen is None or chosen > block.highest:
        same = BlockReport(block.name, block.numbers, block.numbers, 0.0, 0.0, None, block.highest)
        return [copy.deepcopy(module) for module in block.modules], same
    error, found = error_of(chosen), tried[chosen][1]
    kept = chosen * numbers_of_unit(inputs, outputs) + outputs
    within = relative(found(fitted[0]), fitted[1])
    return block.decoupled(found), BlockReport(block.name, block.numbers, kept, error, within, chosen, block.highest)


def _check_input(block: Block, x: Tensor) -> None:
    axes = 2 if isinstance(block.first, nn.Linear) else 4
    wanted = "(batch, features)" if axes == 2 else "(batch, channels, height, width)"
    if x.ndim != axes or x.shape[1] != block.sides[0]:
        raise UsageError(
            f"{block.name}: its input has shape {tuple(x.shape)}; expected {wanted}, {block.sides[0]} of them."
        )


def _rows(block: Block, dense: Tensor, seen: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What a block sees at some places, and what it said there in the network that was given."""
    places = draw_places(dense, count, generator)
    return at_places(seen, places).double(), block.of_rows(at_places(dense, places).double())


def _fewest(highest: int, error_of: Callable[[int], float]) -> int | None:
    """The fewest units with an error within the tolerance, nearly: by doubling, and halving what is between."""
    low, high = 0, 1
    while error_of(high) > TOLERANCE:
        if high == highest:
            return None
        low, high = high, min(2 * high, highest)
    while high - low > max(1, math.ceil(high / 8)):
        middle = (low + high) // 2
        low, high = (low, middle) if error_of(middle) <= TOLERANCE else (middle, high)
    return high
