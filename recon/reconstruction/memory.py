"""Whether there is memory for a volume, before any of it is taken."""

import math
from contextlib import suppress
from pathlib import Path

from recon.errors import UsageError
from recon.operators.tomography import Geometry

_GIB = 2**30
_SINGLE = 4
_LIMITS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),)
_MEMINFO = Path("/proc/meminfo")


def require_memory(geometry: Geometry, method: str | None, where: str) -> None:
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
    volume, panel = (" x ".join(map(str, shape)) for shape in (geometry.image_shape, geometry.sinogram_shape))
    what = f"a volume of {volume} voxels" if geometry.kind == "cone" else f"an image of {volume} pixels"
    raise UsageError(
        f"{where}: {what} from {panel} values takes about {needed / _GIB:.1f} GiB by "
        f"{method or 'condat_vu'}, and {free / _GIB:.1f} GiB are free; expected no more, because it does not go to "
        "disk: a greater volume.pitch, fewer views, or --method fbp takes less."
    )


def volume_bytes(geometry: Geometry, method: str | None) -> int:
    """About how much memory the reconstruction of a volume, or of one slice, takes at its peak."""
    volume, panel = math.prod(geometry.image_shape), math.prod(geometry.sinogram_shape)
    of_volume, of_panel = _COPIES.get(method or "condat_vu", _COPIES["condat_vu"])
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


_COPIES = {"fbp": (26, 36), "sirt": (28, 40), "cgls": (28, 40), "condat_vu": (38, 40)}
"""Of volume and projections in single precision; what others take is about what the last one does.

From the peaks of runs on 128 x 160 x 160 voxels with 60 and 180 views of 160 x 240. Most of it is taken before the
first step, where the constants are measured.
"""
