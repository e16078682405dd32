import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from recon.errors import OutputError
from recon.io import ValueRange, read
from recon.report import RunFigure, solve_figure, volume_figure
from recon.report.figure import _detail, _draw_history, _limits, _scale_of
from recon.report.star_figure import _arcs
from recon.report.volume_figure import _middles

UNIT = ValueRange(0.0, 255.0)
TEXTS: dict[str, Any] = {"title": "a title", "value_range": UNIT, "certificate_sentence": "A sentence."}


def draw(
    path: Path, shape: tuple[int, ...] = (1, 1, 40, 60), truth: torch.Tensor | None = None, **changes: object
) -> None:
    image = torch.rand(shape)
    history = [(step, 0.5**step) for step in range(1, 20)]
    solve_figure(path, RunFigure(image, image, 0.1 * (image - 0.5), history, **(TEXTS | changes)), truth=truth)


@pytest.mark.parametrize("shape", [(40, 60), (1, 40, 60), (3, 40, 60), (5, 1, 40, 60), (1, 3, 40, 60), (1, 1, 4, 4)])
def test_grey_colour_stacks_and_tiny_images_are_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    draw(tmp_path / "a.png", shape)
    assert read(tmp_path / "a.png").width == 1500


def test_truth_sizes_that_differ_and_degenerate_histories_are_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", truth=torch.rand(1, 1, 40, 60), value_range=ValueRange(-1024, 3071, "HU"))
    small, constant = torch.rand(1, 1, 20, 30), torch.zeros(1, 1, 40, 60)
    for number, history in enumerate([[], [(1, 0.0)], [(1, float("nan"))], [(1, 0.1)], [(1, 0.1), (10, 0.0)]]):
        texts = TEXTS | {"title": "$x^2_", "certificate_sentence": "A $ sentence."}
        solve_figure(tmp_path / f"{number}.png", RunFigure(small, constant, small * 0, history, **texts))


@pytest.mark.parametrize(("history", "said"), [([(1, 0.0)], "0 at step 1"), ([(1, 0.1), (10, 0.0)], "0 at step 10")])
def test_a_residual_of_zero_has_no_place_on_the_axis_and_is_said(history: list[tuple[int, float]], said: str) -> None:
    axes = Figure().subplots()
    _draw_history(axes, history)
    assert [text.get_text() for text in axes.texts] == [said]
    if len(history) > 1:
        assert axes.get_xlim()[1] == 10


def test_frequencies_and_sinograms_are_drawn_on_their_own_scale(tmp_path: Path) -> None:
    image = torch.rand(1, 1, 40, 60)
    for number, y in enumerate([torch.fft.fft2(image), 50 * torch.rand(1, 1, 90, 20), torch.zeros_like(image) * 1j]):
        solve_figure(tmp_path / f"{number}.png", RunFigure(y, image, 0.01 * y, [(1, 0.1)], **TEXTS))
    assert _scale_of("measurement", np.linspace(0, 50, 99), (0.0, 1.0), False)[1] > 40
    assert _scale_of("measurement", np.linspace(0, 1.2, 99), (0.0, 1.0), False) == (0.0, 1.0)


def test_a_window_is_the_scale_of_measurement_and_result_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow as it is, it makes no measurement one of another kind; a sinogram stays one."""
    scales: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "recon.report.figure._draw_picture", lambda axes, picture, limits, name="": scales.append(limits)
    )
    image, hounsfield = (
        torch.rand(1, 1, 40, 60),
        {"value_range": ValueRange(-1000, 1000, "HU"), "window": (-100.0, 100.0)},
    )
    draw(tmp_path / "a.png", **hounsfield)
    assert scales == [pytest.approx((0.45, 0.55))] * 4
    scales.clear()
    run = RunFigure(50 * torch.rand(1, 1, 90, 20), image, image, [(1, 0.1)], **(TEXTS | hounsfield))
    solve_figure(tmp_path / "b.png", run)
    assert scales[0][1] > 40
    assert scales[1:] == [pytest.approx((0.45, 0.55))] * 2


@pytest.mark.parametrize("suffix", [".pdf", ".svg"])
def test_the_suffix_decides_the_format(tmp_path: Path, suffix: str) -> None:
    draw(tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").stat().st_size > 1000


def test_an_existing_figure_is_kept_and_an_unknown_format_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OutputError, match="the file exists"):
        draw(tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"'\.xyz' is no format of a figure; expected \.png"):
        draw(tmp_path / "a.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_one_grey_scale_for_all_grey_pictures() -> None:
    low, high = _limits([np.linspace(0, 1, 1001), np.linspace(1, 2, 1001)])
    assert low == pytest.approx(0.002, abs=1e-3)
    assert high == pytest.approx(1.998, abs=1e-3)
    assert _limits([np.zeros((3, 3))]) == (0.0, 1.0)


def test_the_detail_is_where_the_contrast_is_and_at_the_same_place_of_a_smaller_measurement() -> None:
    picture = np.zeros((80, 80))
    picture[40:56:2, 24:40] = 1.0
    rows, columns = _detail(picture, picture)
    assert rows.start <= 42
    assert rows.stop >= 54
    assert columns.start <= 26
    assert columns.stop >= 38
    small_rows, _ = _detail(np.zeros((40, 40)), picture)
    assert small_rows.start == pytest.approx(rows.start / 2, abs=1)


@pytest.mark.slow
def test_importing_the_report_does_not_import_matplotlib() -> None:
    heavy = "{'matplotlib', 'pydicom', 'tifffile'}"
    code = f"import sys, recon.report, recon.io; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shape", [(1, 1, 12, 20, 16), (6, 7, 9), (1, 1, 1, 4, 4)])
def test_a_volume_is_drawn_by_three_slices_at_right_angles(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume, views = torch.rand(shape), torch.rand(1, 1, 5, 8, 9)
    run = RunFigure(views, volume, views - 0.5, [(1, 1.0), (2, 0.1)], **TEXTS)
    volume_figure(tmp_path / "a.png", run, spacing=(2.5, 1, 1))
    assert read(tmp_path / "a.png").width == 1500


def test_the_slices_of_a_volume_stand_upright() -> None:
    volume = np.arange(2 * 4 * 6, dtype=float).reshape(2, 4, 6)
    level, front, side = _middles(volume, (3.0, 1.0, 1.0))
    assert np.array_equal(level[1], volume[1])
    assert np.array_equal(front[1], volume[[1, 0], 2])
    assert np.array_equal(side[1], volume[[1, 0], :, 3])
    assert [aspect for _, _, aspect in (level, front, side)] == [1.0, 3.0, 3.0]


def test_a_bound_is_an_arc_over_its_bar() -> None:
    angles, radii = _arcs(np.array([0.0, 1.0, 2.0]), np.array([3.0, np.nan, 5.0]), 0.5)
    for middle, radius in ((0.0, 3.0), (2.0, 5.0)):
        near = np.abs(angles - middle) <= 0.25 + 1e-9
        assert (radii[near] == radius).all()
        assert angles[near].min() == pytest.approx(middle - 0.25)
        assert angles[near].max() == pytest.approx(middle + 0.25)
    assert np.isnan(radii[np.abs(angles - 1.0) <= 0.25]).all()
    assert np.isnan(angles).sum() == 3  # no line from one to the next
