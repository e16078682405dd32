"""What the user's own code states of itself is assumed, tried, and refuted; never printed as proved."""

import math
from pathlib import Path

import pytest
import torch

from recon.errors import GuaranteeError, UsageError
from recon.evidence import Evidence
from recon.methods.choice import choose_method
from recon.methods.operator_pair import analyse_operator
from recon.operators import Blur, Identity, compose, gaussian_psf, mismatch_of, stack
from recon.operators.tomography import Detector, Geometry, Tomography, Volume
from recon.operators.tomography.projectors.ramp_preconditioner import FilteredProjector
from recon.priors import total_variation_prior
from recon.reconstruction.certify import certify_operator, certify_prior
from recon.specs.grammar import Spec, parse_spec
from recon.specs.operators import operator_from_spec
from recon.specs.priors import read_prior
from recon.specs.surrogates import read_surrogate
from recon.specs.user_statements import BY_THE_USER, is_packaged

SHAPE = (16, 12)
EXAMPLE = torch.zeros(1, 1, *SHAPE)

OPERATORS = """
import torch
from recon.evidence import Assumed, Evidence, Fact, Measured, Proved
from recon.operators import Blur, Identity, OperatorProperties, Space, compose, gaussian_psf

class Half:
    norm, least = 0.5, 0.25
    def __init__(self, shape): self.domain = self.range = Space(tuple(shape))
    @property
    def properties(self):
        norm, gap, least = (Proved(value, "so I say") for value in (self.norm, 0.0, self.least))
        return OperatorProperties(norm, gap, least)
    def A(self, x): return 0.5 * x
    def A_adjoint(self, y): return 0.5 * y

class Above(Half):
    norm, least = 0.6, 0.2
class NormTooSmall(Half):
    norm = 0.4
class LeastTooLarge(Half):
    least = 0.3
class Huge(Half):
    norm = 1e9
    def A_adjoint(self, y): return 0.6 * y
class Nothing(Half):
    norm = float("nan")
class Words(Half):
    properties = "proved"
class NotNegative(Half):
    @property
    def nonnegative_entries(self): return Fact(Evidence.PROVED, "so I say")
class Negative(NotNegative):
    def A(self, x): return -0.5 * x
    def A_adjoint(self, y): return -0.5 * y
class Symbol(Half):
    symbol = torch.ones(16, 7, dtype=torch.complex128)
class Closed(Half):
    def data_resolvent(self, y, s): return lambda z: (z + 0.5 * s * y) / (1 + 0.25 * s)
    def data_gradient(self, y): return lambda x: 0.25 * x - 0.5 * y
class WrongResolvent(Half):
    def data_resolvent(self, y, s): return lambda z: (z + s * y) / (1 + 0.25 * s)
class WrongGradient(Half):
    def data_gradient(self, y): return lambda x: 0.25 * x - y
class Slots:
    __slots__ = ()
    def __init__(self, shape): pass
    def A(self, x): return x
    def A_adjoint(self, y): return y
def packaged(shape): return Blur(gaussian_psf(1.0), shape)
def mixed(shape): return compose(Blur(gaussian_psf(1.0), shape), Half(shape))
"""

PRIORS = """
import torch
from recon import priors
from recon.evidence import Evidence, Fact, Measured, Proved
from recon.priors import Prior, Resolvent, ResolventProperties, Smooth, Split
FACT = Fact(Evidence.PROVED, "so I say")
def known(q):
    return ResolventProperties(Proved(q, "so I say"), FACT, FACT, FACT, FACT, FACT, Proved(0.0, "exact"), FACT)
def honest(): return Resolvent(lambda x: 0.75 * x, known(0.5), "mine")
def wrong(): return Resolvent(lambda x: 0.75 * x, known(0.3), "mine")
def expands(): return Resolvent(lambda x: 1.3 * x, known(0.5), "mine")
def tv(): return priors.total_variation_prior(0.1)
def family(): return Prior("mine", lambda s: Resolvent(lambda x: x / (1 + s), known(1.0), "mine"),
                           constraint=Resolvent(lambda x: x.clamp(min=0), known(1.0), "positive"))
def smooth(): return Prior("mine", lambda s: Resolvent(lambda x: x / (1 + 2 * s), known(1.0), "mine"),
                           smooth=Smooth(lambda x: 2 * x, Proved(2.0, "so I say")))
def steep(): return Prior("mine", lambda s: Resolvent(lambda x: x / (1 + 2 * s), known(1.0), "mine"),
                          smooth=Smooth(lambda x: 2 * x, Proved(1.0, "so I say")))
def unnumbered(): return Resolvent(lambda x: x, known(float("nan")), "mine")
"""


