"""Projection and back-projection of a slice of 512 x 512, float32: ours against ASTRA's and deepinv's on the CPU.

Parallel: 360 views over 180 degrees, 725 detector pixels of 1. Fan, flat: 360 views over 360 degrees, 736 detector
pixels of 2, the source at 1000 from the axis and at 2000 from the detector: a clinical scanner's distances in pixels of
the image, a fan of 40 degrees. Each map is repeated for half a second before the next has its turn. ASTRA runs on one
thread, as its CPU projectors do; it has no Joseph fan, so there the peer is ``line_fanflat``, by the lengths of
intersection, and deepinv's the rotated image's sums.

Targets for the sum of both maps: 0.10 of ASTRA's time (0.12 with the fan) and 0.03 of deepinv's; eight slices take at
most eight times as long as one; less than 150 MB beside the data.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import optional
from skimage.data import shepp_logan_phantom
from skimage.transform import resize
from timing import Candidates, interleaved_medians, report
from torch import Tensor

from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced

SIZE, VIEWS, BATCH, ROUNDS, SLOW_ROUNDS, TURN_S, MEMORY_MB = 512, 360, 8, 9, 3, 0.5, 150
VOLUME = Volume((SIZE, SIZE), 1.0)
GEOMETRIES = {
    "parallel": Geometry("parallel", evenly_spaced(0, 180, VIEWS), Detector(725, 1.0), VOLUME),
    "fan": Geometry("fan", evenly_spaced(0, 360, VIEWS), Detector(736, 2.0), VOLUME, 1000.0, 2000.0),
}
ASTRA = {"parallel": ("linear", 1e-3, 0.10), "fan": ("line_fanflat", 0.02, 0.12)}
"""Of each scan: the projector, how far its results may be from ours, and the target.

The same interpolation differs by rounding; lengths of intersection differ from it as far as both do from the integral.
"""
DEEPINV_TOLERANCE, DEEPINV_TARGET = 0.02, 0.03


@dataclass(frozen=True)
class Peer:
    """Both maps of one side, on the data that they share."""

    name: str
    project: Callable[[], Any]
    back_project: Callable[[], Any]
    target: float


def run() -> dict[str, dict]:
    astra = optional("astra", "astra-toolbox")
    with torch.no_grad():
        return {name: case for kind in GEOMETRIES for name, case in cases(kind, astra).items()}


def cases(kind: str, astra: Any) -> dict[str, dict]:
    image = phantom()
    operator = Tomography(GEOMETRIES[kind])
    sinogram = operator.A(image)
    ours = Peer("ours", lambda: operator.A(image), lambda: operator.A_adjoint(sinogram), 1.0)
    timed = [] if astra is None else [(astra_peer(astra, kind, operator, image, sinogram), ROUNDS)]
    timed.append((deepinv_peer(kind, operator, image, sinogram), SLOW_ROUNDS))
    both = against(ours, timed)
    both["both"]["memory_mb"] = {"ours": working_memory(kind), "limit": MEMORY_MB}
    named = {f"{kind}, {what}": case for what, case in both.items()}
    return {**named, f"{kind}, a slice of {BATCH}": batch(operator, image, sinogram)}


def against(ours: Peer, timed: list[tuple[Peer, int]]) -> dict[str, dict]:
    """A case for each map and one for their sum; each peer in its own rounds, beside ours in the same ones."""
    found: dict[str, dict] = {
        what: {"ours_s": 0.0, "peers": {}, "ratio": {}, "targets": {}}
        for what in ("projection", "back-projection", "both")
    }
    for peer, rounds in timed:
        mine, theirs = medians(ours, peer, rounds)
        for what, case in found.items():
            case["ours_s"] = case["ours_s"] or mine[what]  # those of the first peer, who has the most rounds
            case["peers"][peer.name], case["ratio"][peer.name] = theirs[what], mine[what] / theirs[what]
        found["both"]["targets"][peer.name] = peer.target
    return found


def medians(ours: Peer, peer: Peer, rounds: int) -> list[dict[str, float]]:
    calls: Candidates = {
        f"{side.name}: {what}": call
        for side in (ours, peer)
        for what, call in (("projection", side.project), ("back-projection", side.back_project))
    }
    seconds = interleaved_medians(calls, rounds, 1, TURN_S)
    found = []
    for side in (ours, peer):
        halves = {what: seconds[f"{side.name}: {what}"] for what in ("projection", "back-projection")}
        found.append({**halves, "both": sum(halves.values())})
    return found


def batch(operator: Tomography, image: Tensor, sinogram: Tensor) -> dict:
    """Both maps of eight slices, a slice of them, against those of one."""
    images, sinograms = (part.repeat(BATCH, 1, 1, 1) for part in (image, sinogram))
    calls: Candidates = {
        "eight": lambda: (operator.A(images), operator.A_adjoint(sinograms)),
        "one": lambda: (operator.A(image), operator.A_adjoint(sinogram)),
    }
    seconds = interleaved_medians(calls, ROUNDS, 1, TURN_S)
    a_slice = seconds["eight"] / BATCH
    peers = {"one slice alone": seconds["one"]}
    return {
        "ours_s": a_slice,
        "peers": peers,
        "ratio": {name: a_slice / alone for name, alone in peers.items()},
        "targets": {"one slice alone": 1.0},
    }


def astra_peer(astra: Any, kind: str, operator: Tomography, image: Tensor, sinogram: Tensor) -> Peer:
    """Algorithms built once over linked arrays: what is timed is ASTRA's loops alone."""
    geometry, (projector, tolerance, target) = operator.geometry, ASTRA[kind]
    angles, detector = np.deg2rad(np.asarray(geometry.angles)), geometry.detector
    slice_ = astra.create_vol_geom(SIZE, SIZE)
    if kind == "parallel":
        scan = astra.create_proj_geom("parallel", detector.pitch, detector.pixels, angles)
    else:
        axis, distance = geometry.distances
        scan = astra.create_proj_geom("fanflat", detector.pitch, detector.pixels, angles, axis, distance - axis)
    identifier = astra.create_projector(projector, scan, slice_)
    projected, imaged = np.zeros(operator.range.shape, np.float32), np.zeros((SIZE, SIZE), np.float32)

    def algorithm(name: str, **data: int) -> int:
        return astra.algorithm.create({**astra.astra_dict(name), "ProjectorId": identifier, **data})

    def volume(array: np.ndarray) -> int:
        return astra.data2d.link("-vol", slice_, array)

    def views(array: np.ndarray) -> int:
        return astra.data2d.link("-sino", scan, array)

    forward = algorithm("FP", VolumeDataId=volume(image[0, 0].numpy()), ProjectionDataId=views(projected))
    back = algorithm("BP", ProjectionDataId=views(sinogram[0, 0].numpy()), ReconstructionDataId=volume(imaged))
    peer = Peer(f"ASTRA {projector}", lambda: astra.algorithm.run(forward), lambda: astra.algorithm.run(back), target)
    peer.project()
    peer.back_project()
    require_agreement(peer.name, projected, sinogram, tolerance)
    require_agreement(peer.name, imaged, operator.A_adjoint(sinogram), tolerance)
    return peer


