"""How uncertainty is had; nothing here imports torch, so that a mistake in an option is reported at once."""

import hashlib
import math
from dataclasses import dataclass

from recon._suggest import unknown_name
from recon.errors import UsageError

METHODS = ("bootstrap", "kinetic", "ula", "sk-rock", "ensemble")
"""What uncertainty may be had from."""

CHAINS = ("kinetic", "ula", "sk-rock")
"""Those that are chains."""

TEMPERATURE = 0.04
"""At which chains run unless told otherwise.

A Gaussian has the same standard deviation at each T. Of another density a small T gives what the curvature near the
solution says. The weight of a penalty is matched to its solution, and is too small for samples of its density. Of T =
1, 0.2 and 0.04, on deblurring of ten validation images of 40 x 40 pixels with noise of 0.02, the last had the standard
deviation that ranked the errors best (0.16, 0.24 and 0.27 pixel by pixel, 0.46, 0.64 and 0.67 by regions), and that was
of the right size: at the level 0.9 it wanted a factor of 1.6, as a normal law does.
"""


def stream(seed: int, name: str, number: int = 0) -> int:
    """The seed of a stream of random numbers of its own.

    Simulated noise has the seed of the run plus the number of an image. A sampler with a seed of that kind would draw
    the noise of a measurement again, and the proof of the coverage takes them for independent.
    """
    digest = hashlib.sha256(f"{seed} {name} {number}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


@dataclass(frozen=True)
class Settings:
    """How uncertainty is had; the rule that a calibration is bound to.

    Attributes:
        method: One of :data:`METHODS`; ``None``: as follows from the problem.
        chains: Of the chains: how many of each image.
        steps: Of the chains: the largest number of gradients of each; half is the warm-up.
        temperature: Of the chains: T of the density ``exp(-U / T)``, whose standard deviation is divided by sqrt(T).
        samples: Of the bootstrap: how many measurements are simulated.
        transforms: Of the bootstrap: whether the image is shifted and flipped before it is measured.
        seed: Of all noise.
    """

    method: str | None = None
    chains: int = 4
    steps: int = 6400
    temperature: float = TEMPERATURE
    samples: int = 24
    transforms: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise unknown_name(self.method, METHODS, "method")
        for name, least in (("chains", 2), ("steps", 200), ("samples", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least {least}.")
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise UsageError(f"temperature is {self.temperature!r}; expected a positive finite number.")

    def to_json(self) -> dict[str, object]:
        """Return what the maps depend on, but for the seed."""
        if self.method in CHAINS:
            names = ("method", "chains", "steps", "temperature")
            return {name: getattr(self, name) for name in names}
        if self.method == "bootstrap":
            return {"method": self.method, "samples": self.samples, "transforms": self.transforms}
        return {"method": self.method}
