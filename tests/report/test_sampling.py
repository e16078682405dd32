"""Pictures in figures: areas are averaged, in each panel alike, and no thin line is lost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from recon.io import ValueRange
from recon.report import RunFigure, image_sheet, solve_figure, volume_figure
from recon.report._sampling import averaged

TEXTS = {"title": "t", "value_range": ValueRange(0.0, 1.0), "certificate_sentence": "s"}
HISTORY = [(1, 0.5), (2, 0.1)]
BORDER = 4
"""Pixels of the frame around a panel."""


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[np.ndarray]]:
    """The pixels of each panel with a picture, as they are in the file, without its frame."""
    figures: list[Figure] = []
    plain = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), plain(self, *a, **k)))

    def draw(make: Callable[[Path], object]) -> list[np.ndarray]:
        make(tmp_path / "figure.png")
        pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB"), float)
        found = []
        for axes in figures[-1].axes:
            if axes.images:
                box = axes.get_window_extent()
                assert (np.abs(box.get_points() - box.get_points().round()) < 1e-6).all()
                left, right = round(box.x0) + BORDER, round(box.x1) - BORDER
                top, bottom = len(pixels) - round(box.y1) + BORDER, len(pixels) - round(box.y0) - BORDER
                found.append(pixels[top:bottom, left:right])
        return found

    return draw


def lines(height: int, width: int, every: int = 40) -> torch.Tensor:
    """Lines of one pixel, brightness 1 on 0."""
    image = torch.zeros(1, 1, height, width)
    image[..., every // 2 :: every, :] = 1
    image[..., every // 2 :: every] = 1
    return image


def contrasts(profile: np.ndarray, count: int, every: int, length: int) -> list[float]:
    """What each of the lines adds to a profile across them, summed over its neighbourhood."""
    scale, ground = (len(profile) + 2 * BORDER) / length, float(np.median(profile))
    middles = [(every // 2 + 0.5 + every * number) * scale - BORDER for number in range(count)]
    half = max(3, int(0.3 * every * scale))
    inside = [middle for middle in middles if half < middle < len(profile) - half]
    return [float((profile[round(m) - half : round(m) + half] - ground).sum()) for m in inside]


@pytest.mark.parametrize("shape", [(300, 300), (517, 517), (1000, 1000), (1777, 1300), (900, 1400)])
def test_lines_of_one_pixel_survive_in_every_panel_with_equal_contrast(panels, shape) -> None:
    image = lines(*shape)
    shown = panels(
        lambda path: solve_figure(
            path, RunFigure(image, image.clone(), image - 0.5, HISTORY, **TEXTS), truth=image.clone()
        )
    )
    assert len(shown) == 7
    whole, details = shown[:3], shown[4:]  # the residual is between
    for alike in (whole, details):
        assert all(np.array_equal(panel, alike[0]) for panel in alike)
    profile = np.median(whole[0].mean(2), axis=0)  # the lines that run across are in few rows
    seen = contrasts(profile, shape[1] // 40, 40, shape[1])
    assert len(seen) > 5
    expected = 255 * (len(profile) + 2 * BORDER) / shape[1]  # one pixel of the picture, in pixels of the figure
    assert seen == pytest.approx([expected] * len(seen), rel=0.06)


@pytest.mark.parametrize("size", [460, 512, 613])
def test_pictures_that_are_a_little_too_large_are_drawn_one_to_one(panels, size: int) -> None:
    """So that noise shows no pattern: averages over 1.1 pixels have another deviation here than there."""
    noise = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    shown = panels(lambda path: solve_figure(path, RunFigure(noise, noise.clone(), noise, HISTORY, **TEXTS)))
    assert {panel.shape for panel in (*shown[:3],)} == {(size - 2 * BORDER, size - 2 * BORDER, 3)}
    low, high = np.percentile(noise, (0.1, 99.9))
    expected = 255 * ((noise[0, 0].numpy() - low) / (high - low)).clip(0, 1)[BORDER:-BORDER, BORDER:-BORDER]
    away = np.abs(shown[1][..., 0] - expected)
    assert np.median(away) < 1
    assert (away > 3).mean() < 0.1  # where the detail is framed


def test_a_sampled_line_would_be_lost(panels) -> None:
    """Of every third pixel, as nearest neighbour takes them, two lines in three have no contrast."""
    profile = lines(1000, 1000)[0, 0, 0, ::3].numpy() * 255
    assert min(contrasts(np.asarray(profile[BORDER:-BORDER]), 25, 40, 1000)) == 0


@pytest.mark.slow
def test_colours_sheets_and_volumes_are_drawn_alike(panels) -> None:
    colour = lines(700, 700).expand(1, 3, 700, 700)
    shown = panels(lambda path: solve_figure(path, RunFigure(colour, colour.clone(), colour - 0.5, HISTORY, **TEXTS)))
    assert np.array_equal(shown[0], shown[1])
    page = lines(700, 700)[0, 0].numpy()
    sheet = panels(lambda path: image_sheet([[("a", page), ("b", page), ("c", page)]] * 2, path))
    assert all(np.array_equal(panel, sheet[0]) for panel in sheet)
    assert len(set(np.round(contrasts(np.median(sheet[0].mean(2), axis=0), 17, 40, 700)))) <= 8
    volume = torch.zeros(1, 1, 40, 600, 600)
    volume[..., 300] = 1
    run = RunFigure(colour[:, :1], volume, colour[:, :1] * 0, HISTORY, **TEXTS)
    front, across, _, view, *_ = panels(lambda path: volume_figure(path, run, overwrite=True))
    assert np.median(front.mean(2), axis=0).max() > 50
    assert np.median(across.mean(2), axis=0).max() > 50
    assert len(contrasts(np.median(view.mean(2), axis=0), 17, 40, 700)) > 5


def test_the_caption_says_how_many_pixels_are_averaged(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    plain = Figure.savefig

    def save(self, *arguments, **options) -> None:
        said.append(self._supxlabel.get_text())
        plain(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    for size in (60, 1400):
        image = lines(size, size)
        solve_figure(tmp_path / f"{size}.png", RunFigure(image, image, image, HISTORY, **TEXTS))
    assert "averages" not in said[0]
    assert "Panels show averages of up to 3." in said[1]


@pytest.mark.parametrize(("rows", "columns"), [(7, 5), (3, 11), (20, 31), (53, 40), (13, 9), (1, 1)])
def test_means_over_areas(rows: int, columns: int) -> None:
    """Against overlaps counted in a common refinement; means stay, and constants."""
    picture = np.random.default_rng(0).random((13, 9, 3))
    found = averaged(picture, rows, columns)
    fine = picture.repeat(rows, 0).repeat(columns, 1)
    expected = fine.reshape(rows, 13, columns, 9, 3).mean((1, 3))
    assert found == pytest.approx(expected, abs=1e-13)
    assert averaged(picture[..., 0], rows, columns) == pytest.approx(found[..., 0], abs=1e-13)
    assert averaged(np.full((13, 9), 0.7), rows, columns) == pytest.approx(np.full((rows, columns), 0.7), abs=1e-13)
