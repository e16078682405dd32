"""Check of the memory for a volume, before any of it is taken."""

import math
from contextlib import suppress
from pathlib import Path

from recon.errors import UsageError
from recon.methods.catalogue import ENTRIES
from recon.methods.entry import MethodEntry
from recon.operators.tomography import Geometry

_DEFAULT = "condat_vu"
"""The method of a volume where none is stated."""

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
