"""A geometry as a file: what is written is read back exactly, and a mistaken or hostile file is refused by name."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recon.errors import ConsistencyError, InputError
from recon.operators.tomography import (
    AlongAxis,
    Detector,
    Geometry,
    Volume,
    evenly_spaced,
    geometry_from_toml,
    geometry_to_toml,
    geometry_warnings,
    read_geometry,
)

FAN_TEXT = """
kind = "fan"
angles = { start = 0, stop = 360, count = 360, endpoint = false }
source_to_axis = 500.0
source_to_detector = 1000.0
[detector]
pixels = 736
pitch = 1.2
shape = "flat"
offset = 0.0
[volume]
pixels = [512, 512]
pitch = 0.6
offset = [0.0, 0.0]
"""
FAN = Geometry("fan", evenly_spaced(0, 360, 360), Detector(736, 1.2), Volume((512, 512), 0.6), 500.0, 1000.0)

PARALLEL_TEXT = (
    'kind = "parallel"\nangles = [0, 90]\ndetector = {pixels = 9, pitch = 1}\nvolume = {pixels = [5, 6], pitch = 1}\n'
)

CONE_TEXT = """
kind = "cone"
angles = [0, 45.5, 90]
source_to_axis = 500
source_to_detector = 1000
[detector]
pixels = [64, 96]
pitch = [2.0, 1.5]
offset = [0.25, -3]
[volume]
pixels = [32, 48, 64]
pitch = [1.0, 0.75]
offset = [1, 2, 3]
"""
CONE = Geometry(
    "cone",
    (0.0, 45.5, 90.0),
    Detector(96, 1.5, -3.0, rows=AlongAxis(64, 2.0, 0.25)),
    Volume((48, 64), 0.75, (1.0, 2.0), AlongAxis(32, 1.0, 3.0)),
    500.0,
    1000.0,
)

lengths = st.floats(-50, 50)
pitches = st.floats(0.1, 3)
sizes = st.integers(1, 1000)


@st.composite
def angle_tuples(draw):
    if draw(st.booleans()):
        return tuple(draw(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5)))
    ends = st.floats(-720, 720) | st.integers(-720, 720)
    return evenly_spaced(draw(ends), draw(ends), draw(st.integers(1, 40)), draw(st.booleans()))


@st.composite
def geometries(draw):
    kind = draw(st.sampled_from(("parallel", "fan", "cone")))
    along = (lambda: AlongAxis(draw(sizes), draw(pitches), draw(lengths))) if kind == "cone" else lambda: None
    shape = draw(st.sampled_from(("flat", "arc"))) if kind == "fan" else "flat"
    detector = Detector(draw(sizes), draw(pitches), draw(lengths), shape, along())
    volume = Volume((draw(sizes), draw(sizes)), draw(pitches), (draw(lengths), draw(lengths)), along())
    distances = (
        {} if kind == "parallel" else {"source_to_axis": 1e4 / 3, "source_to_detector": draw(st.floats(5e3, 1e4))}
    )
    return Geometry(kind, draw(angle_tuples()), detector, volume, **distances)


@settings(max_examples=150, deadline=None)
@given(geometries())
@example(replace(FAN, angles=(-0.0, 5e-324, 1e-310)))
def test_what_is_written_is_read_back_exactly(geometry):
    text = geometry_to_toml(geometry)
    read = geometry_from_toml(text)
    assert read == geometry
    assert geometry_to_toml(read) == text


@settings(max_examples=150, deadline=None)
@given(st.integers(-7200, 7200), st.integers(-7200, 7200), st.integers(3, 800), st.booleans())
def test_evenly_spaced_angles_are_written_as_a_table_with_the_numbers_that_a_person_wrote(start, stop, count, endpoint):
    geometry = replace(FAN, angles=evenly_spaced(start / 10, stop / 10, count, endpoint))
    angles = geometry_to_toml(geometry).splitlines()[1]
    assert angles.startswith(f"angles = {{ start = {start / 10!r}, stop = ")
    assert len(angles) < 90
    assert geometry_from_toml(geometry_to_toml(geometry)) == geometry


def test_the_table_is_the_one_of_the_documentation():
    assert "angles = { start = 0.0, stop = 360.0, count = 360, endpoint = false }" in geometry_to_toml(FAN)
    odd = (*FAN.angles[:-1], math.nextafter(FAN.angles[-1], 360))
    assert geometry_to_toml(replace(FAN, angles=odd)).count(",") > 360


def test_the_documented_files_are_read(tmp_path):
    for name, text, expected in (("fan", FAN_TEXT, FAN), ("cone", CONE_TEXT, CONE)):
        (tmp_path / name).write_text(text)
        assert read_geometry(tmp_path / name) == expected
    (tmp_path / "angles").write_text(FAN_TEXT.replace("360, endpoint = false", "5, endpoint = true"))
    assert read_geometry(str(tmp_path / "angles")).angles == (0, 90, 180, 270, 360)


def test_what_may_be_left_out_is_zero_and_flat_and_one_number_stands_for_both():
    parallel = geometry_from_toml(PARALLEL_TEXT)
    assert (parallel.detector, parallel.volume) == (Detector(9, 1.0), Volume((5, 6), 1.0))
    text = CONE_TEXT.replace("[2.0, 1.5]", "1.5").replace("[1.0, 0.75]", "0.75").replace("[0.25, -3]", "-3")
    cone = geometry_from_toml(text.replace("[1, 2, 3]", "[1, 2]"))
    assert cone.vertical == (AlongAxis(64, 1.5), AlongAxis(32, 0.75))
    assert (cone.detector.pitch, cone.detector.offset, cone.volume.pitch) == (1.5, -3.0, 0.75)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pitch = 1.2", "pitcj = 1.2", r"detector.pitch is missing; expected a length in mm"),
        (
            "pitch = 1.2",
            "pitch = 1.2\npitcj = 3",
            r"no key 'pitcj' in \[detector\]; did you mean 'pitch'\? known: offset",
        ),
        ("source_to_axis = 500.0", "sourse = 1\nsource_to_axis = 500.0", "no key 'sourse'; .*known: angles, detector"),
        ("count = 360", "count = 360, step = 1", r"no key 'step' in \[angles\]"),
        ('kind = "fan"', 'kind = "fann"', "kind is 'fann'; did you mean 'fan'"),
        ('kind = "fan"', "kind = 3", "kind is 3; known: cone, fan, parallel"),
        ('kind = "fan"', "", "kind is missing; expected one of parallel, fan, cone"),
        ('shape = "flat"', 'shape = "curved"', "detector.shape is 'curved'; known: arc, flat"),
        ("pitch = 1.2", 'pitch = "1.2"', "detector.pitch is '1.2'; expected a length in mm, finite"),
        ("pitch = 1.2", "pitch = true", "detector.pitch is True; expected a length"),
        ("pitch = 1.2", "pitch = nan", "detector.pitch is nan; expected a length"),
        ("pitch = 1.2", "pitch = inf", "detector.pitch is inf; expected a length"),
        ("pitch = 1.2", "pitch = 1e300", "detector.pitch is 1e.300; expected .* at most 1e.09"),
        ("pitch = 1.2", "pitch = [1.2, 1.2]", r"detector.pitch is \[1.2, 1.2\]; expected a length"),
        ("pitch = 1.2", f"pitch = 0x{'f' * 9999}", "detector.pitch is an integer of thousands of digits"),
        ("pixels = 736", "pixels = 736.0", "detector.pixels is 736.0; expected .* an integer from 1 to 65536"),
        ("pixels = 736", "pixels = 65537", "detector.pixels is 65537; expected"),
        ("pixels = 736", "pixels = 0", "detector.pixels is 0; expected"),
        ("pixels = 736", "pixels = [736]", r"detector.pixels is \[736\]; expected"),
        ("[512, 512]", "[512, 512, 512]", r"volume.pixels is \[512, 512, 512\]; expected \[rows, columns\]"),
        ("[512, 512]", "512", r"volume.pixels is 512; expected \[rows, columns\]"),
        ("[0.0, 0.0]", "0.0", r"volume.offset is 0.0; expected \[x, y\] in mm"),
        (
            "count = 360",
            "count = 1000001",
            "angles.count is 1000001; expected how many views there are, an integer from 1",
        ),
        ("count = 360", "count = -1", "angles.count is -1"),
        ("start = 0", "start = nan", "angles.start is nan; expected an angle in degrees"),
        ("endpoint = false", "endpoint = 0", "angles.endpoint is 0; expected true or false"),
        ("{ start = 0, stop = 360, count = 360, endpoint = false }", "[]", r"angles is \[\]; expected 1 to 1000000"),
        ("{ start = 0, stop = 360, count = 360, endpoint = false }", "[0, true]", r"angles is \[0, True\]"),
        (
            "{ start = 0, stop = 360, count = 360, endpoint = false }",
            "360",
            "angles is 360; expected a list of degrees",
        ),
        ("[detector]", "[[detector]]", r"detector is \[\{.*; expected a table"),
        ("[detector]", "[detector", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named(old, new, message):
    assert old in FAN_TEXT
    with pytest.raises(InputError, match=f"^scan.toml: .*{message}") as refused:
        geometry_from_toml(FAN_TEXT.replace(old, new, 1), "scan.toml")
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (FAN_TEXT, "source_to_axis = 500.0", "", "source_to_axis is missing"),
        (FAN_TEXT, "source_to_axis = 500.0", "source_to_axis = 50", "volume reaches"),
        (FAN_TEXT, "pitch = 1.2", "pitch = -1.2", "detector.pitch is -1.2; expected a positive"),
        (FAN_TEXT, '"fan"', '"parallel"', "source_to_axis is 500 with kind = parallel"),
        (
            FAN_TEXT,
            "pitch = 1.2",
            "pitch = 1e-9",
            "two neighbouring rays are .* mm apart .*; expected these within",
        ),
        (CONE_TEXT, "[2.0, 1.5]", "[30, 1.5]", "detector.rows reaches 960.25 mm"),
    ],
)
def test_numbers_that_contradict_each_other_are_named_with_the_file(text, old, new, message):
    assert old in text
    with pytest.raises(ConsistencyError, match=f"^scan.toml: .*{message}"):
        geometry_from_toml(text.replace(old, new, 1), "scan.toml")


@pytest.mark.parametrize(("what", "old"), [("sinogram", "[64, 96]"), ("volume", "[32, 48, 64]")])
def test_more_values_than_a_computer_holds_are_refused(what, old):
    large = "[65536, 65536, 64]" if what == "volume" else "[65536, 65536]"
    text = CONE_TEXT.replace(old, large).replace("[0, 45.5, 90]", "{ start = 0, stop = 360, count = 99 }")
    text = text.replace("1000\n", "1e8\n").replace("= 500\n", "= 1e7\n")
    with pytest.raises(InputError, match=f"the {what} has .* values; expected at most"):
        geometry_from_toml(text)


def test_hostile_files_are_refused(tmp_path):
    path = tmp_path / "scan.toml"
    for content, message in (
        (b"#" * (2**20 + 1), "more than 1048576 bytes"),
        (b"\xff\xfe", "not valid TOML"),
        (b"a = " + b"[" * 500_000, "nested too deeply|not valid TOML"),
        (b"a = " + b"9" * 10_000, "not valid TOML"),
        (b"", "kind is missing"),
        (b'kind = "\x1b[31m"', "not valid TOML"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_geometry(path)
    for nowhere in (tmp_path / "none", tmp_path, "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_geometry(nowhere)


def test_a_long_key_and_a_control_character_are_shown_short_and_escaped():
    with pytest.raises(InputError) as refused:
        geometry_from_toml(PARALLEL_TEXT + f'\n[volume]\n"\\u001b{"x" * 900}" = 1'.replace("[volume]", ""))
    assert len(str(refused.value)) < 200
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"angles": evenly_spaced(0, math.tau, 360)}, "they may be radians"),
        ({"angles": evenly_spaced(0, math.pi, 180)}, "they may be radians"),
        ({"angles": evenly_spaced(10, 370, 361, endpoint=True)}, "begins at 10 and ends at 370 degrees"),
        ({"angles": (30.0,) * 60}, "all 60 angles are the same view, at 30 degrees"),
        ({"angles": evenly_spaced(0, 150, 150)}, "no view is between 149 and 180 degrees, nor opposite"),
        (
            {"angles": (*evenly_spaced(0, 60, 60), *evenly_spaced(260, 360, 100))},
            "no view is between 59 and 80 degrees",
        ),
        ({"detector": Detector(736, 1.2, 800.0)}, "misses the axis of rotation"),
        ({"detector": Detector(73, 1.2)}, "lengths of detector and volume may be in different units"),
        ({"detector": Detector(736, 12.1)}, "detector pixel at the axis of rotation is 6.05 mm"),
    ],
)
def test_what_is_odd_is_said(change, warning):
    assert geometry_warnings(FAN) == geometry_warnings(CONE) == ()
    (said,) = geometry_warnings(replace(FAN, **change))
    assert warning in said


def test_a_few_views_within_a_few_degrees_are_not_odd():
    assert geometry_warnings(replace(FAN, angles=evenly_spaced(-3, 3, 9))) == ()
    assert geometry_warnings(replace(FAN, angles=(0.0, 360.0))) == ()
