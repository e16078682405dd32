"""Douglas-Rachford splitting with a surrogate, where the DFT diagonalises the operator and the surrogate."""

import torch
from torch import Tensor
from torch.fft import irfft2, rfft2

from recon import certificates as proofs
from recon import solvers
from recon.errors import UsageError
from recon.methods.data_term import free_step
from recon.methods.douglas_rachford import SHRINKAGE
from recon.methods.mismatched import mismatch_bound, norm_of
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method, MethodSetting
from recon.operators import Mismatch
from recon.operators.base import Buffer, HasSymbol
from recon.types import Map


def build(setting: MethodSetting) -> Method:
    """The resolvents of ``x -> K (A x - y) + shift x`` and of the prior in turn, which any step size converges with."""
    pair, prior, mismatch = setting.pair, setting.prior, setting.pair.mismatch
    assert mismatch is not None  # noqa: S101  its entry needs a surrogate
    least = 1 / norm_of(mismatch)
    balanced = max(SHRINKAGE / setting.weight, least) if setting.weight else least
    s = free_step(setting.stepsize, balanced, "mismatched_douglas_rachford")
    resolvent, inverse = prior.resolvent(s), _inverse(pair, mismatch, s)
    certificate = proofs.certify_mismatched_douglas_rachford(mismatch, resolvent.properties, s)
    return Method(
        "mismatched_douglas_rachford", s, None, None, certificate,
        lambda y: solvers.douglas_rachford(_data_resolvent(pair, inverse, y, s), resolvent),
        bound=mismatch_bound(pair, mismatch, resolvent, s),
    )  # fmt: skip


def _inverse(pair: OperatorPair, mismatch: Mismatch, stepsize: float) -> Buffer:
    """The spectrum of (Id + s (K A + shift Id))^-1; its real parts are at most 1 where the map is monotone."""
    operator, surrogate = pair.operator, pair.surrogate
    if not (isinstance(operator, HasSymbol) and isinstance(surrogate, HasSymbol)):
        names = f"{type(operator).__name__} and {type(surrogate).__name__}"
        raise UsageError(
            f"method is 'mismatched_douglas_rachford' with {names}; expected circular blurs, because the resolvent of "
            "the data map has a closed form where the Fourier transform diagonalises both."
        )
    return Buffer(1 / (1 + stepsize * (surrogate.symbol.conj() * operator.symbol + mismatch.shift)))


def _data_resolvent(pair: OperatorPair, inverse: Buffer, measurement: Tensor, stepsize: float) -> Map:
    """``z -> (Id + s (K A + shift Id))^-1 (z + s K y)``."""
    assert pair.surrogate is not None  # noqa: S101  a mismatch is of a surrogate
    pull = stepsize * pair.surrogate.A_adjoint(measurement)

    def apply(z: Tensor) -> Tensor:
        found: Tensor = irfft2(rfft2(z + pull) * inverse.like(z), z.shape[-2:])
        return found

    return torch.no_grad()(apply)
