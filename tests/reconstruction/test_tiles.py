"""Images in tiles: their division covers them once, and the result is that of the whole image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.io import Image, from_array
from recon.io.mapped import with_pixels
from recon.operators import Blur, Downsampling, gaussian_psf
from recon.reconstruction.run import pixel_hash, solve_image
from recon.reconstruction.tiles import plan as tiles_plan
from recon.reconstruction.tiles.layout import Axis, Division, cut
from recon.reconstruction.tiles.plan import SEAM, TilePlan, plan_tiles
from recon.reconstruction.tiles.scratch import Scratch
from recon.reconstruction.tiles.seams import difference, neighbours
from recon.reconstruction.tiles.solve import solve_tiles
from recon.specs.solve_config import SolveConfig, config_from

SIDE = 112


@pytest.fixture(autouse=True)
def _no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is that of tiles alone."""
    monkeypatch.setattr(tiles_plan, "PROGRAM", 0)
    monkeypatch.setattr(tiles_plan, "_held", lambda image: 0)
    monkeypatch.setattr(tiles_plan, "MARGIN", 12)


def measured(operator: str = "identity", side: int = SIDE) -> Image:
    rows, columns = np.mgrid[:side, :side]
    clean = 0.4 + 0.2 * np.sin(columns / 7) * np.cos(rows / 9) + 0.2 * ((columns // 20 + rows // 16) % 2)
    x = torch.from_numpy(clean)[None, None]
    if operator.startswith("blur"):
        x = Blur(gaussian_psf(1.0), (side, side), "valid" if "valid" in operator else "circular").A(x)
    if operator.startswith("downsample"):
        x = Downsampling((side, side), 2).A(x)
    noise = 0.02 * np.random.default_rng(0).standard_normal(x.shape[-2:])
    return from_array((x[0, 0].numpy() + noise).astype(np.float32))


def config(operator: str = "identity", **more: object) -> SolveConfig:
    return config_from({"operator": operator, "noise": "0.02", "prior": "tv:weight=0.02,smoothing=0.05", **more})


def divided(operator: str, tile: int, image: Image | None = None, **more: object) -> TilePlan:
    """The plan with tiles of about so many pixels a side."""
    image = measured(operator) if image is None else image
    whole = plan_tiles(config(operator, memory=1 << 40, **more), image, lambda line: None)
    assert whole is None
    seen = tiles_plan.make_plan(config(operator, **more), image, lambda line: None)
    each = seen.memory_bytes / np.prod(seen.problem.image_shape)
    found = plan_tiles(config(operator, memory=int(each * tile**2), **more), image, lambda line: None)
    assert found is not None
    return found


@given(
    length=st.integers(1, 300),
    core=st.integers(16, 90),
    margin=st.integers(2, 30),
    unit=st.integers(1, 3),
    periodic=st.booleans(),
)
def test_an_axis_is_covered_once(length: int, core: int, margin: int, unit: int, periodic: bool) -> None:
    length, margin = length * unit, margin * unit
    axis = Axis(length, core, margin, unit, periodic)
    total = np.zeros(length)
    for tile in range(axis.count):
        (start, size), (first, many) = axis.window(tile), axis.kept(tile)
        assert size <= length and start % unit == 0 and size % unit == 0
        assert many <= size
        inside = (first - start) % length
        assert inside + many <= size or size == length
        np.add.at(total, (first + np.arange(many)) % length, axis.weights(tile))
        for more in (2, 4):
            larger, wide = axis.window(tile, more * margin)
            assert (first - larger) % length + many <= wide or wide == length
    assert np.allclose(total, 1)


@given(start=st.integers(0, 9), size=st.integers(1, 10))
def test_a_window_goes_around_the_end(start: int, size: int) -> None:
    assert np.array_equal(cut(np.arange(10), 0, (start, size)), (start + np.arange(size)) % 10)


@pytest.mark.parametrize("periodic", [False, True])
def test_tiles_of_one_image_are_put_together_to_it_and_a_fault_is_seen(periodic: bool, tmp_path: Path) -> None:
    division = Division(Axis(70, 20, 8, 1, periodic), Axis(55, 20, 8, 1, periodic))
    image = np.random.default_rng(0).standard_normal((2, 1, 70, 55)).astype(np.float32)
    with Scratch(division, 2, 1, tmp_path) as scratch:
        for tile in division.tiles:
            rows, columns = division.kept(tile)
            scratch.put(tile, cut(cut(image, 2, rows), 3, columns))
        whole = torch.cat([x for _, x in scratch.rows()], 2).numpy()
        assert np.allclose(whole, image, atol=1e-6)
        assert all(difference(division, scratch, pair, axis).largest == 0 for pair, axis in neighbours(division))
        tile = division.tiles[0]
        scratch.put(tile, scratch.get(tile) + np.float32(0.25))
        wrong = [difference(division, scratch, pair, axis) for pair, axis in neighbours(division)]
        assert {seam.tiles for seam in wrong if seam.largest > 0} == {
            pair for pair, _ in neighbours(division) if tile in pair
        }
        assert max(seam.largest for seam in wrong) == pytest.approx(0.25, abs=1e-6)
        last = division.tiles[-1]
        spoiled = scratch.get(last).copy()
        spoiled[1, 0, 0, 9] -= 1  # in the band with the tile above
        scratch.put(last, spoiled)
        seams = [difference(division, scratch, pair, axis) for pair, axis in neighbours(division)]
        rows, columns = division.kept(last)
        assert max(seams, key=lambda seam: seam.largest).place == (rows[0] % 70, (columns[0] + 9) % 55)


OPERATORS = ("identity", "blur:gaussian=1.0", "blur:gaussian=1.0,boundary=valid", "downsample:factor=2")


@pytest.mark.parametrize("operator", OPERATORS)
def test_tiles_are_the_untiled_solution_to_the_stated_difference(operator: str) -> None:
    image = measured(operator)
    whole = solve_image(config(operator, tolerance=1e-4, iterations=600), image)
    plan = divided(operator, 88, tolerance=1e-4, iterations=600)
    assert len(plan.division.tiles) > 1
    result = solve_tiles(plan)
    assert result.seams.within and len(result.seams.found) >= 2
    assert result.image.pixels.shape == whole.image.pixels.shape
    assert result.image.pixels.dtype == whole.image.pixels.dtype
    # at the border of a periodic operator tiles take the prior for periodic, too
    border = 12 if plan.division.rows.periodic else 0
    apart = np.abs(result.image.pixels - whole.image.pixels)[..., border : SIDE - border, border : SIDE - border]
    assert apart.max() <= 2 * SEAM


@pytest.mark.slow
def test_so_are_those_of_the_default_prior() -> None:
    image = measured(side=160)
    whole = solve_image(config_from({"operator": "identity", "noise": "0.02"}), image)
    plan = divided("identity", 120, image, prior=None)
    assert len(plan.division.tiles) > 1
    result = solve_tiles(plan)
    assert result.seams.within
    assert np.abs(result.image.pixels - whole.image.pixels).max() <= SEAM


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("noise", ["0.02", None])
def test_one_tile_that_is_the_image_is_the_untiled_solution_to_the_bit(operator: str, noise: str | None) -> None:
    image = measured(operator)
    asked = config(operator, noise=noise, prior="tv", iterations=12)
    plan = divided(operator, 88, image, noise=noise, prior="tv", iterations=12)
    rows, columns = plan.division.rows, plan.division.columns
    large = Division(
        Axis(rows.length, 2 * SIDE, 12, rows.unit, rows.periodic),
        Axis(columns.length, 2 * SIDE, 12, columns.unit, columns.periodic),
    )
    result = solve_tiles(tiles_plan.replace(plan, division=large))
    whole = solve_image(asked, image)
    assert len(result.tiles) == 1 and str(result.seams) == "one tile, no seams"
    assert result.sha256 == pixel_hash(whole.solution.x)
    assert np.array_equal(result.image.pixels, whole.image.pixels)


def test_a_large_seam_is_solved_again_with_twice_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles_plan, "MARGIN", 4)
    plan = divided("identity", 72, prior="tv:weight=0.5,smoothing=0.05", tolerance=1e-5, iterations=3000)
    assert plan.doublings == 2
    result = solve_tiles(plan)
    assert {tile.margin for tile in result.tiles} > {4} or {tile.margin for tile in result.tiles} == {16}
    first = solve_tiles(tiles_plan.replace(plan, doublings=0))
    assert first.seams.largest > result.seams.largest
    assert first.seams.shortfall is not None and "differ by more than 0.001" in first.seams.shortfall
    assert first.seams.to_json()["within"] is False


def test_memory_without_room_for_a_tile_is_refused() -> None:
    with pytest.raises(UsageError, match="a smaller tile is all margin"):
        plan_tiles(config(memory=100_000), measured(), lambda line: None)


def test_noise_and_prior_are_those_of_the_whole_image() -> None:
    image = measured()
    plan = divided("identity", 88, image, noise=None, prior="tv")
    whole = tiles_plan.make_plan(config(noise=None, prior="tv"), image, lambda line: None)
    for tile in plan.division.tiles:
        problem = plan.plan_of(tile, plan.margin).problem
        assert problem.noise == whole.problem.noise
        assert problem.prior.weight == whole.problem.prior.weight


def test_each_tile_of_a_guided_prior_is_its_own_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles_plan, "MARGIN", 4)
    monkeypatch.setattr(tiles_plan, "GUIDE_MARGIN", 4)
    image = measured(side=64)
    image = with_pixels(image, image.pixels[..., :40])
    more = {"prior": "model:guided-gray", "noise": "0.06", "iterations": 6}
    found = divided("identity", 42, image, require_certificate=True, **more)
    assert found.margin == 8 and len(found.division.tiles) == 2
    result = solve_tiles(found)
    assert result.certificate.given is not None and result.certificate.given.what == "the guide"
    assert result.guide is not None and "each tile's own first result; the tiles are" in result.guide
    whole = solve_image(config(**more), image)
    assert whole.guide is not None
    for tile in result.tiles:
        assert tile.guide is not None and tile.guide.bounds == whole.guide.bounds
        assert tile.to_json()["guide"] == tile.guide.to_json()
    apart = np.asarray(result.image.pixels)[0, 0] - np.asarray(whole.image.pixels)[0, 0]
    assert np.sqrt(np.mean(apart**2)) < 2e-3
