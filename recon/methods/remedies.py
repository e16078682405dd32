"""Advice where a surrogate leaves a method without a guarantee: a shorter step, a shift, or another prior."""

import math
from collections.abc import Callable
from dataclasses import replace

from recon.certificates.conditions import EXACTLY, strength
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method
from recon.operators import Mismatch, shift_for
from recon.priors import Prior

Retry = Callable[[OperatorPair, float | None], Method]
"""From a pair and a step size, or ``None`` for the method's own, to the method of the same run with these."""

_HALVINGS = 10
_BASE = "the surrogate leaves this method without a guarantee"


def remedy(pair: OperatorPair, method: Method, prior: Prior, is_penalty: bool, retry: Retry) -> str | None:
    """Advice on what would give a guarantee to a method with a surrogate; ``None`` where nothing is missing.

    With an m-strongly monotone M and mu = lambda_min(sym(K A)), K A + M / s is strongly monotone where m / s + mu > 0,
    and has one zero. A shift k is not advised there: its own share of the error bound is
    k ||x|| / (m / s + lambda_min(A^T A)), which is most of it.

    Args:
        pair: The operator and its surrogate, as examined.
        method: That of the run.
        prior: That of the run.
        is_penalty: Whether the step size leaves the problem as it is, because the prior's resolvents follow it.
        retry: The same method with another pair or another step size.
    """
    mismatch, s = pair.mismatch, method.stepsize
    if mismatch is None or s is None or _holds(method):
        return None
    m = strength(prior.resolvent(s).properties).value
    if m / s + mismatch.symmetric_part_min.value > 0:
        shorter = _shorter_step(pair, s, retry) if is_penalty else None
        if shorter is not None:
            return f"{_BASE}; a shorter step, --stepsize {shorter:.2g}, gives it one"
        return f"{_BASE}, but the prior is strong enough for the solution to be unique"
    shift = shift_for(mismatch)
    if not (shift > mismatch.shift and _holds(retry(replace(pair, mismatch=_shifted(mismatch, shift)), None))):
        return f"{_BASE}, and a shift would not give it one; a prior that contracts, such as tikhonov, may"
    strong = m / s + pair.properties.gram_min.value
    cost = f"by up to {100 * shift / strong:.2g} %" if shift < strong else "how far is not bounded"
    return (
        f"{_BASE}; --shift auto adds {shift:.3g} to its map, which makes it monotone, and moves the solution ({cost}); "
        "a prior that contracts, such as tikhonov, makes the solution unique"
    )


def _holds(method: Method) -> bool:
    """Return whether nothing is missing but an exact evaluation of the prior."""
    return all(EXACTLY in name for name in method.certificate.missing)


def _shorter_step(pair: OperatorPair, stepsize: float, retry: Retry) -> float | None:
    """The longest step found by halving, in two digits, with which the certificate holds; ``None`` where none is."""
    for halvings in range(1, _HALVINGS + 1):
        shorter = float(f"{stepsize / 2**halvings:.2g}")
        if _holds(retry(pair, shorter)):
            return shorter
    return None


def _shifted(pair: Mismatch, shift: float) -> Mismatch:
    """The constants with another shift, from those without: the cocoercivity from below, by mu / ||B||^2."""
    more = shift - pair.shift
    lowest, norm = pair.symmetric_part_min, pair.norm
    mu, size = lowest.value + more, norm.value + norm.error + more
    eta = max(mu - lowest.error, 0.0) / size**2 if size else math.inf
    return replace(
        pair,
        norm=replace(norm, value=size),
        symmetric_part_min=replace(lowest, value=mu),
        cocoercivity=replace(pair.cocoercivity, value=eta, error=0.0),
        shift=shift,
    )
