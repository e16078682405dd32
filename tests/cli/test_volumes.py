"""``recon solve --volume``: stacks, series, scans and stores as one problem, and what is refused of them."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import heaps
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.data import get_testdata_file

Solve = Callable[..., str]
IDENTITY = ("--operator", "identity", "--volume", "--prior", "tv:weight=0.05")


def stack(shape=(5, 14, 12), seed=0) -> np.ndarray:
    clean = np.full(shape, 60.0)
    clean[1:4, 3:10, 2:8] = 150
    return np.clip(clean + 15 * np.random.default_rng(seed).standard_normal(shape), 0, 255).astype(np.uint8)


def tiff(path: Path, array=None, **more) -> Path:
    tifffile.imwrite(path, stack() if array is None else array, photometric="minisblack", **more)
    return path


def record(output: Path) -> dict:
    return json.loads(output.with_name(output.name + ".run.json").read_text())


def test_a_stack_is_one_problem_and_its_slices_one_by_one_are_others(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    said = solve(source, "-o", tmp_path / "v.tif", *IDENTITY)
    assert "distance of the slices is not stated" in said
    found = record(tmp_path / "v.tif")
    assert found["plan"]["method"] == "chambolle_pock"
    assert found["plan"]["image_shape"] == [5, 14, 12]
    assert len(found["frames"]) == 1
    assert found["distance"]["evidence"] == "proved"
    solve(source, "-o", tmp_path / "s.tif", *IDENTITY[:2], *IDENTITY[3:])
    together, alone = (tifffile.imread(tmp_path / name) for name in ("v.tif", "s.tif"))
    assert together.dtype == np.uint8
    assert not np.array_equal(together, alone)


def test_slices_that_are_far_apart_are_as_one_by_one(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    tight = ("--tolerance", "1e-3", "--iterations", "4000")
    solve(source, "-o", tmp_path / "v.tif", *IDENTITY, "--slice-distance", "1e7", *tight)
    solve(source, "-o", tmp_path / "s.tif", *IDENTITY[:2], *IDENTITY[3:], *tight)
    together, alone = (tifffile.imread(tmp_path / name).astype(float) for name in ("v.tif", "s.tif"))
    assert np.abs(together - alone).max() <= 1


def test_it_is_replayed_and_its_memory_changes_nothing(solve: Solve, run, tmp_path: Path, monkeypatch) -> None:
    source = tiff(tmp_path / "a.tif", stack((20, 14, 12)))
    solve(source, "-o", tmp_path / "v.tif", *IDENTITY)
    done = run("replay", str(tmp_path / "v.tif.run.json"))
    assert done.code == 0, done.err
    assert "identical" in done.out + done.err
    monkeypatch.setattr("recon.reconstruction.memory.PROGRAM", 0)
    room = 20 * 14 * 12 * (1 + 4 + 4) + 12 * 5 * 4 * 14 * 12
    solve(source, "-o", tmp_path / "f.tif", *IDENTITY, "--memory", room)
    assert record(tmp_path / "f.tif")["result_sha256"] == record(tmp_path / "v.tif")["result_sha256"]
    assert len(list(tmp_path.iterdir())) == 5


def test_memory_that_is_too_small_is_refused(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    done = solve(source, "-o", tmp_path / "v.tif", *IDENTITY, "--memory", "1MiB", code=2)
    assert "memory is" in done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif"]


def test_memory_that_a_method_without_a_file_exceeds_is_refused(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    blur = ("--operator", "blur:gaussian=0.5", "--volume", "--prior", "tv:weight=0.02")
    assert "condat_vu takes about" in solve(source, "-o", tmp_path / "v.tif", *blur, "--memory", "1MiB", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--memory", "much"),
        ("--memory", "-1"),
        ("--slice-distance", "0"),
        ("--slice-distance", "nan"),
        ("--guide", "a.tif"),
    ],
)
def test_options_that_make_no_sense_are_refused(solve: Solve, tmp_path: Path, wrong) -> None:
    solve(tiff(tmp_path / "a.tif"), "-o", tmp_path / "v.tif", *IDENTITY, *wrong, code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif"]


def test_a_distance_without_a_volume_is_refused(solve: Solve, tmp_path: Path) -> None:
    solve(tiff(tmp_path / "a.tif"), "-o", tmp_path / "v.tif", "--operator", "identity", "--slice-distance", "2", code=2)


def test_times_alone_are_no_volume(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif", imagej=True, metadata={"axes": "TYX"})
    done = solve(source, "-o", tmp_path / "v.tif", *IDENTITY, code=4)
    assert "5 frames of the input are times" in done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif"]


def test_each_time_and_channel_is_a_volume_of_one_file(solve: Solve, tmp_path: Path) -> None:
    array = np.stack([stack(seed=seed) for seed in range(4)]).reshape(2, 2, 5, 14, 12).swapaxes(1, 2)  # t, z, c
    metadata = {"axes": "TZCYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "PhysicalSizeZ": 2.0}
    source = tmp_path / "a.ome.tif"
    tifffile.imwrite(source, array, ome=True, metadata=metadata)
    solve(source, "-o", tmp_path / "v.ome.tif", *IDENTITY)
    found = record(tmp_path / "v.ome.tif")
    assert len(found["frames"]) == 4
    assert found["plan"]["slice_distance"] == pytest.approx(2)
    with tifffile.TiffFile(tmp_path / "v.ome.tif") as opened:
        assert opened.series[0].axes == "TZCYX"
        together = opened.asarray()
    for time in range(2):
        for channel in range(2):
            alone = tiff(tmp_path / "one.tif", np.ascontiguousarray(array[time, :, channel]))
            solve(alone, "-o", tmp_path / "o.tif", *IDENTITY, "--slice-distance", "2", "--overwrite")
            np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), together[time, :, channel])


@pytest.mark.parametrize("operator", ["blur:gaussian=0.5", "downsample:factor=2"])
def test_other_operators_measure_each_slice(solve: Solve, tmp_path: Path, operator: str) -> None:
    source = tiff(tmp_path / "a.tif", stack((3, 24, 24)))
    solve(source, "-o", tmp_path / "v.tif", "--operator", operator, "--volume", "--prior", "tv:weight=0.02")
    found = record(tmp_path / "v.tif")
    assert found["plan"]["method"] == "condat_vu"
    assert found["plan"]["image_shape"][0] == 3
    assert len(found["frames"]) == 1


def test_a_planar_scan_of_slices_is_one_volume(solve: Solve, run, tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(
        'kind = "parallel"\nangles = { start = 0, stop = 180, count = 12, endpoint = false }\n'
        "[detector]\npixels = 24\npitch = 1.0\n[volume]\npixels = [16, 16]\npitch = 1.0\n"
    )
    tifffile.imwrite(
        tmp_path / "x.tif",
        np.pad(np.ones((3, 8, 8), np.float32), ((0, 0), (4, 4), (4, 4))) * 0.02,
        photometric="minisblack",
    )
    operator = f"ct:{tmp_path / 'g.toml'}"
    arguments = ["simulate", tmp_path / "x.tif", "-o", tmp_path / "y.npy", "--operator", operator, "--noise", "0.01"]
    done = run(*arguments)
    assert done.code == 0, done.err
    solve(tmp_path / "y.npy", "-o", tmp_path / "v.npy", "--operator", operator, "--volume", "--prior", "tv:low=0")
    found = record(tmp_path / "v.npy")
    assert found["plan"]["image_shape"] == [3, 16, 16]
    assert len(found["frames"]) == 1
    assert np.load(tmp_path / "v.npy").shape == (3, 16, 16)


def test_a_prior_of_images_is_said_to_couple_nothing(solve: Solve, tmp_path: Path) -> None:
    done = solve(tiff(tmp_path / "a.tif"), "-o", tmp_path / "v.tif", *IDENTITY[:3], "--prior", "wavelet:weight=0.05")
    assert "nothing couples the slices" in done


def test_a_figure_and_a_plan_know_of_volumes(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    solve(source, "-o", tmp_path / "v.tif", *IDENTITY, "--figure", tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 1000
    plan = solve(source, "--dry-run", *IDENTITY)
    assert "5 slices, 1 pixels of a slice apart" in plan


def series(folder: Path, count=4, gap=2.5, skip=(), twice=()) -> Path:
    """A CT series out of one small slice."""
    folder.mkdir()
    for number in range(count):
        if number in skip:
            continue
        data = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        noise = np.random.default_rng(number).integers(-20, 20, data.pixel_array.shape)
        data.PixelData = (data.pixel_array + noise).astype(np.int16).tobytes()
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        data.ImagePositionPatient = [0, 0, gap * number]
        data.InstanceNumber = number + 1
        data.save_as(folder / f"{number}.dcm")
        if number in twice:
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.4.{number + 1}"
            data.save_as(folder / f"{number}_again.dcm")
    return folder


def test_a_series_is_one_volume_and_goes_on_after_a_kill(solve: Solve, run, tmp_path: Path) -> None:
    source = series(tmp_path / "in")
    solve(source, "-o", tmp_path / "out", *IDENTITY)
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    written = {path.name: path.read_bytes() for path in folder.glob("*.dcm")}
    assert len(written) == 4
    found = record(folder / "0002.dcm")
    assert found["volume"]["slices"] == 4
    assert found["volume"]["slice"] == 2
    assert found["plan"]["image_shape"] == [4, 128, 128]
    assert found["plan"]["slice_distance"] == pytest.approx(2.5 / 0.661468)
    heads = [pydicom.dcmread(folder / name) for name in sorted(written)]
    assert [float(head.ImagePositionPatient[2]) for head in heads] == [0, 2.5, 5, 7.5]
    assert len({head.SeriesInstanceUID for head in heads}) == 1
    assert len({head.SOPInstanceUID for head in heads}) == 4
    for name in ("0003.dcm", "0003.dcm.run.json"):
        (folder / name).unlink()
    again = solve(source, "-o", tmp_path / "out", *IDENTITY)
    assert "3 done before, 1 converged" in again
    now = pydicom.dcmread(folder / "0003.dcm")
    np.testing.assert_array_equal(now.pixel_array, heads[2].pixel_array)
    assert now.SOPInstanceUID == heads[2].SOPInstanceUID
    done = run("replay", str(folder / "0002.dcm.run.json"), str(source))
    assert done.code == 2
    assert "slice of a volume" in done.err


@pytest.mark.parametrize(
    ("series", "said"),
    [
        (([0, 5, 10, 20, 25], None, 0.0), "mm apart"),
        (([0, 5, 11, 16], None, 0.0), "5 mm|mm apart"),
        (([0, 5, 10], None, 0.2), "tilted by 11.3 degrees against their normal; expected none"),
        (([None, None, None], None, 0.0), "where they are"),
    ],
)
def test_why_a_series_is_no_volume_is_said_once(run, tmp_path: Path, series, said: str) -> None:
    heaps.save(heaps.slices(heaps.ct(), *series), tmp_path / "in")
    done = run("solve", tmp_path / "in", "-o", tmp_path / "out", *IDENTITY)
    assert done.code == 4
    told = [line for line in done.err.splitlines() if re.search(said, line.replace(", 5 mm apart", ""))]
    assert len(told) == 1, done.err
    assert "1 of 1 series is no volume: " in told[0]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_the_device_is_said_once(solve: Solve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more) -> None:
    import torch  # noqa: PLC0415

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    heaps.save([*heaps.slices(heaps.ct(), [0, 5]), *heaps.slices(heaps.mr(), [0, 5])], tmp_path / "in")
    for together in (("--volume",), ()):
        said = solve(tmp_path / "in", "-o", tmp_path / f"out{len(together)}", *IDENTITY[:2], *together, *more)
        assert said.count("no CUDA device") == 1, said


def test_a_slice_that_is_added_makes_another_volume(solve: Solve, tmp_path: Path) -> None:
    source = series(tmp_path / "in")
    solve(source, "-o", tmp_path / "out", *IDENTITY)
    shutil.copy(source / "3.dcm", tmp_path / "new.dcm")
    more = pydicom.dcmread(tmp_path / "new.dcm")
    more.SOPInstanceUID = more.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    more.ImagePositionPatient, more.InstanceNumber = [0, 0, 10], 5
    more.save_as(source / "4.dcm")
    solve(source, "-o", tmp_path / "out", *IDENTITY, code=7)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"skip": (1,)}, "apart"),
        ({"twice": (1,)}, "where another one is|apart"),
    ],
)
def test_gaps_and_slices_that_are_there_twice_are_refused(solve: Solve, tmp_path: Path, made, said) -> None:
    done = solve(series(tmp_path / "in", count=5, **made), "-o", tmp_path / "out", *IDENTITY, code=4)
    assert any(part in done for part in said.split("|"))
    assert not (tmp_path / "out").exists()


def test_a_nifti_volume_keeps_its_header_and_a_doubtful_one_is_refused(solve: Solve, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    affine = np.diag([-0.5, 0.5, 2.0, 1.0])
    image = nibabel.Nifti1Image(stack().transpose(2, 1, 0).astype(np.int16), affine)
    image.set_qform(affine, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    solve(tmp_path / "a.nii.gz", "-o", tmp_path / "v.nii.gz", *IDENTITY)
    assert record(tmp_path / "v.nii.gz")["plan"]["slice_distance"] == pytest.approx(4)
    found = nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(found.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "b.nii")
    before = sorted(tmp_path.iterdir())
    assert "no orientation" in solve(tmp_path / "b.nii", "-o", tmp_path / "w.nii", *IDENTITY, code=3)
    assert sorted(tmp_path.iterdir()) == before


def test_a_store_is_solved_and_replayed(solve: Solve, run, tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "PhysicalSizeZ": 3.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack(), ome=True, metadata=metadata)
    solve(tmp_path / "a.ome.tif", "-o", tmp_path / "b.zarr", *IDENTITY)
    solve(tmp_path / "b.zarr", "-o", tmp_path / "c.zarr", *IDENTITY)
    assert record(tmp_path / "c.zarr")["plan"]["slice_distance"] == pytest.approx(3)
    done = run("replay", str(tmp_path / "c.zarr.run.json"))
    assert done.code == 0, done.err
    chunk = next(
        child for child in sorted((tmp_path / "b.zarr" / "0").rglob("*")) if child.is_file() and child.name.isdigit()
    )
    chunk.unlink()
    before = sorted(tmp_path.iterdir())
    assert "missing" in solve(tmp_path / "b.zarr", "-o", tmp_path / "d.zarr", *IDENTITY, code=3)
    assert sorted(tmp_path.iterdir()) == before
