"""From a specification to an operator or a prior."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import operators
from recon.errors import ConsistencyError, InputError, ReconError, UsageError
from recon.evidence import Evidence
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import Spec, parse_spec
from recon.specs.operators import operator_from_spec, read_operator
from recon.specs.priors import prior_from_spec, read_prior


def operator(text: str, shape: tuple[int, int] = (24, 20)) -> object:
    return operator_from_spec(parse_spec(text), shape)


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "k,1.npy"
    np.save(path, np.arange(1.0, 7.0).reshape(2, 3))
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.npy"
    np.save(path, np.eye(24, 20, dtype=np.uint8))
    return path


def test_a_psf_is_read_and_normalised_with_a_remark(kernel: Path) -> None:
    said: list[str] = []
    spec = parse_spec(f'blur:psf="{kernel}"')
    built = read_operator(spec, said.append).on((24, 20))
    wanted = torch.arange(1.0, 7.0).reshape(2, 3).double() / 21
    x = torch.rand(1, 1, 24, 20).double()
    torch.testing.assert_close(built.A(x), operators.Blur(wanted, (24, 20)).A(x))
    assert any("sums to 21" in line for line in said)


def test_a_psf_is_kept_as_it_is_on_request(kernel: Path) -> None:
    built = operator(f'blur:psf="{kernel}",normalise=false')
    torch.testing.assert_close(built.A(torch.ones(1, 1, 24, 20)), torch.full((1, 1, 24, 20), 21.0))


@pytest.mark.parametrize(
    ("psf", "fragment"),
    [
        (np.zeros((3, 3)), "sums to 0"),
        (np.array([[1.0, -1.0]]), "sums to 0"),
        (-np.ones((3, 3)), "sums to -9"),
        (np.ones((3, 3)) * 1j, "complex"),
        (np.ones((2, 3, 3, 3)), "frames"),
    ],
)
def test_a_psf_that_is_none_is_refused_by_name(tmp_path: Path, psf: np.ndarray, fragment: str) -> None:
    np.save(tmp_path / "bad.npy", psf)
    with pytest.raises(InputError, match=fragment) as caught:
        operator(f"blur:psf={tmp_path / 'bad.npy'}")
    assert "bad.npy" in str(caught.value)


def test_a_psf_with_negative_values_is_kept_and_remarked_on(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.array([[-0.1, 1.2, -0.1]]))
    said: list[str] = []
    read_operator(parse_spec(f"blur:psf={tmp_path / 'k.npy'}"), said.append)
    assert any("2 negative values" in line for line in said)


def test_a_psf_larger_than_a_valid_measurement_is_refused() -> None:
    family = read_operator(parse_spec("blur:box=9,boundary=valid"))
    with pytest.raises(ConsistencyError, match=r"9 x 9 pixels and the measurement 8 x 20; expected a smaller PSF"):
        family.image_shape((8, 20))


def test_the_image_is_larger_than_a_valid_measurement_by_the_psf() -> None:
    family = read_operator(parse_spec("blur:box=5,boundary=valid"))
    shape = family.image_shape((20, 16))
    assert shape == (24, 20)
    assert family.on(shape).A(torch.zeros(1, 1, 24, 20)).shape[-2:] == (20, 16)


def test_the_image_is_larger_than_a_downsampled_measurement_by_the_factor() -> None:
    family = read_operator(parse_spec("downsample:factor=2"))
    assert family.image_shape((12, 10)) == (24, 20)
    assert family.on((24, 20)).A(torch.zeros(1, 1, 24, 20)).shape[-2:] == (12, 10)


@pytest.mark.parametrize("name", ["inpaint", "mri"])
def test_a_mask_decides_the_size(mask: Path, name: str) -> None:
    family = read_operator(parse_spec(f"{name}:mask={mask}"))
    assert family.only_shape == (24, 20)
    with pytest.raises(ConsistencyError, match="24 x 20 pixels, the image 10 x 10"):
        family.image_shape((10, 10))


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("blurr", "did you mean 'blur'"),
        ("blur:gausian=2", "did you mean 'gaussian'"),
        ("blur", "exactly one of"),
        ("blur:box=3,gaussian=1", "box are given|gaussian and box are given"),
        ("blur:box=2.5", "box is '2.5'"),
        ("blur:box=0", "box is '0'"),
        ("blur:box=1_0", "box is '1_0'"),
        ("blur:box=99999999999999999999", "box is"),
        ("blur:gaussian=nan", "gaussian is 'nan'"),
        ("blur:gaussian=0", "gaussian is '0'"),
        ("blur:gaussian=1,angle=3", "angle belongs to motion"),
        ("blur:gaussian=1,boundary=mirror", "boundary is 'mirror'"),
        ("blur:3", "'3' is a bare value"),
        ("identity:x=1", "takes none"),
        ("downsample:factor=1.5", "factor is '1.5'"),
        ("downsample", "needs factor"),
        ("inpaint", "needs mask"),
        ("python:nofile.py:make", "there is no file"),
        ("python:make", "expected python:FILE.py:CALLABLE"),
    ],
)
def test_a_specification_that_names_no_operator_is_refused_in_the_users_own_words(text: str, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        operator(text)


def test_a_users_own_operator_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "class Half:\n    def A(self, x): return x / 2\n    A_adjoint = A\n\ndef make(shape):\n    return Half()\n"
        "def broken(shape):\n    raise RuntimeError('ouch')\ndef empty(given):\n    return 3\nnumber = 3\n"
    )
    built = operator(f"python:{file}:make")
    torch.testing.assert_close(built.A(torch.ones(1, 1, 2, 2)), torch.full((1, 1, 2, 2), 0.5))
    with pytest.raises(UsageError, match=r"calling it with the image's shape .* raised .*'ouch'.*width., as"):
        operator(f"python:{file}:broken")
    with pytest.raises(UsageError, match="it returned a int; expected an object with the methods A and A_adjoint"):
        operator(f"python:{file}:empty")
    with pytest.raises(UsageError, match="no callable 'number'; it has: Half, broken, empty, make"):
        operator(f"python:{file}:number")


@pytest.mark.parametrize(
    "text", ["none", "box", "tikhonov:weight=1", "l1:weight=1", "tv:weight=1", "wavelet:weight=0.1"]
)
def test_every_closed_form_has_its_specification(text: str) -> None:
    prior = prior_from_spec(parse_spec(text))
    x = torch.rand(1, 1, 16, 16)
    assert prior.resolvent(0.1)(x).shape == x.shape
    assert (prior.split is not None) == text.startswith("tv")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("tvv", "did you mean 'tv'"),
        ("tv", "neither a weight nor a noise level"),
        ("tv:weight=-1", "weight is '-1'"),
        ("tv:weight=inf", "weight is 'inf'"),
        ("l1", "needs weight"),
        ("box:low=1,high=0", "expected low below high"),
        ("wavelet:weight=1,wavelet=nonsense", "nonsense"),
        ("model:best", "There is no packaged model"),
        ("deepinv:NoSuchNet,sigma=0.1", "There is no denoiser"),
        ("deepinv:DRUNet", "needs a noise level"),
    ],
)
def test_a_specification_that_names_no_prior_is_refused_in_the_users_own_words(text: str, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        prior_from_spec(parse_spec(text))


def test_a_weight_that_was_matched_to_the_noise_is_written_out() -> None:
    chosen = read_prior(parse_spec("tv"), PriorContext(0.01))
    assert float(chosen.spec.options["weight"]) == chosen.weight
    again = read_prior(parse_spec(str(chosen.spec)))
    assert again.weight == chosen.weight


def test_a_denoiser_of_deepinv_is_assumed_to_be_firm_and_never_downloads() -> None:
    chosen = read_prior(parse_spec("deepinv:DnCNN,sigma=0.05"), PriorContext(channels=3))
    resolvent = chosen.prior.resolvent(1.0)
    assert resolvent.properties.lipschitz_Q.evidence is Evidence.ASSUMED
    assert resolvent.properties.proximity is None
    assert "no trained weights" in chosen.note
    assert resolvent(torch.rand(1, 3, 16, 16)).shape == (1, 3, 16, 16)


def test_a_users_own_prior_is_assumed_unless_it_says_more(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from recon import priors\ndef halve():\n    return lambda x: x / 2\ndef tv():\n"
                    "    return priors.total_variation_prior(0.1)\n")  # fmt: skip
    assumed = prior_from_spec(parse_spec(f"python:{file}:halve")).resolvent(1.0)
    assert assumed.properties.lipschitz_Q.evidence is Evidence.ASSUMED
    assert prior_from_spec(parse_spec(f"python:{file}:tv")).split is not None


OWN_OPERATORS = """
import torch
class Base:
    def __init__(self, shape): pass
    def A(self, x): return x
    def A_adjoint(self, y): return y