def deepinv_peer(kind: str, operator: Tomography, image: Tensor, sinogram: Tensor) -> Peer:
    """Its grid is half a pixel beside ours; its fan begins a quarter turn away and sums over depth, not length."""
    import deepinv  # noqa: PLC0415

    geometry = operator.geometry
    like_theirs = replace(geometry, volume=replace(VOLUME, offset=(-0.5, 0.5)))
    weights, fan = torch.ones(geometry.detector.pixels), {}
    if kind == "fan":
        axis, distance = geometry.distances
        detector = geometry.detector
        fan = {
            "pixel_spacing": VOLUME.pitch,
            "source_radius": axis,
            "detector_radius": distance - axis,
            "n_detector_pixels": detector.pixels,
            "detector_spacing": detector.pitch,
        }
        like_theirs = replace(like_theirs, angles=tuple(angle - 90 for angle in geometry.angles))
        u = (torch.arange(detector.pixels) - (detector.pixels - 1) / 2) * detector.pitch
        weights = distance / torch.hypot(u, torch.tensor(distance))
    physics = deepinv.physics.Tomography(
        angles=torch.tensor(geometry.angles),
        img_width=SIZE,
        parallel_computation=False,  # view by view, which on a CPU takes half the time
        normalize=False,
        fan_beam=bool(fan),
        fan_parameters=fan,
    )
    measured, expected = sinogram.mT.contiguous(), Tomography(like_theirs)
    peer = Peer("deepinv Tomography", lambda: physics.A(image), lambda: physics.A_adjoint(measured), DEEPINV_TARGET)
    require_agreement(peer.name, peer.project().mT, expected.A(image) * weights, DEEPINV_TOLERANCE)
    require_agreement(peer.name, peer.back_project(), expected.A_adjoint(sinogram * weights), DEEPINV_TOLERANCE)
    return peer


def phantom() -> Tensor:
    image = resize(shepp_logan_phantom(), (SIZE, SIZE), anti_aliasing=True)
    return torch.from_numpy(image).float()[None, None]


def require_agreement(what: str, theirs: Any, ours: Tensor, tolerance: float) -> None:
    """A time means something only if the results are the same."""
    error = float((torch.as_tensor(theirs).reshape(ours.shape) - ours).norm() / ours.norm())
    if not error < tolerance:
        raise SystemExit(f"{what} differs from ours by {error:.2g} of the norm; expected at most {tolerance:g}.")


def working_memory(kind: str) -> float:
    """In MB, of one projection and one back-projection in a fresh process, beside the imports and the data."""
    program = f"import tomography; tomography.print_growth({kind!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def print_growth(kind: str) -> None:
    from recon.operators.tomography.projectors.kernels import planar  # noqa: F401, PLC0415  an import, not work

    operator = Tomography(GEOMETRIES[kind])
    image, sinogram = torch.rand(operator.domain.shape), torch.rand(operator.range.shape)
    before = peak_mb()
    kept = operator.A(image), operator.A_adjoint(sinogram)
    data = sum(result.nbytes for result in kept) / 1e6
    print(peak_mb() - before - data)


def peak_mb() -> float:
    """Not ``ru_maxrss``, in which a process begins with the peak of the one that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("tomography: /proc/self/status has no VmHWM; expected Linux, where the peak is written there.")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report(run, __doc__)
