"""``recon solve --memory`` of images that are larger than the memory: tiles, their record, and what is refused."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from recon import io
from recon.reconstruction import report_large
from recon.report.page import pictures
from recon.specs.solve_config import config_from

Solve = Callable[..., str]
IDENTITY = ("--operator", "identity", "--noise", "0.05", "--prior", "tv:weight=0.4,smoothing=0.05")
ROOM = "1.2MiB"
"""Of images of 140 x 130 pixels without the program."""


@pytest.fixture
def solve(run, monkeypatch: pytest.MonkeyPatch) -> Solve:
    """``recon solve`` of a program that takes no memory, which ends with a code, and what it said."""
    from recon.reconstruction import memory  # noqa: PLC0415
    from recon.reconstruction.tiles import plan  # noqa: PLC0415

    monkeypatch.setattr(plan, "PROGRAM", 0)
    monkeypatch.setattr(plan, "_STRIP_BYTES", 0)
    monkeypatch.setattr(memory, "PROGRAM", 0)

    def call(*arguments: object, code: int = 0) -> str:
        done = run("solve", *arguments)
        assert done.code == code, done.err
        return done.out + done.err

    return call


def image(shape: tuple[int, int] = (140, 130), dtype: str = "u1") -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    clean = 90 + 40 * ((rows // 20 + columns // 30) % 2) + 8 * np.random.default_rng(0).standard_normal(shape)
    return (clean * (257 if dtype == "u2" else 1)).astype(dtype)


def tiff(path: Path, array: np.ndarray | None = None, **more: object) -> Path:
    tifffile.imwrite(path, image() if array is None else array, photometric="minisblack", **more)
    return path


def record(output: Path) -> dict:
    return json.loads(output.with_name(output.name + ".run.json").read_text())


def test_a_large_image_is_solved_in_tiles_and_says_so(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    said = solve(source, "-o", tmp_path / "t.tif", *IDENTITY, "--memory", ROOM)
    found = record(tmp_path / "t.tif")
    tiles = found["tiles"]
    assert len(tiles["runs"]) == tiles["rows"] * tiles["columns"] > 1
    assert found["status"] == "converged"
    assert found["plan"]["image_shape"] == [140, 130]
    assert found["config"]["memory"] == int(1.2 * 2**20)
    seams = tiles["seams"]
    assert seams["evidence"] == "measured"
    assert seams["within"] and 0 < seams["rms"] <= seams["largest"] <= seams["limit"] == 1e-3
    assert seams["largest_in_units"] == pytest.approx(255 * seams["largest"])
    assert "tiles differ by at most" in said and "measured" in said
    assert "tiles differ by at most" in found["certificate"]["tiles"]
    solve(source, "-o", tmp_path / "w.tif", *IDENTITY)
    tiled, whole = (tifffile.imread(tmp_path / name) for name in ("t.tif", "w.tif"))
    assert tiled.dtype == whole.dtype == np.uint8
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.tif", "t.tif", "t.tif.run.json", "w.tif", "w.tif.run.json",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_types_and_formats_are_those_of_the_untiled(solve: Solve, tmp_path: Path, dtype: str, suffix: str) -> None:
    source = tmp_path / "a.npy"
    np.save(source, image(dtype=dtype))
    more = ("--iterations", 5)
    solve(source, "-o", tmp_path / f"t{suffix}", *IDENTITY, *more, "--memory", ROOM)
    solve(source, "-o", tmp_path / f"w{suffix}", *IDENTITY, *more)
    load = np.load if suffix == ".npy" else tifffile.imread
    tiled, whole = load(tmp_path / f"t{suffix}"), load(tmp_path / f"w{suffix}")
    assert tiled.dtype == whole.dtype and tiled.shape == whole.shape
    assert np.abs(tiled.astype(float) - whole).max() <= 1e-3 * np.ptp(whole)
    assert record(tmp_path / f"t{suffix}")["plan"]["range"] == record(tmp_path / f"w{suffix}")["plan"]["range"]


@pytest.mark.parametrize(("option", "value"), [("--figure", "f.png"), ("--alarm", "auto")])
def test_what_needs_the_whole_image_in_memory_is_refused(solve: Solve, tmp_path: Path, option, value) -> None:
    source, output = tiff(tmp_path / "a.tif"), tmp_path / "t.tif"
    said = solve(source, "-o", output, *IDENTITY, "--memory", ROOM, option, value, code=2)
    assert f"{option} is {value} with an image that is solved in tiles" in said
    assert not output.exists()


def test_memory_that_suffices_changes_nothing(solve: Solve, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    solve(source, "-o", tmp_path / "t.tif", *IDENTITY, "--memory", "1GiB")
    solve(source, "-o", tmp_path / "w.tif", *IDENTITY)
    found = record(tmp_path / "t.tif")
    assert "tiles" not in found
    assert found["result_sha256"] == record(tmp_path / "w.tif")["result_sha256"]


def test_the_plan_says_tiles_margin_and_memory(solve: Solve, run, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    said = solve(source, *IDENTITY, "--memory", ROOM, "--dry-run")
    for word in ("tiles of", "margin", "MiB with the program", "The first tile", "would write: nothing"):
        assert word in said
    plan = json.loads(run("solve", source, *IDENTITY, "--memory", ROOM, "--dry-run", "--json").out)
    assert plan["tiles"]["memory_bytes"] <= plan["tiles"]["largest_memory_bytes"] <= 1.2 * 2**20
    assert plan["certificate"]["holds"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_tiles_that_did_not_converge_and_seams_that_stay_are_said(solve: Solve, tmp_path: Path, monkeypatch) -> None:
    from recon.reconstruction.tiles import plan, seams  # noqa: PLC0415

    monkeypatch.setattr(seams, "SEAM", -1.0)
    monkeypatch.setattr(plan, "DOUBLINGS", 0)
    source = tiff(tmp_path / "a.tif")
    said = solve(source, "-o", tmp_path / "t.tif", *IDENTITY, "--memory", ROOM, "--iterations", 9)
    assert "tiles ended as out of steps after 9 steps" in said
    assert "pairs of tiles differ by more than -1 of the range" in said
    found = record(tmp_path / "t.tif")
    assert found["status"] == "out of steps"
    assert found["tiles"]["seams"]["within"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*IDENTITY, "--memory", "1kB"), 2, "the program and the result take"),
        ((*IDENTITY, "--memory", "60kB"), 2, "a smaller tile is all margin"),
        ((*IDENTITY, "--memory", ROOM, "--figure", "f.png"), 2, "solved in tiles; expected --report"),
    ],
)
def test_what_tiles_cannot_do_is_refused(solve: Solve, folder: Path, arguments, code: int, said: str) -> None:
    source = tiff(folder / "a.tif")
    assert said in solve(source, "-o", "t.tif", *arguments, code=code)
    assert [path.name for path in folder.iterdir()] == ["a.tif"]


def test_a_format_that_is_not_written_in_strips_is_refused(solve: Solve, folder: Path) -> None:
    source = tiff(folder / "a.tif")
    assert "written in strips; expected .tif" in solve(source, "-o", "t.png", *IDENTITY, "--memory", ROOM, code=7)
    assert [path.name for path in folder.iterdir()] == ["a.tif"]


def test_a_scan_has_no_tiles(solve: Solve, folder: Path) -> None:
    Path("scan.toml").write_text(
        'kind = "parallel"\nangles = { start = 0, stop = 180, count = 20, endpoint = false }\n'
        "[detector]\npixels = 48\npitch = 1.0\n[volume]\npixels = [32, 32]\npitch = 1.0\n"
    )
    np.save("s.npy", np.ones((20, 48), np.float32))
    said = solve("s.npy", "-o", "t.npy", "--operator", "ct:scan.toml", "--memory", "1kB", code=2)
    assert "only single images of the operators identity, blur and downsample are solved in tiles" in said


def test_a_run_in_tiles_is_replayed_to_the_bit(solve: Solve, run, tmp_path: Path) -> None:
    source = tiff(tmp_path / "a.tif")
    solve(source, "-o", tmp_path / "t.tif", *IDENTITY, "--memory", ROOM)
    done = run("replay", tmp_path / "t.tif.run.json", "-o", tmp_path / "again.tif")
    assert done.code == 0, done.err
    assert "tiles, identical to the recorded result" in done.out
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), tifffile.imread(tmp_path / "t.tif"))
    changed = record(tmp_path / "t.tif")
    changed["config"]["iterations"] = 3
    (tmp_path / "t.tif.run.json").write_text(json.dumps(changed))
    done = run("replay", tmp_path / "t.tif.run.json")
    assert "not identical" in done.out


def test_the_page_of_a_run_in_tiles_has_the_whole_and_details(solve: Solve, run, folder: Path, monkeypatch) -> None:
    """The pictures are those of the files, averaged where they are larger than a page takes."""
    monkeypatch.setattr(pictures, "MAX_SIDE", 50)
    monkeypatch.setattr(report_large, "DETAIL", 24)
    source = tiff(folder / "a.tif")
    said = solve(source, "-o", "t.tif", *IDENTITY, "--memory", ROOM, "--report", "p.html", "--dry-run")
    assert "would write: t.tif, t.tif.run.json, p.html" in said
    solve(source, "-o", "t.tif", *IDENTITY, "--memory", ROOM, "--report", "p.html")
    data = re.search(r'<script id="pictures-data"[^>]*>(.*?)</script>', Path("p.html").read_text(), re.DOTALL)
    assert data is not None
    (group,) = json.loads(data[1])["groups"]
    assert [each["name"].partition(":")[0] for each in group["slices"]] == [
        "t.tif, the whole image, averages of 3 x 3 pixels", "t.tif, detail of most contrast",
        "t.tif, where two tiles differ most",
    ]  # fmt: skip
    assert {tuple(layer["name"] for layer in each["layers"]) for each in group["slices"]} == {
        ("before", "after", "residual")
    }
    result = tifffile.imread("t.tif").astype(float)
    row, column = record(folder / "t.tif")["tiles"]["seams"]["largest_at"]
    shown = report_large.pictures_of(folder / "t.tif", source, record(folder / "t.tif"), None, "", pytest.fail)
    whole, _, seam = (each.after.pixels[0, 0] for each in shown)
    np.testing.assert_allclose(whole[:46, :43], result[:138, :129].reshape(46, 3, 43, 3).mean((1, 3)), rtol=1e-6)
    top, left = min(max(row - 12, 0), 116), min(max(column - 12, 0), 106)
    np.testing.assert_array_equal(seam, result[top : top + 24, left : left + 24])
    again = run("report", "t.tif.run.json", "-o", "q.html")
    assert again.code == 0, again.err
    assert Path("q.html").read_text() == Path("p.html").read_text()
    Path("t.tif").write_bytes(Path("t.tif").read_bytes() + b"\0")
    altered = run("report", "t.tif.run.json", "-o", "r.html")
    assert "t.tif: the file was altered since the run" in altered.err
    Path("t.tif").unlink()
    assert "the result is not there any more" in run("report", "t.tif.run.json", "-o", "s.html").err


@pytest.mark.parametrize("operator", ["blur:gaussian=1.0,boundary=valid", "downsample:factor=2"])
def test_a_measurement_of_another_size_lies_where_the_result_does(operator: str, folder: Path) -> None:
    """Of a page in tiles the picture of before is that of a page without."""
    unit = 2 if operator.startswith("downsample") else 1
    shape = (40, 30) if unit == 2 else (72, 52)
    np.save("y.npy", np.random.default_rng(0).random(shape, np.float32))
    np.save("x.npy", np.random.default_rng(1).random((80, 60), np.float32))
    config, whole, part_of_it = config_from({"operator": operator}), io.read(Path("x.npy")), io.read(Path("y.npy"))
    placed = report_large._measured(Path("y.npy"), config, whole, pytest.fail)
    assert placed is not None
    y = np.load("y.npy").repeat(unit, 0).repeat(unit, 1)
    expected = np.pad(y, [(4, 4), (4, 4)] if unit == 1 else 0, constant_values=np.nan)
    for rows, columns in ((range(80), range(60)), (range(3), range(5, 9)), (range(2, 31), range(0, 60))):
        part = placed.part(0, rows, columns)[0]
        np.testing.assert_array_equal(part, expected[rows.start : rows.stop, columns.start : columns.stop])
    said: list[str] = []
    assert report_large._measured(Path("x.npy"), config, part_of_it, said.append) is None
    size = "72 x 52" if unit == 1 else "40 x 30"
    assert said == [f"80 x 60 pixels do not fit onto the {size} pixels of the result."]


def remarks(page: str) -> list[str]:
    return re.findall(r"The measurement is not shown: [^<]*", page)


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    "fault",
    [
        (damaged, "a.tif: its pixels lie beyond the end of the file"),
        (lambda path: path.write_text("no image"), "a.tif: the content is none of these"),
        (lambda path: tiff(path, image((150, 130))), "150 x 130 pixels do not fit onto the 140 x 130 pixels"),
        (lambda path: tiff(path, image()[None].repeat(2, 0)), "2 frames of 140 x 130 pixels do not"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_measurement_that_cannot_be_read_does_not_hide_the_result(
    solve: Solve, run, folder: Path, fault, hidden: bool
) -> None:
    """The page of a run in tiles blames the file that is at fault, and shows the result."""
    source, (spoil, said) = tiff(folder / "a.tif"), fault
    solve(source, "-o", "t.tif", *IDENTITY, "--memory", ROOM, "--iterations", "5")
    spoil(source)
    known = record(folder / "t.tif")
    known["inputs"][0] |= {"sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "bytes": source.stat().st_size}
    if hidden:
        known["inputs"][0].pop("path")
    Path("t.tif.run.json").write_text(json.dumps(known))
    done = run("report", "t.tif.run.json", "-o", "p.html", "--inputs", str(source))
    assert (done.code, done.err) == (0, "")
    page = Path("p.html").read_text()
    assert '"name":"after"' in page.replace(" ", "")
    assert "the result" not in done.out
    assert f"The measurement is not shown: {said.removeprefix('a.tif: ') if hidden else said}" in page, remarks(page)
    assert ("a.tif" in page) is (not hidden)


@pytest.mark.slow
def test_the_memory_is_as_predicted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.tile(image((300, 260), "f4") / 255, (2, 2)))
    asked = ("--operator", "identity", "--noise", "0.05", "--memory", "1128MiB", "--iterations", "2")
    call = (sys.executable, "-c", "from recon.cli.main import main; main()", "solve", "a.npy", "-o", "t.npy", *asked)
    subprocess.run(call, cwd=tmp_path, check=True, capture_output=True)
    found = record(tmp_path / "t.npy")
    # pages of libraries in the file cache count as resident, and differ by 0.25 GB with the state of that cache
    assert found["peak_bytes"] <= 1.2 * found["config"]["memory"]
    assert found["peak_bytes"] == pytest.approx(found["tiles"]["memory_bytes"], rel=0.25)