class Raises(Base):
    def A(self, x): raise KeyError("lost")
class Crops(Base):
    def A_adjoint(self, y): return y[..., 1:, :]
class Arrays(Base):
    def A(self, x): return x.numpy()
def two(height, width): return Base((height, width))
"""


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("Raises", r"own.py:Raises: A raised KeyError\('lost'\) for a tensor of shape \(1, 1, 8, 6\); .*--shape"),
        ("Crops", r"own.py:Crops: A_adjoint returned shape \(1, 1, 7, 6\).*expected .*\(batch, channels, 8, 6\)"),
        ("Arrays", "own.py:Arrays: A returned a ndarray"),
        ("two", r"own.py:two: .*missing 1 required .*expected a callable that takes \(height, width\), as one tuple"),
    ],
)
def test_a_users_own_operator_that_fails_is_named(tmp_path: Path, name: str, pattern: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN_OPERATORS)
    with pytest.raises(UsageError, match=pattern):
        built = operator_from_spec(parse_spec(f"python:{file}:{name}"), (8, 6))
        built.A_adjoint(built.A(torch.ones(1, 1, 8, 6)))


OWN_PRIORS = """
from recon import priors
def direct(x): return x
def raises():
    def denoise(x): raise KeyError("lost")
    return denoise
def crops(): return lambda x: x[..., 1:, :]
def arrays(): return lambda x: x.numpy()
def resolvent(): return priors.Resolvent(lambda x: None, priors.resolvent_properties(None), "mine")
def family(): return priors.Prior("mine", lambda s: resolvent())
"""


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("direct", r"own.py:direct: .*missing 1 required .*takes nothing and returns .*a map from images to images"),
        ("raises", r"own.py:raises: the map that it makes raised KeyError\('lost'\)"),
        ("crops", r"own.py:crops: .*returned shape \(1, 1, 7, 6\).*expected the image's, \(1, 1, 8, 6\)"),
        ("arrays", "own.py:arrays: .*returned a ndarray"),
        ("resolvent", "own.py:resolvent: .*returned a NoneType"),
        ("family", "own.py:family: .*returned a NoneType"),
    ],
)
def test_a_users_own_prior_that_fails_is_named(tmp_path: Path, name: str, pattern: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN_PRIORS)
    with pytest.raises(UsageError, match=pattern):
        prior_from_spec(parse_spec(f"python:{file}:{name}")).resolvent(1.0)(torch.ones(1, 1, 8, 6))


def test_memory_that_runs_out_in_a_users_own_prior_stays_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def make():\n    def denoise(x): raise MemoryError\n    return denoise\n")
    with pytest.raises(MemoryError):
        prior_from_spec(parse_spec(f"python:{file}:make")).resolvent(1.0)(torch.ones(1, 1, 8, 6))


NAMES = st.sampled_from(["identity", "blur", "inpaint", "downsample", "mri", "ct", "matrix", "factors", "python", "tv",
                         "box", "wavelet", "l1"])  # fmt: skip
KEYS = st.sampled_from(["psf", "gaussian", "motion", "angle", "defocus", "box", "boundary", "mask", "factor", "weight",
                        "low", "high", "levels", "shifts", "wavelet", "isotropic", "measured"])  # fmt: skip
VALUES = st.sampled_from(
    ["1", "-1", "0", "2.5", "1e9", "nan", "inf", "x", "valid", "true", "haar", "/", "\n", "'", "9" * 30]
)


@settings(max_examples=150, deadline=None)
@given(NAMES, st.dictionaries(KEYS, VALUES, max_size=3), st.none() | VALUES)
def test_nothing_but_a_known_error_comes_of_a_wild_specification(
    name: str, options: dict[str, str], value: str | None
) -> None:
    spec = Spec(name, options, value)
    for build in (lambda: operator_from_spec(spec, (12, 10)), lambda: prior_from_spec(spec, PriorContext(0.01))):
        try:
            build()
        except ReconError as error:
            assert str(error)


def test_only_denoisers_of_deepinv_are_named():
    with pytest.raises(UsageError, match=r"There is no denoiser in deepinv\.models 'WienerDeconvolution'") as refusal:
        read_prior(parse_spec("deepinv:WienerDeconvolution"), PriorContext(0.1))
    assert "DRUNet" in str(refusal.value)
    assert "Reconstructor" not in str(refusal.value)