@pytest.fixture
def operator(tmp_path: Path):
    (tmp_path / "mine.py").write_text(OPERATORS)
    return lambda name: operator_from_spec(parse_spec(f"python:{tmp_path / 'mine.py'}:{name}"), SHAPE)


@pytest.fixture
def prior(tmp_path: Path):
    (tmp_path / "priors.py").write_text(PRIORS)
    return lambda name: read_prior(parse_spec(f"python:{tmp_path / 'priors.py'}:{name}"))


@pytest.mark.parametrize("name", ["Half", "Above", "NotNegative", "Closed", "Symbol"])
def test_what_the_measurement_does_not_contradict_is_assumed(operator, name: str) -> None:
    known = operator(name).properties
    for constant in (known.norm, known.adjoint_gap, known.gram_min):
        assert constant.evidence is Evidence.ASSUMED
        assert constant.how == f"{BY_THE_USER}: so I say"
    assert known.norm.value == (0.6 if name == "Above" else 0.5)


def test_a_norm_that_is_too_small_is_refuted_and_said(tmp_path: Path, operator) -> None:
    known = operator("NormTooSmall").properties
    assert known.norm.evidence is Evidence.MEASURED
    assert known.norm.value == pytest.approx(0.5)
    assert "refutes 0.4, stated by the user's code" in known.norm.how
    lines: list[str] = []
    report = certify_operator(parse_spec(f"python:{tmp_path / 'mine.py'}:NormTooSmall"), shape=SHAPE, say=lines.append)
    assert any("states ||A|| = 0.4, and 0.5 was measured, which refutes it" in line for line in lines)
    assert report.constants["operator_norm"].evidence is Evidence.MEASURED


def test_a_smallest_eigenvalue_that_is_too_large_is_refuted(operator) -> None:
    known = operator("LeastTooLarge").properties
    assert (known.gram_min.value, known.gram_min.evidence) == (0.0, Evidence.PROVED)


def test_nothing_of_a_users_operator_is_proved_in_a_certificate(operator) -> None:
    for name in ("Half", "NormTooSmall", "Closed"):
        pair = analyse_operator(operator(name), None, EXAMPLE)
        for method in ("forward_backward", "condat_vu", "fista"):
            certificate = choose_method(pair, total_variation_prior(0.1), method).certificate
            assert certificate.evidence is not Evidence.PROVED, (name, method)


def test_a_gap_cannot_be_hidden_behind_a_norm_that_is_stated(operator) -> None:
    with pytest.raises(GuaranteeError, match="by 20 % of"):
        analyse_operator(operator("Huge"), None, EXAMPLE)


def test_entries_that_are_said_not_to_be_negative_are_tried(operator) -> None:
    assert operator("NotNegative").nonnegative_entries.evidence is Evidence.ASSUMED
    assert operator("Negative").nonnegative_entries is None
    pair = mismatch_of(operator("NotNegative"), operator("NotNegative"), EXAMPLE)
    assert pair.norm.evidence is Evidence.ASSUMED


def test_no_constant_is_proved_by_a_users_symbol(operator) -> None:
    pair = mismatch_of(operator("Symbol"), operator("Symbol"), EXAMPLE)
    assert {pair.norm.evidence, pair.cocoercivity.evidence} == {Evidence.MEASURED}


@pytest.mark.parametrize("name", ["Resolvent", "Gradient"])
def test_a_shortcut_that_is_not_the_operators_is_refused(operator, name: str) -> None:
    y, closed, wrong = torch.rand(1, 1, *SHAPE), operator("Closed"), operator(f"Wrong{name}")
    ability, formula = f"data_{name.lower()}", r"\(Id \+ s" if name == "Resolvent" else "A_adjoint"
    arguments = (y, 2.0) if name == "Resolvent" else (y,)
    getattr(closed, ability)(*arguments)(y)
    with pytest.raises(UsageError, match=f"Wrong{name}: its {ability} is not {formula}.* for a random image"):
        getattr(wrong, ability)(*arguments)


@pytest.mark.parametrize(("name", "words"), [("Nothing", "its norm is"), ("Words", "properties is a str; expected")])
def test_a_statement_that_is_no_number_is_refused_by_name(operator, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"mine.py:{name}: {words}"):
        _ = operator(name).properties


def test_an_operator_of_this_package_keeps_its_proofs(operator) -> None:
    assert operator("packaged").properties.norm.evidence is Evidence.PROVED
    assert operator("mixed").properties.norm.evidence is Evidence.ASSUMED
    assert not hasattr(operator("Slots"), "properties")


