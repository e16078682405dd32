"""The distributions: what is in them, and that the wheel works where there is no checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_packages_are_the_folders() -> None:
    listed = set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(REPOSITORY) for path in (REPOSITORY / "recon").rglob("__init__.py")}
    assert listed == {".".join(folder.parts) for folder in folders} | {"recon.cli", "recon.models"}


def test_the_lowest_releases_are_those_that_pyproject_admits() -> None:
    """Of each dependency the first release that its bound admits."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    bounds = dict(map(_lowest, project["dependencies"]))
    lines = (REPOSITORY / "tests" / "lowest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins.keys() >= bounds.keys()
    for name, bound in bounds.items():
        assert f"{pins[name]}.".startswith(f"{bound}."), (name, pins[name], bound)
    assert project["requires-python"] == ">=3.11"
    assert "on Python 3.11" in lines[0]


def _lowest(requirement: str) -> tuple[str, str]:
    """The name and the lower bound of a requirement such as ``deepinv>=0.5,<0.6``."""
    name, _, rest = requirement.partition(">=")
    return name, rest.partition(",")[0]


def test_make_bench_runs_every_comparison_with_peers() -> None:
    (listed,) = (line for line in (REPOSITORY / "Makefile").read_text().splitlines() if line.startswith("BENCHMARKS"))
    folder = REPOSITORY / "tests" / "benchmarks"
    comparisons = {path.stem for path in folder.glob("*.py") if "from timing import" in path.read_text()}
    named = set(listed.partition(":=")[2].split())
    assert comparisons <= named
    assert all((folder / f"{name}.py").is_file() for name in named)


def _copy(source: Path) -> Path:
    for folder in ("recon", "cli", "models"):
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(REPOSITORY / file, source / file)
    (source / "tests").mkdir()
    shutil.copy(__file__, source / "tests")
    return source


def _networks(names: list[str]) -> set[str]:
    """The networks whose weights are among files."""
    return {Path(name).parent.name for name in names if name.endswith("/weights.safetensors")}


@pytest.mark.slow
def test_the_wheel_works_outside_of_the_checkout(tmp_path: Path) -> None:
    """Built of the source distribution, which a part of the tests would only pretend to test."""
    source = _copy(tmp_path / "source")  # setuptools leaves a folder in its source that spoils the next wheel
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (sources,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    packaged = {path.parent.name for path in (REPOSITORY / "models").glob("*/weights.safetensors")}
    with tarfile.open(sources) as archive:
        names = archive.getnames()
    assert _networks(names) == packaged
    second = {name.split("/")[1] for name in names if "/" in name}
    assert "tests" not in second
    assert {"CHANGELOG.md", "LICENSE"} <= second
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    with zipfile.ZipFile(wheel) as installed:
        names = installed.namelist()
    assert _networks(names) == packaged
    assert {"recon/report/page/page.css", "recon/report/page/page.js"} <= set(names)
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"recon"}
    assert (site / "recon" / "py.typed").is_file()
    command = (
        "import sys\nfrom pathlib import Path\nimport recon\n"
        f"assert Path(recon.__file__).is_relative_to({str(site)!r}), recon.__file__\n"
        "from recon.cli.main import main\nmain(['certify', 'operator', 'identity', '--json'])\n"
    )
    where = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path, env=where
    )
    assert ran.returncode == 0, ran.stderr
    assert '"operator_norm"' in ran.stdout
