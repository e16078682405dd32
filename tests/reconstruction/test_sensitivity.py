"""The law of the star over random problems: perturbed <= local <= certified; and who moves an image most."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.errors import ConsistencyError, GuaranteeError, UsageError
from recon.evidence import Evidence, derive
from recon.io import ValueRange, from_array
from recon.operators import Matrix, Space
from recon.priors import Prior, l1_prior, smoothed_total_variation_prior, tikhonov_prior, total_variation_prior
from recon.priors.networks import LipschitzConfig, learned_prior, make
from recon.reconstruction.plan import make_plan
from recon.reconstruction.problem import Objects
from recon.reconstruction.sensitivity import ACCURACY, FINE, Star, find_groups, sensitivity
from recon.specs.grammar import Spec, parse_spec
from recon.specs.groups import GroupSpec, parse_groups, require_groups_of
from recon.specs.operators import OperatorFactory
from recon.specs.solve_config import Noise, SolveConfig

SIDE, ROWS, COLUMNS = 6, 8, 6
PIXELS = SIDE * SIDE
LAW = 1 + 5 * (ACCURACY + FINE)
"""The systems of both arms are solved to these accuracies."""


def entries(seed: int) -> Tensor:
    """Of a map that is injective, badly conditioned, and sees little by some of its rows."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(ROWS, 1, 1, generator=generator, dtype=torch.float64).expand(ROWS, COLUMNS, 1).reshape(-1, 1)
    return (0.1 + scales) * torch.randn(ROWS * COLUMNS, PIXELS, generator=generator, dtype=torch.float64) / SIDE


