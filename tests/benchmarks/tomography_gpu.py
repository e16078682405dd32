"""A projection and a back-projection on a GPU, 512 x 512, 720 views, float32, batch 1 and 16: ours against ASTRA's.

The images and sinograms stay on the GPU. ASTRA does a slice at a time, and its back-projection is not its adjoint.

Beside it stand two times that no pair of this kind falls below. ``loads``: each pixel that a ray interpolates takes a
load in projection, and each ray looked at for a pixel one in back-projection; a multiprocessor does 32 in a clock.
``memory``: each image and sinogram is read once and written once, at the rate of a copy.
"""

import functools
import math
import sys
from collections.abc import Callable

import torch
from timing import compare, interleaved_medians, report

from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.operators.tomography.projectors.footprints import pixel_footprints
from recon.operators.tomography.projectors.rays import trace

SIZE, VIEWS, BATCHES, ROUNDS, CLOCK = 512, 720, (1, 16), 20, 1.755e9
"""``CLOCK`` is an H100's, in Hz, where torch does not tell it."""

VOLUME = Volume((SIZE, SIZE), 0.7)
SCANS = {
    "parallel": Geometry("parallel", evenly_spaced(0, 180, VIEWS), Detector(736, 0.7), VOLUME),
    "fan": Geometry(
        "fan", evenly_spaced(0, 360, VIEWS), Detector(736, 1.2), VOLUME, source_to_axis=500.0, source_to_detector=1000.0
    ),
}

Pair = Callable[[torch.Tensor, torch.Tensor], object]


def run() -> dict[str, dict]:
    if not torch.cuda.is_available():
        print("There is no CUDA device; expected one, because this benchmark times kernels for it.", file=sys.stderr)
        return {}
    torch.manual_seed(0)
    cases = {}
    for name, geometry in SCANS.items():
        require_agreement(geometry)
        for batch in BATCHES:
            cases[f"{name}, batch {batch}"] = case(geometry, batch)
    return cases


def case(geometry: Geometry, batch: int) -> dict:
    images, sinograms = phantom(batch).cuda(), torch.rand(batch, *geometry.sinogram_shape, device="cuda")
    pairs = {"ours": ours(geometry), **astra(geometry, images)}
    timed = {name: functools.partial(finished, pair, images, sinograms) for name, pair in pairs.items()}
    compared = compare(timed, ROUNDS, warm_up=5)
    for name, seconds in limits(geometry, batch).items():
        compared["peers"][name], compared["ratio"][name] = seconds, compared["ours_s"] / seconds
    return compared


def finished(pair: Pair, images: torch.Tensor, sinograms: torch.Tensor) -> None:
    pair(images, sinograms)
    torch.cuda.synchronize()


def ours(geometry: Geometry) -> Pair:
    operator = Tomography(geometry)
    return lambda images, sinograms: (operator.A(images), operator.A_adjoint(sinograms))


def phantom(batch: int) -> torch.Tensor:
    """Discs: a smooth image, because a texture interpolates with 8 binary digits only."""
    at = torch.linspace(-1, 1, SIZE)
    centres = torch.linspace(-0.5, 0.5, batch)[:, None, None]
    return torch.exp(-8 * ((at[None, None, :] - centres) ** 2 + (at[None, :, None] - 0.2) ** 2))


def require_agreement(geometry: Geometry) -> None:
    """A time means something only if the results are those of the CPU."""
    operator, image, sinogram = Tomography(geometry), phantom(1), torch.rand(1, *geometry.sinogram_shape)
    for what, map_, x in (("projection", operator.A, image), ("back-projection", operator.A_adjoint, sinogram)):
        expected = map_(x)
        error = float((map_(x.cuda()).cpu() - expected).abs().max() / expected.abs().max())
        if error > 1e-5:
            raise SystemExit(f"{what}: the GPU's and the CPU's differ by {error:.2g} of the maximum; expected 1e-5.")


def astra(geometry: Geometry, images: torch.Tensor) -> dict[str, Pair]:
    """ASTRA's pair, if it is there and agrees: on tensors of the GPU where it takes them, else on those of the CPU."""
    try:
        import astra as toolbox  # noqa: PLC0415
        import astra.experimental as direct  # noqa: PLC0415
    except ImportError:
        return {}
    projector = toolbox.create_projector("cuda", *astra_geometries(toolbox, geometry))

    def pair(images: torch.Tensor, sinograms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        projected, back = torch.zeros_like(sinograms), torch.zeros_like(images)
        for image, sinogram, into, onto in zip(images, sinograms, projected, back, strict=True):
            direct.direct_FP2D(projector, image, into)
            direct.direct_BP2D(projector, onto, sinogram)
        return projected, back

    def by_way_of_the_cpu(images: torch.Tensor, sinograms: torch.Tensor) -> list[torch.Tensor]:
        return [result.cuda() for result in pair(images.cpu(), sinograms.cpu())]

    sinograms, expected = torch.zeros(1, *geometry.sinogram_shape, device="cuda"), Tomography(geometry).A(images[:1])
    for name, candidate in (("astra", pair), ("astra, by way of the CPU", by_way_of_the_cpu)):
        try:
            found = candidate(images[:1], sinograms)[0]
        except Exception as error:  # whatever it has against a tensor of the GPU
            print(f"{name}: {error}", file=sys.stderr)
            continue
        difference = float((found - expected).norm() / expected.norm())
        if difference > 5e-3:
            raise SystemExit(f"{name}: its projection differs from ours by {difference:.2g}; expected at most 5e-3.")
        return {name: candidate}
    return {}


def astra_geometries(toolbox, geometry: Geometry) -> tuple[dict, dict]:
    volume, detector = geometry.volume, geometry.detector
    half = SIZE * volume.pitch / 2
    angles = [math.radians(angle) for angle in geometry.angles]
    if geometry.kind == "parallel":
        rays = toolbox.create_proj_geom("parallel", detector.pitch, detector.pixels, angles)
    else:
        to_axis, to_detector = geometry.distances
        rays = toolbox.create_proj_geom(
            "fanflat", detector.pitch, detector.pixels, angles, to_axis, to_detector - to_axis
        )
    return rays, toolbox.create_vol_geom(SIZE, SIZE, -half, half, -half, half)


def limits(geometry: Geometry, batch: int) -> dict[str, float]:
    """Seconds, as the head of this file says."""
    properties = torch.cuda.get_device_properties(0)
    clock = 1e3 * getattr(properties, "clock_rate", CLOCK / 1e3)
    loads = 32 * properties.multi_processor_count * clock
    pixels, rays = math.prod(geometry.image_shape), math.prod(geometry.sinogram_shape)
    moved = 2 * 4 * batch * (pixels + rays)
    return {
        "limit of loads (estimated)": batch * load_count(geometry) / loads,
        "limit of memory (copy measured)": moved / copy_rate(),
    }


def load_count(geometry: Geometry) -> float:
    """Of a slice, by both directions. A ray meets as many lines as its weights on an image of ones add up to."""
    rays, ones = trace(geometry), torch.ones(geometry.image_shape, dtype=torch.float64)
    lines = float((Tomography(geometry).A(ones) / torch.from_numpy(rays.length)).sum())
    looked_at = 2 * pixel_footprints(geometry, rays).reach * math.prod(geometry.image_shape) * len(geometry.angles)
    return 2 * lines + looked_at


def copy_rate() -> float:
    """Bytes in a second, those read and those written."""
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return 2 * source.nbytes / interleaved_medians({"copy": copy}, 10)["copy"]


if __name__ == "__main__":
    report(run, __doc__)
