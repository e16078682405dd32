"""The pages agree with the code; the site builds without a warning, and no link of it is broken."""

import html.parser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from recon.errors import ReconError
from recon.methods.catalogue import ENTRIES
from recon.operators.tomography import SURROGATES, options_of
from recon.report import _style
from recon.specs.grammar import parse_spec
from recon.specs.operators import _READERS, read_operator
from recon.specs.priors import _KINDS, read_prior
from recon.specs.surrogates import MATRICES

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
import layers  # noqa: E402

SPECIFICATIONS = (DOCS / "reference/specifications.md").read_text()


def rows(section: str) -> dict[str, str]:
    """Names to options, from a table of the page."""
    text = SPECIFICATIONS.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", text, flags=re.M))


def keys_of(read, name: str) -> set[str]:
    """The options that the refusal of an unknown one lists."""
    value = {"ct": "x.toml", "python": "x.py:f", "model": "proved-gray", "folder": "x", "deepinv": "DnCNN",
             "matrix": "x.npy", "factors": "x.npz"}.get(name)  # fmt: skip
    text = f"{name}:{value},nothing=1" if value else f"{name}:nothing=1"
    with pytest.raises(ReconError) as refusal:
        read(parse_spec(text))
    found = re.search(r"known: (.*)\.$", str(refusal.value))
    return set(found[1].split(", ")) if found else set()


@pytest.mark.parametrize("name", sorted(_READERS))
def test_the_options_of_an_operator_are_listed(name):
    missing = {key for key in keys_of(read_operator, name) if not re.search(rf"\b{key}\b", rows("Operators")[name])}
    assert not missing


@pytest.mark.parametrize("name", sorted(set(_KINDS) - {"folder"}))
def test_the_options_of_a_prior_are_listed(name):
    missing = {key for key in keys_of(read_prior, name) if not re.search(rf"\b{key}\b", rows("Priors")[name])}
    assert not missing


def test_the_quickstart_lists_every_extra():
    """Who wants HDF5 or a cluster finds what to install, and no extra that is not there."""
    known = set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    table = (DOCS / "quickstart.md").read_text().partition("| extra | for |")[2].partition("\n\n")[0]
    first = "".join(line.split("|")[1] for line in table.splitlines() if "|" in line[1:])
    assert set(re.findall(r"`(\w+)`", first)) == known


def test_no_name_is_missing_or_made_up():
    assert set(rows("Operators")) == set(_READERS)
    assert set(rows("Priors")) == set(_KINDS)
    assert set(rows("Surrogates")) == {*SURROGATES, *MATRICES, "python"}


@pytest.mark.parametrize("name", SURROGATES)
def test_the_options_of_a_surrogate_are_listed(name):
    assert all(re.search(rf"\b{key}\b", rows("Surrogates")[name]) for key in options_of(name))


def test_the_drawing_of_the_layers_is_that_of_the_contract():
    drawn = (DOCS / "images/layers.svg").read_text()
    assert drawn == layers.drawing(), "python docs/_ext/layers.py draws it anew"


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("document", [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda d: d.name)
def test_links_between_files_of_the_repository(document):
    if DOCS / "generated" in document.parents:
        pytest.skip("made by the build")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if urlsplit(target).scheme or "gallery/" in target:
            continue
        assert (document.parent / target).exists(), f"{document.name}: {target}"


def linear(colour: str) -> list[float]:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}
"""Machado, Oliveira, Fernandes 2009, severity 1, on linear sRGB."""


def seen(colour: str, kind: str) -> list[float]:
    """L, a and b of a colour as a reader sees it."""
    rgb = linear(colour)
    red, green, blue = (sum(w * part for w, part in zip(row, rgb, strict=True)) for row in BLINDNESS[kind])
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * max(part, 0) + 16 / 116 for part in (x, y, z))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colours_of_curves_differ_for_every_reader(kind):
    colours = [colour for colour, _ in _style.CURVES[:5]]
    for number, one in enumerate(colours):
        for other in colours[:number]:
            apart = sum((a - b) ** 2 for a, b in zip(seen(one, kind), seen(other, kind), strict=True)) ** 0.5
            assert apart > 15, f"{one} and {other} are {apart:.1f} apart"


def test_the_dashes_of_curves_differ_without_colours():
    dashes = [str(dash) for _, dash in _style.CURVES]
    assert len(set(dashes)) == len(dashes)


def test_the_colours_of_curves_show_on_white():
    assert all(seen(colour, "none")[0] < 75 for colour, _ in _style.CURVES)


class _Page(html.parser.HTMLParser):
    """The links, the anchors and the outside resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("script", "img", "source", "iframe") and "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, without running the examples, which have tests of their own."""
    pytest.importorskip("sphinx_gallery", reason="make nightly installs the group docs")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("gallery", "generated", "theorems"))
    for name in ("data", "models", "tests", "pyproject.toml"):
        (folder / name).symlink_to(REPOSITORY / name)
    unrun = ["-D", "sphinx_gallery_conf.filename_pattern=none"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-n", "-W", "--keep-going", *unrun, "docs", "html"],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {path: _Page(path.read_text()) for path in (folder / "html").rglob("*.html")}


@pytest.mark.nightly
def test_the_site_has_a_page_for_each_theorem_and_names_each_method(site):
    names = {path.stem for path in site}
    from recon import certificates  # noqa: PLC0415

    assert {name for name in certificates.__all__ if name.startswith("certify_")} <= names
    choosing = next(path for path in site if path.stem == "choosing").read_text()
    assert all(name in choosing for name in ENTRIES)


@pytest.mark.nightly
def test_no_link_of_the_site_is_broken(site):
    broken = []
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link in ("#", ""):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in site and anchor not in site[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert not broken


@pytest.mark.nightly
def test_the_site_loads_nothing_from_elsewhere(site):
    outside = {link for page in site.values() for link in page.loaded if urlsplit(link).netloc}
    assert not outside
