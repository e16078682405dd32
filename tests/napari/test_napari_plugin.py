"""The napari plugin: its pixels, place and verdict without napari, and its widget where napari is there."""

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import recon
from recon.errors import UsageError
from recon.napari.restoration import Request, Restored, place, restore
from recon.napari.widget import followed, layer_of, restore_widget

TV = Request(prior="tv:weight=0.05", noise="0.05", iterations=40)


def planes(shape: tuple[int, ...], dtype: str = "f4") -> np.ndarray:
    values = 0.4 + 0.2 * (np.indices(shape)[-1] > 8) + 0.05 * np.random.default_rng(0).standard_normal(shape)
    return (values * (255 if dtype == "u1" else 1)).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_every_plane_is_restored_as_alone(dtype: str) -> None:
    data = planes((2, 3, 20, 18), dtype)
    found = restore(data, TV)
    assert (found.data.shape, found.data.dtype) == (data.shape, data.dtype)
    alone = recon.reconstruct(data[1, 2], "identity", "tv:weight=0.05", noise=0.05, iterations=40)
    np.testing.assert_allclose(found.data[1, 2], alone.image, atol=1 if dtype == "u1" else 2e-3)
    assert not np.array_equal(found.data, data)


def test_colours_and_their_opacity_are_kept() -> None:
    data = planes((20, 18, 4), "u1")
    found = restore(data, TV, rgb=True)
    assert found.data.shape == data.shape
    assert np.array_equal(found.data[..., 3], data[..., 3])


def test_the_verdict_is_in_the_metadata() -> None:
    found = restore(planes((20, 18)), TV)
    known = found.metadata["recon"]
    assert known["certificate"]["holds"] is True
    assert known["verdict"] == found.verdict and "Proved" in found.verdict
    assert known["steps"] >= 1


@pytest.mark.parametrize(
    ("data", "rgb"), [(np.zeros(5), False), (np.zeros((9, 9, 2)), True), (np.ones((9, 9), bool), False)]
)
def test_what_is_no_image_is_refused(data: np.ndarray, rgb: bool) -> None:
    with pytest.raises(UsageError, match="The layer h"):
        restore(data, TV, rgb)


def test_a_result_covers_the_field_of_its_measurement() -> None:
    assert place((3.0, 2.0, 1.0), (0, 10, 20), (8, 9), (8, 9)) == ((3.0, 2.0, 1.0), (0.0, 10.0, 20.0))
    scale, translate = place((2.0, 1.0), (10, 20), (8, 9), (16, 18))
    assert scale == (1.0, 0.5)
    assert [t - s / 2 for t, s in zip(translate, scale, strict=True)] == [10 - 1, 20 - 0.5]
    assert place((2.0, 1.0), (10, 20), (8, 9), (12, 13)) == ((2.0, 1.0), (6.0, 18.0))


def test_a_run_is_followed_and_ended() -> None:
    seen = list(followed(lambda watch: restore(planes((20, 18)), TV, progress=watch), threading.Event()))
    assert isinstance(seen[-1], Restored)
    assert all(budget == 40 for _, budget, _ in seen[:-1]) and len(seen) > 1
    stop = threading.Event()
    stop.set()
    with pytest.raises(RuntimeError, match="was ended"):
        list(followed(lambda watch: restore(planes((20, 18)), TV, progress=watch), stop))
    with pytest.raises(UsageError):
        list(followed(lambda watch: restore(np.zeros(3), TV, progress=watch), threading.Event()))


def test_the_new_layer_lies_where_the_measured_one_does() -> None:
    layer = SimpleNamespace(
        data=planes((20, 18)), multiscale=False, rgb=False, scale=(0.5, 0.25), translate=(3.0, 4.0), name="cells",
        metadata={"own": 1}, colormap=SimpleNamespace(name="green"), contrast_limits=[0, 1], rotate=np.eye(2),
    )  # fmt: skip
    pixels, attributes = layer_of(layer, restore(layer.data, TV))
    assert pixels.shape == (20, 18)
    assert (attributes["scale"], attributes["translate"]) == ((0.5, 0.25), (3.0, 4.0))
    assert (attributes["name"], attributes["colormap"]) == ("cells restored", "green")
    assert attributes["metadata"]["own"] == 1 and "verdict" in attributes["metadata"]["recon"]


def test_the_manifest_names_what_is_there() -> None:
    text = (Path(recon.__file__).parent / "napari" / "napari.yaml").read_text()
    assert "python_name: recon.napari.widget:restore_widget" in text
    assert callable(restore_widget)


def in_napari(script: str) -> None:
    """Run a script with napari, whose own imports warn, without a screen."""
    if importlib.util.find_spec("napari") is None or importlib.util.find_spec("magicgui") is None:
        pytest.skip("the extra napari is not installed")
    if not any(importlib.util.find_spec(binding) for binding in ("PyQt6", "PySide6", "PyQt5")):
        pytest.skip("no Qt binding is installed")
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_npe2_takes_the_manifest() -> None:
    in_napari(
        "from pathlib import Path; import recon; from npe2 import PluginManifest\n"
        "found = PluginManifest.from_file(Path(recon.__file__).parent / 'napari' / 'napari.yaml')\n"
        "found.validate_imports()\n"
        "assert found.contributions.widgets[0].display_name == 'Restore'\n"
    )


@pytest.mark.slow
def test_the_widget_restores_a_layer() -> None:
    in_napari(
        """
import time
import numpy as np
from napari.components import ViewerModel
from napari.qt import get_qapp
from recon.napari.widget import restore_widget

app, viewer = get_qapp(), ViewerModel()
data = 0.5 + 0.05 * np.random.default_rng(0).standard_normal((20, 18)).astype("f4")
viewer.add_image(data, scale=(0.5, 0.25), translate=(3, 4), name="cells", colormap="green")
widget = restore_widget()
assert [field.name for field in widget][1:6] == ["layer", "operator", "prior", "noise", "iterations"]
worker = widget._function(viewer, viewer.layers[0], "identity", "tv:weight=0.05", "0.05", 40)
until = time.monotonic() + 100
while len(viewer.layers) == 1 and time.monotonic() < until:
    app.processEvents()
found = viewer.layers[1]
assert found.name == "cells restored" and found.colormap.name == "green"
assert tuple(found.scale) == (0.5, 0.25) and tuple(found.translate) == (3, 4)
assert "Proved" in found.metadata["recon"]["verdict"]
assert not np.array_equal(found.data, data)
"""
    )