def test_what_is_packaged_is_so_in_all_of_its_parts() -> None:
    blur = Blur(gaussian_psf(1.0), SHAPE)
    assert is_packaged(compose(blur, Identity(SHAPE)))

    class Own(Identity):
        pass

    assert not is_packaged(Own(SHAPE))
    assert not is_packaged(stack(blur, Own(SHAPE)))
    assert not is_packaged(FilteredProjector(blur, blur, blur.properties.norm))  # type: ignore[arg-type]
    vars(blur)["A_adjoint"] = blur.A
    assert not is_packaged(blur)


def test_a_prior_is_assumed_whatever_it_calls_itself(prior) -> None:
    for name in ("honest", "family", "tv"):
        known = prior(name).prior.resolvent(1.0).properties
        assert {known.lipschitz_Q.evidence, known.error.evidence} == {Evidence.ASSUMED}
        facts = [known.proximity, known.attains, known.everywhere, known.bounded, known.scale_free]
        assert {fact.evidence for fact in facts if fact is not None} == {Evidence.ASSUMED}
    constraint = prior("family").prior.constraint.properties
    assert constraint.lipschitz_Q.evidence is Evidence.ASSUMED
    dual = prior("tv").prior.split.conjugate_resolvent(1.0).properties
    assert dual.lipschitz_Q.evidence is Evidence.ASSUMED


@pytest.mark.parametrize(("name", "found"), [("wrong", 0.5), ("expands", 1.6)])
def test_a_prior_that_a_search_contradicts_is_refuted(tmp_path: Path, prior, name: str, found: float) -> None:
    prior(name)
    report = certify_prior(parse_spec(f"python:{tmp_path / 'priors.py'}:{name}"))
    q = report.constants["lipschitz_Q"]
    assert q.evidence is Evidence.MEASURED
    assert q.value == pytest.approx(found)
    refuted = {guarantee.name for guarantee in report.guarantees if guarantee.refuted}
    assert ("forward_backward" in refuted) is (found > 1)


def test_a_gradient_steeper_than_stated_is_refuted(prior) -> None:
    assert prior("smooth").prior.smooth.lipschitz.evidence is Evidence.ASSUMED
    chosen = prior("steep")
    assert chosen.prior.smooth.lipschitz.evidence is Evidence.MEASURED
    assert chosen.prior.smooth.lipschitz.value == pytest.approx(2.0)
    assert "states Lip(grad R) = 1, and 2 was measured" in chosen.note


def test_a_constant_of_a_prior_that_is_no_number_is_refused_by_name(prior) -> None:
    with pytest.raises(UsageError, match=r"priors.py:unnumbered: its lipschitz_Q is Proved\(value=nan"):
        prior("unnumbered")


def test_a_refuted_statement_leaves_a_finite_step(operator) -> None:
    pair = analyse_operator(operator("NormTooSmall"), None, EXAMPLE)
    method = choose_method(pair, read_prior(Spec("none")).prior, "forward_backward")
    assert math.isfinite(method.stepsize)
    assert method.stepsize < 2 / 0.5**2


@pytest.mark.slow
def test_a_users_back_projector_of_a_scan_is_no_more_believed(tmp_path: Path) -> None:
    (tmp_path / "back.py").write_text(
        "from recon.evidence import Evidence, Fact\n"
        "class Twice:\n    nonnegative_entries = Fact(Evidence.PROVED, 'so I say')\n"
        "    def __init__(self, projector): self.projector = projector\n"
        "    def A(self, x): return 2 * self.projector.A(x)\n"
        "    def A_adjoint(self, y): return 2 * self.projector.A_adjoint(y)\n"
        "def crops(projector):\n    made = Twice(projector)\n"
        "    made.A_adjoint = lambda y: projector.A_adjoint(y)[..., 1:]\n    return made\n"
    )
    scan = Geometry("parallel", tuple(range(0, 180, 12)), Detector(24, 1.0), Volume((16, 16), 1.0))
    projector = Tomography(scan)
    twice = read_surrogate(parse_spec(f"python:{tmp_path / 'back.py'}:Twice"), projector)
    assert twice.nonnegative_entries.evidence is Evidence.ASSUMED
    assert mismatch_of(projector, twice).norm.evidence is Evidence.ASSUMED
    crops = read_surrogate(parse_spec(f"python:{tmp_path / 'back.py'}:crops"), projector)
    with pytest.raises(UsageError, match=r"back.py:crops: A_adjoint returned shape .*\(batch, channels, 16, 16\)"):
        crops.A_adjoint(torch.zeros(1, 1, 15, 24))
