"""The groups of a measurement: projection views, detector pixels, lines of k-space, blocks of pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import ConsistencyError
from recon.operators import CartesianMRI
from recon.operators.tomography import Geometry
from recon.specs.groups import GroupSpec, require_groups_of, require_groups_of_image
from recon.types import LinearOperator


@dataclass(frozen=True)
class Group:
    """Some entries of a measurement.

    Attributes:
        name: What a table calls them.
        place: Where they are in the last axes of the measurement.
        position: Where they are drawn: an angle in degrees, the middle on the detector or in k-space, or (row, column).
    """

    name: str
    place: tuple[slice, ...]
    position: tuple[float, ...]


@dataclass(frozen=True)
class Groups:
    """All groups of a measurement.

    Attributes:
        spec: Which.
        members: The groups.
        shape: Of the measurement, without batch and channels.
        axes: What the positions are, in words.
    """

    spec: GroupSpec
    members: tuple[Group, ...]
    shape: tuple[int, ...]
    axes: str

    def masks(self, indices: Sequence[int], like: Tensor) -> Tensor:
        """Ones in some of the groups, one a batch item, (groups, channels, ...), of the type of a measurement."""
        found = torch.zeros(len(indices), like.shape[1], *self.shape, dtype=like.dtype.to_real(), device=like.device)
        for mask, index in zip(found, indices, strict=True):
            mask[(slice(None), *self.members[index].place)] = 1
        return found

    @property
    def sizes(self) -> tuple[int, ...]:
        """The entries of each, of one channel."""
        return tuple(
            math.prod(len(range(*part.indices(n))) for part, n in zip(group.place, self.shape, strict=True))
            for group in self.members
        )


def groups_of(
    spec: GroupSpec, name: str, shape: tuple[int, ...], operator: LinearOperator, geometry: Geometry | None
) -> Groups:
    """The groups of a measurement.

    Args:
        spec: Which.
        name: Of the operator's specification.
        shape: Of the measurement, without batch and channels.
        operator: The operator.
        geometry: Of the scan, where it is one.

    Raises:
        UsageError: The operator's measurement has no such groups.
        ConsistencyError: They do not divide it.
    """
    require_groups_of(spec, name)
    if spec.kind == "blocks":
        return Groups(spec, _blocks(spec, shape), shape, "row and column of the middle, in pixels")
    if spec.kind == "lines":
        return Groups(spec, _lines(spec, operator, shape), shape, "distance from the zero frequency")
    assert geometry is not None  # noqa: S101  only a scan has views
    if spec.kind == "views":
        return Groups(spec, _views(geometry, shape), shape, "angle in degrees")
    return Groups(spec, _detectors(spec, shape), shape, "middle on the detector, in pixels")


def groups_of_image(spec: GroupSpec, channels: int, side: int) -> Groups:
    """The groups of an image of (channels, side, side).

    Raises:
        UsageError: An image has no such groups.
        ConsistencyError: They do not divide it.
    """
    require_groups_of_image(spec)
    shape = (side, side)
    if spec.kind == "blocks":
        return Groups(spec, _blocks(spec, shape, "image"), shape, "row and column of the middle, in pixels")
    members = tuple(
        Group(f"channel {k}", (slice(k, k + 1), slice(None), slice(None)), (float(k),)) for k in range(channels)
    )
    return Groups(spec, members, shape, "channel")


def _everywhere(shape: tuple[int, ...]) -> list[slice]:
    return [slice(None)] * len(shape)


def _views(geometry: Geometry, shape: tuple[int, ...]) -> tuple[Group, ...]:
    found = []
    for index, angle in enumerate(geometry.angles):
        place = (slice(index, index + 1), *_everywhere(shape)[1:])
        found.append(Group(f"view {index} ({angle:g} degrees)", place, (float(angle),)))
    return tuple(found)


def _detectors(spec: GroupSpec, shape: tuple[int, ...]) -> tuple[Group, ...]:
    (count,), pixels = spec.size, shape[-1]
    if pixels % count:
        raise ConsistencyError(
            f"groups is {str(spec)!r}; expected a divisor of the {pixels} pixels of the detector, such as "
            f"{_divisor(pixels, count)}, because groups are of one size."
        )
    size = pixels // count
    return tuple(
        Group(
            f"detector pixels {start}-{start + size - 1}" if size > 1 else f"detector pixel {start}",
            (*_everywhere(shape)[:-1], slice(start, start + size)),
            (start + (size - 1) / 2,),
        )
        for start in range(0, pixels, size)
    )


def _divisor(number: int, near: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(math.log(d / near)))


def _lines(spec: GroupSpec, operator: LinearOperator, shape: tuple[int, ...]) -> tuple[Group, ...]:
    assert isinstance(operator, CartesianMRI)  # noqa: S101  the kind of the operator is checked
    mask = operator.mask
    for axis, what in ((1, "column"), (0, "row")):
        ours = mask if axis == 1 else mask.T
        if bool((ours == ours[:1]).all()):
            sampled = ours[0].nonzero().flatten().tolist()
            return tuple(
                Group(
                    f"{what} {index} of k-space",
                    (slice(None), slice(index, index + 1)) if axis == 1 else (slice(index, index + 1), slice(None)),
                    (index - shape[axis] // 2,),
                )
                for index in sampled
            )
    raise ConsistencyError(
        f"groups is {str(spec)!r}, and the mask samples single points of k-space; expected one of whole rows or "
        "columns, because there are no lines else."
    )


def _blocks(spec: GroupSpec, shape: tuple[int, ...], of: str = "measurement") -> tuple[Group, ...]:
    if len(shape) != 2 or any(side % size for side, size in zip(shape, spec.size, strict=True)):
        sizes = " x ".join(map(str, shape))
        tip = "x".join(
            str(side // _divisor(side, max(1, side // size))) for side, size in zip(shape, spec.size, strict=False)
        )
        raise ConsistencyError(
            f"groups is {str(spec)!r}; expected blocks that divide the {sizes} pixels of the {of}, such as "
            f"blocks:{tip}, because groups are of one size."
        )
    (high, wide), (height, width) = spec.size, shape
    return tuple(
        Group(
            f"block {top // high},{left // wide}",
            (slice(top, top + high), slice(left, left + wide)),
            (top + (high - 1) / 2, left + (wide - 1) / 2),
        )
        for top in range(0, height, high)
        for left in range(0, width, wide)
    )
