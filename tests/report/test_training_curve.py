"""The curve of a training: a dot where the validation was looked at, and none where nothing is to be marked."""

import math

import pytest
from skimage.io import imread

from recon.report import training_curve
from recon.report._style import ACCENT

CURVE = [(step, 1 + 0.01 * math.sin(step)) for step in range(1, 60)]


def marked(path):
    """How many pixels have the colour of the dots."""
    wanted = [int(ACCENT[at : at + 2], 16) for at in (1, 3, 5)]
    return int((imread(path)[..., :3] == wanted).all(-1).sum())


@pytest.mark.parametrize(("dots", "drawn"), [({}, False), ({"a": []}, False), ({"a": [(9, math.nan)]}, False),
                                             ({"a": [(9, 1.0), (30, math.nan)]}, True)])  # fmt: skip
def test_dots_are_drawn_where_they_are_known(tmp_path, dots, drawn):
    training_curve({"a": CURVE}, tmp_path / "plain.png")
    training_curve({"a": CURVE}, tmp_path / "dots.png", dots)
    assert marked(tmp_path / "plain.png") == 0
    assert (marked(tmp_path / "dots.png") > 0) == drawn
    assert drawn or (tmp_path / "plain.png").read_bytes() == (tmp_path / "dots.png").read_bytes()
