"""Learned step sizes, and what they were learned for."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from recon.certificates import Remark


@final
@dataclass(frozen=True)
class LearnedSteps:
    """The step sizes of a method that takes as many steps as it has.

    Attributes:
        factors: Each step size times ||A||^2.
        files: The files that they were read from.
        remarks: On how the problem at hand is another one than those that they were learned on.
    """

    factors: tuple[float, ...]
    files: tuple[Path, ...] = ()
    remarks: tuple[Remark, ...] = ()
