"""Proximal gradient methods on the coefficients of a dictionary: min over z of ||A D z - y||^2 / 2 + w g(z).

Of several dictionaries D_1 .. D_S it is the sum of S such energies, one for each, of coefficients of their own, and the
image is the mean of the D_s z_s.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recon import solvers
from recon.certificates import DualityGap
from recon.errors import UsageError
from recon.evidence import Constant, derive, from_above
from recon.methods.entry import MethodEntry
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method, MethodSetting
from recon.operators import OperatorProperties
from recon.operators.base import SEMIDEFINITE
from recon.operators.composition import CharacterisedOperator
from recon.operators.rounding import rounded_up
from recon.priors.synthesis import SeveralDictionaries
from recon.types import LinearOperator

METHODS = ("ista", "fista", "oista", "slista")


class OfCoefficients:
    """The operator ``A D``; of S dictionaries, from z to all ``A D_s z_s``, one after the other as channels.

    Args:
        operator: A.
        dictionary: D.
    """

    def __init__(self, operator: LinearOperator, dictionary: CharacterisedOperator) -> None:
        self.operator, self.dictionary = operator, dictionary

    def A(self, z: Tensor) -> Tensor:
        """``A D z``."""
        if not isinstance(self.dictionary, SeveralDictionaries):
            return self.operator.A(self.dictionary.A(z))
        each = self.operator.A(self.dictionary.images(z))
        return torch.unflatten(each, 0, (self.dictionary.lattices, -1)).movedim(0, 1).flatten(1, 2)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """``D^T A^T y``."""
        if not isinstance(self.dictionary, SeveralDictionaries):
            return self.dictionary.A_adjoint(self.operator.A_adjoint(y))
        each = torch.unflatten(y, 1, (self.dictionary.lattices, -1)).movedim(1, 0).flatten(0, 1)
        return self.dictionary.images_adjoint(self.operator.A_adjoint(each))

    def copies(self, y: Tensor) -> Tensor:
        """A measurement once for each dictionary, as channels."""
        count = self.dictionary.lattices if isinstance(self.dictionary, SeveralDictionaries) else 1
        return y if count == 1 else torch.cat([y] * count, 1)


def build(entry: MethodEntry, setting: MethodSetting, like: Tensor | None) -> Method:
    """The method with the coefficients for the unknowns.

    ``||A D|| <= ||A|| ||D||`` gives the step, and of the gap of the energy follows, as that is strongly convex, how
    far the image is from that of the minimiser: ``||D z - D z*|| <= ||D|| ||z - z*||``. Of several dictionaries the
    energy that is stated is the mean of theirs.

    Args:
        entry: The method.
        setting: The problem in images.
        like: Images of the result's shape.

    Raises:
        UsageError: It is another method, or the size of the images is not known.
    """
    synthesis = setting.prior.synthesis
    assert synthesis is not None  # noqa: S101  the caller sees to it
    if entry.name not in METHODS:
        raise UsageError(
            f"method is {entry.name!r}, and the prior {setting.prior.name!r} is a penalty of coefficients; expected "
            f"{', '.join(METHODS[:-1])} or {METHODS[-1]}, or no synthesis=true, because only their unknowns may be "
            "coefficients."
        )
    if like is None:
        raise UsageError(
            f"the prior {setting.prior.name!r} is a penalty of coefficients, and the size of the images is not known; "
            "expected images."
        )
    shape = (like.shape[-2], like.shape[-1])
    dictionary = synthesis.on(shape)
    pair = composed(setting.pair, dictionary)
    made = entry.build(replace(setting, pair=pair, prior=synthesis.codes))
    zero = like.new_zeros(1, synthesis.bands, *dictionary.domain.shape)
    norm = from_above(dictionary.properties.norm).value
    within, copies = made.gap, OfCoefficients(setting.pair.operator, dictionary).copies

    def solver(y: Tensor) -> solvers.Algorithm[Any]:
        return solvers.coded(made.solver(copies(y)), dictionary, zero, (setting.pair.operator,))

    def gap(y: Tensor, z: Tensor) -> tuple[DualityGap, ...]:
        assert within is not None  # noqa: S101  all four have one
        return tuple(_of_images(each, norm, synthesis.lattices) for each in within(copies(y), z))

    return replace(made, solver=solver, gap=gap, backward=None)


def _of_images(gap: DualityGap, norm: float, lattices: int) -> DualityGap:
    """The gap of the mean energy, with the distance of the images; ||D|| is ``norm``."""
    return replace(
        gap, value=rounded_up(gap.value / lattices), objective=gap.objective / lattices,
        distance=rounded_up(norm * gap.distance),
    )  # fmt: skip


def composed(pair: OperatorPair, dictionary: CharacterisedOperator) -> OperatorPair:
    """The pair of ``A D``: the norms multiply, and the gap of the adjoint is that of A, relative to the product."""
    known = pair.properties
    of_dictionary = _norm_of_each(dictionary)
    how = "upper bound: the product of the norms of operator and dictionary"
    properties = OperatorProperties(
        norm=derive(lambda a, b: rounded_up(a * b), known.norm, of_dictionary, how=how),
        adjoint_gap=known.adjoint_gap,
        gram_min=SEMIDEFINITE,
    )
    return OperatorPair(OfCoefficients(pair.operator, dictionary), properties, pair.gap, gap_upper=pair.gap_upper)


def _norm_of_each(dictionary: CharacterisedOperator) -> Constant:
    return dictionary.norm_of_each if isinstance(dictionary, SeveralDictionaries) else dictionary.properties.norm
