"""Check of the memory for a volume, before any of it is taken."""

import math
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from recon.errors import UsageError
from recon.io import Image
from recon.methods.catalogue import ENTRIES
from recon.methods.entry import MethodEntry
from recon.operators.tomography import Geometry
from recon.solvers.volume_denoising import state_bytes

_DEFAULT = "condat_vu"
"""The method of a volume where none is stated."""

PROGRAM = 7 * 2**27
"""Bytes of the program with what it imports, and of what it keeps from planning: 840 to 890 MiB were seen, of which the
system can take back the 330 that are pages of libraries."""

_GIB = 2**30
_SINGLE = 4
_LIMITS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),)
_MEMINFO = Path("/proc/meminfo")


def require_memory(geometry: Geometry, method: MethodEntry | None, where: str) -> None:
    """Refuse a scan of a volume that cannot be reconstructed in the memory there is.

    Raises:
        UsageError: There is less than it takes; it says how much.
    """
    free = free_bytes()
    if free is None:
        return
    needed = volume_bytes(geometry, method)
    if needed <= free:
        return
    name = (method or ENTRIES[_DEFAULT]).name
    volume, panel = (" x ".join(map(str, shape)) for shape in (geometry.image_shape, geometry.sinogram_shape))
    what = f"a volume of {volume} voxels" if geometry.kind == "cone" else f"an image of {volume} pixels"
    raise UsageError(
        f"{where}: {what} from {panel} values takes about {needed / _GIB:.1f} GiB by {name}, and {free / _GIB:.1f} GiB "
        "are free; expected no more, because it does not go to disk: a greater volume.pitch, fewer views, or --method "
        "fbp takes less."
    )


def volume_bytes(geometry: Geometry, method: MethodEntry | None) -> int:
    """About how much memory the reconstruction of a volume, or of one slice, takes at its peak."""
    volume, panel = math.prod(geometry.image_shape), math.prod(geometry.sinogram_shape)
    of_volume, of_panel = (method or ENTRIES[_DEFAULT]).volume_copies
    return _SINGLE * (of_volume * volume + of_panel * panel)


def state_room(memory: int | None, image: Image, measurement: Tensor) -> int | None:
    """Bytes that are left of ``--memory`` for the state of a volume; ``None`` where there is no limit.

    Raises:
        UsageError: Nothing is left beside the program, the input and the result.
    """
    if memory is None:
        return None
    others = PROGRAM + image.pixels.nbytes + measurement.numel() * measurement.element_size()
    others += max(image.pixels.nbytes, measurement[:1, :1].numel() * _SINGLE)
    if memory <= others:
        raise UsageError(
            f"memory is {memory / _GIB:.3g} GiB, and the program, the input and the result take {others / _GIB:.3g}; "
            "expected more, because these are not kept in a file."
        )
    return memory - others


def require_within(memory: int, needed: int, method: str) -> None:
    """Refuse a run whose state is not kept in a file and which takes more than ``--memory``.

    Raises:
        UsageError: It does.
    """
    if PROGRAM + needed > memory:
        raise UsageError(
            f"memory is {memory / _GIB:.3g} GiB, and {method} takes about {(PROGRAM + needed) / _GIB:.3g} with "
            "the program; expected more, because only single images of the operators identity, blur and downsample "
            "are solved in tiles, and only the denoising of volumes by tv keeps its state in a file."
        )


def require_free(needed: int) -> None:
    """Refuse the denoising of volumes that are larger than the memory that is free.

    Raises:
        UsageError: They are.
    """
    free = free_bytes()
    if free is not None and needed > free:
        raise UsageError(
            f"the volume takes about {needed / _GIB:.3g} GiB, and {free / _GIB:.3g} GiB are free; expected --memory "
            "SIZE, with which most of it is kept in a file."
        )


def direct_bytes(image: Image, measurement: Tensor, memory: int | None) -> int:
    """About how much memory the denoising of volumes in place takes at its peak, beyond the program."""
    single = measurement.numel() * _SINGLE
    state = state_bytes(measurement[0, 0].numel())
    room = state_room(memory, image, measurement)
    held = state if room is None else min(state, room)
    before = image.pixels.nbytes + single
    return int(before + max(held + single * (1 - 1 / math.prod(measurement.shape[:2])), single + image.pixels.nbytes))


def free_bytes() -> int | None:
    """The memory that this process may still take; ``None`` where the system does not say."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = [line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:")]
        found.append(int(lines[0].split()[1]) * 1024)
    for most, used in _LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(most).read_text()) - int(Path(used).read_text()))
    return min(found, default=None)
