"""ISTA: proximal gradient steps on an energy, of one length, as long as the support allows, or of learned lengths."""

from dataclasses import replace
from functools import partial

from torch import Tensor

from recon import certificates as proofs
from recon import solvers
from recon.errors import UsageError
from recon.methods.energy import gap_of, require_energy
from recon.methods.inexact import backward_error_of
from recon.methods.setting import Method, MethodSetting
from recon.operators import LeastSquares


def build(setting: MethodSetting) -> Method:
    """ISTA (Daubechies, Defrise, De Mol 2004): forward-backward with 1/||A||^2, on an energy."""
    pair, prior = setting.pair, setting.prior
    require_energy("ista", prior)
    s = setting.stepsize or 1 / pair.squared_norm
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_forward_backward(pair.properties, resolvent.properties, s)
    return Method(
        "ista", s, None, (0.0, 2 / pair.squared_norm), certificate,
        lambda y: solvers.forward_backward(LeastSquares(pair.operator, y), resolvent, s),
        backward=backward_error_of(pair, resolvent, s), gap=gap_of(pair, prior),
    )  # fmt: skip


def build_oracle(setting: MethodSetting) -> Method:
    """Oracle ISTA (Ablin, Moreau, Massias, Gramfort 2019): steps of 1/L_S on the support S."""
    pair, prior = setting.pair, setting.prior
    sparse = prior.sparse
    if sparse is None:
        raise UsageError(
            f"method is 'oista', and the prior {prior.name!r} has no coefficients of which some are zero; expected "
            "wavelet with shifts=1, or l1, because the length of a step follows from those that are not."
        )
    s = setting.stepsize or 1 / pair.squared_norm
    certificate = proofs.certify_proximal_descent(pair.properties, prior.resolvent(s).properties, s)
    return Method(
        "oista", s, None, (0.0, 1 / pair.squared_norm), certificate,
        lambda y: solvers.oracle_ista(LeastSquares(pair.operator, y), sparse, s), gap=gap_of(pair, prior),
    )  # fmt: skip


def build_learned(setting: MethodSetting) -> Method:
    """ISTA with learned steps (SLISTA; the same authors), and with those of ISTA where the energy does not fall."""
    pair, prior, learned = setting.pair, setting.prior, setting.stepsizes
    if learned is None:
        raise UsageError(
            "method is 'slista' without learned steps; expected a folder of recon train, as in "
            "--method slista:folder=runs/steps."
        )
    require_energy("slista", prior)
    if prior.value is None:
        raise UsageError(
            f"method is 'slista', and the energy of the prior {prior.name!r} has no value; expected wavelet with "
            "shifts=1, or l1, because steps after which the energy does not fall are replaced."
        )
    s = setting.stepsize or 1 / pair.squared_norm
    stepsizes = tuple(factor / pair.squared_norm for factor in learned.factors)
    certificate = proofs.certify_compared_steps(pair.properties, prior.resolvent(s).properties, s)
    make = partial(solvers.learned_ista, prior=prior, stepsizes=stepsizes, stepsize=s)

    def algorithm(y: Tensor) -> solvers.Algorithm[solvers.LearnedIterate]:
        return make(LeastSquares(pair.operator, y))

    made = Method(
        "slista", s, None, (0.0, 1 / pair.squared_norm), certificate, algorithm,
        gap=gap_of(pair, prior), steps=len(stepsizes), files=learned.files,
    )  # fmt: skip
    return replace(made, certificate=replace(certificate, remarks=learned.remarks))
