"""The constants of a scan of a slice, which its projectors on the CPU and on a GPU share."""

from dataclasses import dataclass
from functools import cached_property

from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.footprints import Floats, Footprints, pixel_footprints, turns
from recon.operators.tomography.projectors.rays import Rays, trace


@dataclass(frozen=True)
class PlanarScan:
    """The rays of a scan, and the footprints of its pixels; computed when they are first asked for.

    Attributes:
        geometry: Of kind ``parallel`` or ``fan``.
    """

    geometry: Geometry

    @property
    def beam(self) -> str:
        """``parallel``; of a fan, the shape of its detector, ``flat`` or ``arc``."""
        return "parallel" if self.geometry.kind == "parallel" else self.geometry.detector.shape

    @cached_property
    def rays(self) -> Rays:
        """In double precision."""
        return trace(self.geometry)

    @cached_property
    def footprints(self) -> Footprints:
        """In double precision."""
        return pixel_footprints(self.geometry, self.rays)

    @cached_property
    def turns(self) -> Floats:
        """As :func:`.footprints.turns` gives them, of the detector with its margins."""
        return turns(self.footprints.step, self.geometry.detector.pixels + 2 * self.footprints.margin)