def factory(matrix: Tensor) -> OperatorFactory:
    operator = Matrix(matrix, Space((SIDE, SIDE)), Space((len(matrix) // COLUMNS, COLUMNS)))
    return OperatorFactory(Spec("python", value="a test"), lambda shape: operator, lambda measured: (SIDE, SIDE))


def star_of(matrix: Tensor, prior: Prior, seed: int = 0, **options: object) -> Star:
    x = torch.rand(PIXELS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = (matrix @ x).reshape(-1, COLUMNS)
    surrogate = options.pop("surrogate", None)
    config = SolveConfig(
        Spec("python", value="a test"), noise=Noise(0.01), device="cpu", tolerance=1e-6, iterations=50_000,
        shape=(SIDE, SIDE), **options,
    )  # fmt: skip
    given = Objects(operator=factory(matrix), prior=prior, surrogate=surrogate)
    image = from_array(y.numpy(), value_range=ValueRange(0.0, 1.0))
    plan = make_plan(config, image, lambda line: None, given=given)
    return sensitivity(plan, find_groups(GroupSpec("blocks", (1, COLUMNS)), plan))


def local_of(matrix: Tensor, stiffness: Tensor) -> Tensor:
    """||(A^T A + H)^-1 A_K^T|| of each row of the measurement."""
    found = torch.linalg.solve(matrix.T @ matrix + stiffness, matrix.T).reshape(PIXELS, -1, COLUMNS)
    return torch.linalg.matrix_norm(found.movedim(1, 0), 2)


def assert_law(star: Star) -> None:
    for arm in star.arms:
        assert arm.perturbed.value <= arm.local.value * LAW
        assert max(arm.local.value, arm.perturbed.value) <= arm.certified.value
        assert arm.local.evidence is arm.perturbed.evidence is Evidence.MEASURED


@pytest.mark.parametrize("seed", range(3))
def test_of_a_closed_form(seed: int) -> None:
    matrix = entries(seed)
    star = star_of(matrix, tikhonov_prior(0.05), seed)
    assert_law(star)
    exact = local_of(matrix, 0.05 * torch.eye(PIXELS, dtype=torch.float64))
    for arm, value in zip(star.arms, exact.tolist(), strict=True):
        assert 0.8 * value <= arm.local.value <= value * LAW
        assert value * (1 - 1e-9) <= arm.certified.value <= (1 + 1e-6) * value
        assert arm.certified.evidence is Evidence.PROVED
        assert not arm.reason


@pytest.mark.parametrize("weight", [1e-6, 0.01, 100.0])
def test_no_measured_arm_is_above_a_proved_one(weight: float) -> None:
    """In single precision, of an operator whose arms are known: what is reported keeps the law to the last digit."""
    y = np.random.default_rng(0).random((6, 8))
    config = SolveConfig(Spec("identity"), prior=parse_spec(f"tikhonov:weight={weight}", "prior"), noise=Noise(0.02))
    plan = make_plan(config, from_array(y, value_range=ValueRange(0.0, 1.0)), lambda line: None)
    star = sensitivity(plan, find_groups(GroupSpec("blocks", (2, 2)), plan))
    assert_law(star)
    assert all(arm.local.value == pytest.approx(1 / (1 + weight), rel=1e-2) for arm in star.arms)


def test_a_proved_arm_that_is_too_short_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault planted in a bound: arms of half their length contradict what is measured."""
    short = lambda m: derive(lambda value: 0.5 / (1 + value), m, how="a fault")  # noqa: E731
    monkeypatch.setattr("recon.reconstruction.sensitivity.isometric_arm_bound", short)
    y = np.random.default_rng(0).random((6, 8))
    config = SolveConfig(Spec("identity"), prior=parse_spec("tikhonov:weight=0.1", "prior"), noise=Noise(0.02))
    plan = make_plan(config, from_array(y, value_range=ValueRange(0.0, 1.0)), lambda line: None)
    with pytest.raises(GuaranteeError, match=r"is said to be proved .* was measured"):
        sensitivity(plan, find_groups(GroupSpec("blocks", (2, 2)), plan))


def test_a_change_that_crosses_a_bound_says_so() -> None:
    """Pixels just below 0, which a bound keeps at 0, do not move to first order; a change lifts them off."""
    y = np.full((4, 4), 0.5)
    y[:, 2:] = -1e-4
    config = SolveConfig(Spec("identity"), prior=Spec("box"), noise=Noise(0.02))
    plan = make_plan(config, from_array(y, value_range=ValueRange(0.0, 1.0)), lambda line: None)
    free, bound = sensitivity(plan, find_groups(GroupSpec("blocks", (4, 2)), plan)).arms
    assert free.local.value == pytest.approx(1, abs=1e-2)
    assert bound.local.value < 0.01 < bound.perturbed.value
    assert "across a bound" in bound.reason


def network() -> Prior:
    torch.manual_seed(0)
    return learned_prior(make(LipschitzConfig(channels=1, features=4, depth=2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["l1", "tv", "smoothed tv", "learned"])
@pytest.mark.parametrize("seed", range(2))
def test_the_law(name: str, seed: int) -> None:
    prior = {
        "l1": lambda: l1_prior(0.02),
        "tv": lambda: total_variation_prior(0.01),
        "smoothed tv": lambda: smoothed_total_variation_prior(0.01, 0.05),
        "learned": network,
    }[name]()
    star = star_of(entries(seed), prior, seed)
    assert_law(star)
    assert bool(star.notes) == (name == "tv")


@pytest.mark.parametrize("seed", range(2))
def test_with_a_surrogate(seed: int) -> None:
    matrix = entries(seed)
    other = factory(matrix + 0.02 * entries(seed + 10))
    star = star_of(matrix, tikhonov_prior(0.3), seed, surrogate=other, method="forward_backward")
    assert_law(star)
    assert all(math.isfinite(arm.certified.value) for arm in star.arms)


def test_a_row_that_is_measured_twice_has_a_shorter_arm() -> None:
    matrix = entries(1)
    parts = list(matrix.reshape(ROWS, COLUMNS, PIXELS))
    alone = star_of(matrix, tikhonov_prior(0.05))
    twice = star_of(torch.cat([*parts, parts[2]]), tikhonov_prior(0.05))
    assert twice.arms[2].local.value < 0.8 * alone.arms[2].local.value
    assert twice.arms[2].local.value == pytest.approx(twice.arms[-1].local.value, rel=0.05)
    assert twice.arms[5].local.value == pytest.approx(alone.arms[5].local.value, rel=0.2)


@pytest.mark.slow
def test_an_arm_without_a_bound_is_null_and_says_why() -> None:
    matrix = entries(0)
    matrix[:, 0] = 0  # a pixel that nothing sees
    star = star_of(matrix, smoothed_total_variation_prior(0.01, 0.05))
    document = star.to_json()
    for group in document["groups"]:
        assert group["certified"] is None
        assert "strongly monotone" in group["reason"]
        assert group["local"] > 0
        assert "certified" not in group["evidence"]


def test_the_worst_change_is_what_the_longest_arm_says() -> None:
    star = star_of(entries(3), tikhonov_prior(0.05))
    longest = max(range(ROWS), key=lambda k: star.arms[k].local.value)
    assert star.worst.index == longest
    assert float(star.worst.change[0, longest].square().mean().sqrt()) == pytest.approx(0.01, rel=1e-4)
    outside = [row for row in range(ROWS) if row != longest]
    assert not star.worst.change[0, outside].any()
    moves = float(star.worst.image.norm() / star.worst.change.norm())
    assert moves == pytest.approx(star.arms[longest].local.value, rel=1e-4)


def test_groups_are_the_same_however_they_are_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = star_of(entries(2), tikhonov_prior(0.1))
    monkeypatch.setattr("recon.reconstruction.sensitivity._NUMBERS", 3 * PIXELS)
    parts = star_of(entries(2), tikhonov_prior(0.1))
    for one, other in zip(whole.arms, parts.arms, strict=True):
        assert one.local.value == pytest.approx(other.local.value, rel=1e-3)
        assert one.perturbed.value == pytest.approx(other.perturbed.value, rel=1e-3)


@pytest.mark.parametrize("text", ["", "view", "detectors", "detectors:0", "detectors:1.5", "blocks:8", "blocks:8x0",
                                  "views:3", "lines:", "blocks:8x8x8"])  # fmt: skip
def test_what_names_no_groups_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"groups is .*; expected views, detectors:N, lines or blocks:HxW"):
        parse_groups(text)


@pytest.mark.parametrize(("groups", "operator"), [("views", "blur"), ("detectors:4", "mri"), ("lines", "ct"),
                                                  ("blocks:8x8", "ct"), ("blocks:8x8", "mri")])  # fmt: skip
def test_groups_that_a_measurement_does_not_have_are_refused(groups: str, operator: str) -> None:
    with pytest.raises(UsageError, match=f"groups is '{groups}' with the operator '{operator}'; expected"):
        require_groups_of(parse_groups(groups), operator)


def test_groups_that_do_not_divide_are_refused() -> None:
    image = from_array(torch.rand(12, 10).numpy(), value_range=ValueRange(0.0, 1.0))
    config = SolveConfig(Spec("identity"), parse_spec("tikhonov:weight=1"), noise=Noise(0.1), device="cpu")
    plan = make_plan(config, image, lambda line: None)
    with pytest.raises(ConsistencyError, match=r"blocks that divide the 12 x 10 pixels .* such as blocks:6x5"):
        find_groups(parse_groups("blocks:5x5"), plan)


def star_on(operator: str, prior: str, groups: str, shape: tuple[int, int] = (16, 16)) -> Star:
    """Of a random image under an operator of the command line."""
    torch.manual_seed(0)
    y = torch.rand(shape, dtype=torch.complex64 if operator.startswith("mri") else torch.float32)
    config = SolveConfig(parse_spec(operator), parse_spec(prior), noise=Noise(0.01), device="cpu", tolerance=1e-6,
                         iterations=50_000)  # fmt: skip
    plan = make_plan(config, from_array(y.numpy(), value_range=ValueRange(0.0, 1.0)), lambda line: None)
    return sensitivity(plan, find_groups(parse_groups(groups), plan))


@pytest.mark.parametrize("weight", [0.02, 0.1, 1.0])
def test_the_arms_of_lines_are_exact(weight: float, tmp_path: Path) -> None:
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, ::3] = True
    np.save(tmp_path / "mask.npy", mask.numpy())
    star = star_on(f"mri:mask={tmp_path / 'mask.npy'}", f"tikhonov:weight={weight}", "lines")
    for arm in star.arms:
        assert arm.certified.value == pytest.approx(1 / (1 + weight), rel=1e-6)
        assert arm.local.value <= arm.certified.value * LAW
        assert arm.certified.value <= 1.5 * arm.local.value


@pytest.mark.parametrize("blocks", ["blocks:4x4", "blocks:2x8"])
def test_the_arms_of_blocks_of_a_circular_blur_are_exact(blocks: str) -> None:
    star = star_on("blur:gaussian=1", "tikhonov:weight=0.05", blocks)
    assert_law(star)
    for arm in star.arms:
        assert arm.certified.value <= 1.05 * arm.local.value
        assert arm.certified.evidence is Evidence.PROVED


@pytest.mark.parametrize("weight", [1e-4, 1e-3, 1e-2, 0.1])
def test_the_local_arms_where_pixels_are_missing_are_those_of_the_closed_form(tmp_path, weight: float) -> None:
    """A measured pixel moves by 1 / (1 + w) and a missing one does not, however near the problem is to singular."""
    seen = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    np.save(tmp_path / "mask.npy", seen.numpy())
    y = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * seen
    config = SolveConfig(
        parse_spec(f"inpaint:mask={tmp_path}/mask.npy", "operator"), parse_spec(f"tikhonov:weight={weight}", "prior"),
        noise=Noise(0.02),
    )  # fmt: skip
    plan = make_plan(config, from_array(y.numpy(), value_range=ValueRange(0.0, 1.0)), lambda line: None)
    star = sensitivity(plan, find_groups(parse_groups("blocks:8x8"), plan), 0)
    assert_law(star)
    for arm in star.arms:
        assert arm.local.value == pytest.approx(1 / (1 + weight), rel=2 * ACCURACY)
