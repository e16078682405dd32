"""The configuration of a run as one frozen value, from the command line, TOML or a run record.

The command line goes before the file, and the file before the defaults. Nothing here imports torch, so that a
mistake in an option is reported at once.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recon._suggest import suggestion, unknown_name
from recon._symmetries import COUNTS
from recon._toml import read_toml
from recon._windows import WINDOWS
from recon.errors import UsageError
from recon.methods.catalogue import ENTRIES
from recon.methods.entry import MethodEntry
from recon.specs.grammar import Spec, parse_spec, portable, spec_from_table
from recon.specs.options import integer

BUDGET = 1000
"""Steps that a run may take unless told otherwise."""

FILE_KEYS = {"blur": ("psf",), "inpaint": ("mask",), "mri": ("mask",)}
"""The options that name files, for each operator: they are looked at first, and a record names them from its folder."""

FILE_VALUES = ("python", "ct", "folder", "matrix", "factors")
"""The names whose bare value is a file (``python``: the part before the last colon)."""

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
_SIZE = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(|b|kib|mib|gib|tib|kb|mb|gb|tb)\s*", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS["tb"] = 10**12
_NOISE = re.compile(r"\s*([0-9.eE+-]+)\s*([A-Za-z%/]*)\s*")


@dataclass(frozen=True)
class Noise:
    """A standard deviation: on the scale of the solver, where grey values lie in [0, 1], or in the image's ``unit``."""

    sigma: float
    unit: str = ""

    def __str__(self) -> str:
        short = f"{self.sigma:g}"
        return (short if float(short) == self.sigma else repr(self.sigma)) + self.unit


@dataclass(frozen=True)
class SolveConfig:
    """One reconstruction, but for its input and its output.

    Attributes:
        operator: The forward operator.
        prior: The prior; ``None``: the packaged network for such images where the operator has a fast method with it,
            else total variation; a weight is matched to the noise.
        method: The name of a method (:data:`recon.methods.catalogue.ENTRIES`); ``None``: chosen for operator and prior.
        noise: The standard deviation of the noise; ``None``: estimated where something depends on it.
        window: One of :data:`recon._windows.WINDOWS`, the filter window of filtered back-projection; ``None``: the
            smoothest.
        stepsize: The step size; ``None``: from the operator's norm, inside the interval of the theorem, or
            matched to the noise where any converges.
        surrogate: An operator whose adjoint is used in place of the true one.
        shift: Added to the mismatched data map as a multiple of the identity, to make it monotone; ``None``: nothing,
            ``"auto"``: as much as that takes.
        iterations: The largest number of steps; ``None``: :data:`BUDGET`, or less where a method without a prior would
            fit the noise.
        tolerance: The distance to the limit at which to stop, over the norm of the first image that the data give;
            ``None``: what suits the method.
        range: The grey values, in the file's units, that become 0 and 1; ``None``: from the file.
        shape: (height, width) of the image, where the operator does not determine it.
        seed: Seed of random numbers, such as those that measure constants.
        deterministic: Whether to refuse algorithms whose result depends on the order of threads.
        device: The device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        require_certificate: Whether to refuse to run where no theorem holds, or only on assumptions.
        water: The attenuation of water in 1/mm: images reconstructed from projections are then in HU.
        photons: Photons per ray of projections without an object: rays are then weighted by their statistics.
        flat: The file of a flat field, or its counts as a number: the input is then read as counts.
        dark: The file of a dark field, or its counts as a number.
        guide: The file of an image that decides the weights of the prior from place to place; a prior's own option
            ``guide=FILE`` states the same.
        volume: Whether the slices of a stack are reconstructed together, with a prior of volumes.
        slice_distance: The distance of two slices in pixels of a slice; ``None``: as the file has it.
        memory: Bytes beyond which a volume is kept in a file, and an image solved in tiles; ``None``: as many as it
            takes.
        method_folder: The folder of the network of a method that has one; of the options ``--method NAME:folder=DIR``
            states it.
        symmetries: Of the method ``unrolled``, whose options state it as ``symmetries=N``: the mean is taken over
            reconstructions from 2, 4 or 8 symmetric copies of the measurement, the reflections and quarter turns that
            the operator has.
    """

    operator: Spec
    prior: Spec | None = None
    method: str | None = None
    noise: Noise | None = None
    window: str | None = None
    stepsize: float | None = None
    surrogate: Spec | None = None
    shift: float | Literal["auto"] | None = None
    iterations: int | None = None
    tolerance: float | None = None
    range: tuple[float, float] | None = None
    shape: tuple[int, int] | None = None
    seed: int = 0
    deterministic: bool = False
    device: str = "auto"
    require_certificate: bool = False
    water: float | None = None
    photons: float | None = None
    flat: str | float | None = None
    dark: str | float | None = None
    guide: str | None = None
    volume: bool = False
    slice_distance: float | None = None
    memory: int | None = None
    method_folder: str | None = None
    symmetries: int | None = None

    def __post_init__(self) -> None:
        self._take_guide()
        self._take_method()
        if self.method is not None and self.method not in ENTRIES:
            raise unknown_name(self.method, ENTRIES, "method")
        self._check_projections()
        self._check_direct()
        if self.iterations is not None and self.iterations < 1:
            raise UsageError(f"iterations is {self.iterations}; expected at least 1.")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance!r}; expected a number from 0 to below 1.")
        if self.stepsize is not None and not (self.stepsize > 0 and math.isfinite(self.stepsize)):
            raise UsageError(f"stepsize is {self.stepsize!r}; expected a positive finite number.")
        if isinstance(self.shift, float) and not (self.shift >= 0 and math.isfinite(self.shift)):
            raise UsageError(f"shift is {self.shift!r}; expected auto, or a finite number of at least 0.")
        if self.shift is not None and self.surrogate is None:
            raise UsageError(f"shift is {self.shift!r} without a surrogate; the exact adjoint needs no shift.")
        self._check_volume()
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}; expected a whole number from 0 to below 2^63.")
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"device is {self.device!r}; expected auto, cpu, cuda or cuda:N.")

    def _check_volume(self) -> None:
        if self.slice_distance is not None and not (self.slice_distance > 0 and math.isfinite(self.slice_distance)):
            raise UsageError(
                f"slice_distance is {self.slice_distance!r}; expected a positive finite number of pixels of a slice."
            )
        if self.slice_distance is not None and not self.volume:
            raise UsageError(
                f"slice_distance is {self.slice_distance:g} without volume; expected --volume, because images that are "
                "solved one by one are not apart."
            )
        if self.memory is not None and self.memory < 1:
            raise UsageError(f"memory is {self.memory}; expected a positive size, as in 2GiB.")
        if self.volume and self.guide is not None:
            raise UsageError(f"guide is {self.guide!r} with volume; expected one of them, because a guide is an image.")

    def _take_guide(self) -> None:
        """Let the guide that a prior names be that of the run."""
        if self.prior is None or "guide" not in self.prior.options or self.prior.name == "python":
            return
        options = dict(self.prior.options)
        named = str(self.prior.path(options.pop("guide")))
        if self.guide is not None and Path(self.guide) != Path(named):
            raise UsageError(f"guide is {self.guide!r}, and the prior {self.prior} names another; expected one guide.")
        object.__setattr__(self, "guide", named)
        object.__setattr__(self, "prior", dataclasses.replace(self.prior, options=options))

    def _take_method(self) -> None:
        """Take a method's options apart from its name."""
        stated: object = self.method
        if isinstance(stated, str) and ":" in stated:
            stated = parse_spec(stated, "method")
        if isinstance(stated, Spec):
            others = [*([] if stated.value is None else [stated.value]), *sorted(stated.options.keys() - _OF_METHODS)]
            if others:
                raise UsageError(f"method {stated}: {others[0]!r} is unknown; expected NAME, or NAME:folder=DIR.")
            object.__setattr__(self, "method", stated.name)
            if "folder" in stated.options:
                object.__setattr__(self, "method_folder", str(stated.path(stated.options["folder"])))
            if "symmetries" in stated.options:
                count = integer(stated, "symmetries", low=1, high=COUNTS[-1])
                if self.symmetries not in (None, count):
                    raise UsageError(
                        f"symmetries is {self.symmetries}, and the method {stated} has another number; expected one."
                    )
                object.__setattr__(self, "symmetries", count)
        self._check_symmetries()
        if self.method_folder is None or (self.entry is not None and "folder" in self.entry.options):
            return
        if self.method is not None and self.method not in ENTRIES:
            raise unknown_name(self.method, ENTRIES, "method")
        able = " or ".join(each.name for each in ENTRIES.values() if "folder" in each.options)
        raise UsageError(
            f"method_folder is {self.method_folder!r} with {self._stated_method}; expected {able}, because no other "
            "method has a network of its own."
        )

    def _check_symmetries(self) -> None:
        if self.symmetries is None:
            return
        if self.symmetries not in COUNTS:
            raise UsageError(f"symmetries is {self.symmetries}; expected 1, 2, 4 or 8.")
        if self.method is not None and self.method not in ENTRIES:
            raise unknown_name(self.method, ENTRIES, "method")
        if self.entry is None or "symmetries" not in self.entry.options:
            raise UsageError(
                f"symmetries is {self.symmetries} with {self._stated_method}; expected method unrolled, because no "
                "other one takes the mean over symmetric copies."
            )

    @property
    def budget(self) -> int:
        """The largest number of steps."""
        return BUDGET if self.iterations is None else self.iterations

    @property
    def stops_early(self) -> bool:
        """Whether a method without a prior may stop before its limit: where neither steps nor tolerance are stated."""
        return self.iterations is None and self.tolerance is None

    def _check_projections(self) -> None:
        for name in ("water", "photons", "flat", "dark"):
            value = getattr(self, name)
            if value is not None and self.operator.name != "ct":
                raise UsageError(
                    f"{name} is {value} with the operator {self.operator.name!r}; expected ct:GEOMETRY.toml, because "
                    "it is a property of X-ray projections."
                )
            if isinstance(value, float) and not (
                math.isfinite(value) and (value > 0 or (name == "dark" and value == 0))
            ):
                also = " or 0" if name == "dark" else ""
                raise UsageError(f"{name} is {value!r}; expected a positive finite number{also}.")

    def _check_direct(self) -> None:
        if self.window is not None and self.window not in WINDOWS:
            raise unknown_name(self.window, WINDOWS, "window")
        entry = self.entry
        if self.window is not None and not (entry and "window" in entry.options):
            able = " or ".join(each.name for each in ENTRIES.values() if "window" in each.options)
            raise UsageError(
                f"window is {self.window!r} with {self._stated_method}; expected method {able}, which alone filters."
            )
        if self.stepsize is not None and entry and not entry.stepsize:
            raise UsageError(
                f"stepsize is {self.stepsize!r} with {self._stated_method}; expected none, as it takes none."
            )
        if self.tolerance is not None and entry and entry.closed_form:
            raise UsageError(
                f"tolerance is {self.tolerance!r} with {self._stated_method}; expected none, as it is a closed form or "
                "takes a fixed number of steps."
            )

    @property
    def entry(self) -> MethodEntry | None:
        """The method's entry; ``None`` where the method follows from operator and prior."""
        return None if self.method is None else ENTRIES.get(self.method)

    @property
    def takes_prior(self) -> bool:
        """Whether the method takes priors in general, as the one does that follows from operator and prior."""
        return self.entry is None or self.entry.takes_prior

    @property
    def _stated_method(self) -> str:
        return "no method stated" if self.method is None else f"method {self.method}"


def config_from(values: Mapping[str, object], folder: str = "", where: str = "The configuration") -> SolveConfig:
    """The configuration that a mapping states; a value ``None`` counts as not given.

    Args:
        values: Key to value, as TOML or JSON gives them; specifications as text or as tables.
        folder: What relative file names in it are relative to.
        where: The subject of an error.

    Raises:
        UsageError: An unknown key, a value of the wrong kind, or no operator.
    """
    known = {field.name for field in dataclasses.fields(SolveConfig)}
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: there is no key {key!r}; {suggestion(key, known)}.")
    given = {key: _read(key, value, folder, where) for key, value in values.items() if value is not None}
    if "operator" not in given:
        raise UsageError(f"{where} names no operator; expected one, as in --operator blur:psf=kernel.npy.")
    return SolveConfig(**given)  # type: ignore[arg-type]


def read_config(file: Path | None, command_line: Mapping[str, object]) -> SolveConfig:
    """The configuration of a command: the command line over the file over the defaults."""
    if file is None:
        return config_from(command_line, where="The command line")
    table = read_toml(file, "configuration")
    folder, where = str(file.parent), str(file)
    given = {key: value for key, value in command_line.items() if value is not None}
    parsed = {key: _read(key, value, "", "The command line") for key, value in given.items()}
    base = config_from({"operator": given.get("operator"), **table}, folder, where)
    return dataclasses.replace(base, **parsed)  # type: ignore[arg-type]


def to_json(config: SolveConfig, folder: Path | None = None) -> dict[str, object]:
    """The configuration as plain values that :func:`config_from` reads back.

    Args:
        config: The configuration.
        folder: Where it is going to be kept: the file names in it become relative to there.
    """
    values: dict[str, object] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Spec):
            value = str(value if folder is None else relocate(value, folder))
        elif isinstance(value, Noise):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif field.name in ("flat", "dark", "guide", "method_folder") and isinstance(value, str) and folder is not None:
            value = portable(Path(value), folder)
        values[field.name] = value
    return values


def relocate(spec: Spec, folder: Path) -> Spec:
    """Return the specification with its file names relative to ``folder``."""
    return dataclasses.replace(with_files(spec, lambda path: portable(path, folder)), folder=str(folder))


def with_files(spec: Spec, name: Callable[[Path], str]) -> Spec:
    """Return the specification with another name for each of its files; its folder stays."""
    keys = FILE_KEYS.get(spec.name, ())
    options = {key: name(spec.path(text)) if key in keys else text for key, text in spec.options.items()}
    value = spec.value
    if value is not None and spec.name in FILE_VALUES:
        file, colon, rest = value.rpartition(":") if spec.name == "python" else (value, "", "")
        value = f"{name(spec.path(file))}{colon}{rest}"
    return dataclasses.replace(spec, options=options, value=value)


def with_names(config: SolveConfig, of_spec: Callable[[Spec], Spec], of_file: Callable[[Path], str]) -> SolveConfig:
    """Return the configuration with its specifications and its other files named anew."""
    return dataclasses.replace(
        config,
        operator=of_spec(config.operator),
        prior=None if config.prior is None else of_spec(config.prior),
        surrogate=None if config.surrogate is None else of_spec(config.surrogate),
        flat=of_file(Path(config.flat)) if isinstance(config.flat, str) else config.flat,
        dark=of_file(Path(config.dark)) if isinstance(config.dark, str) else config.dark,
        guide=None if config.guide is None else of_file(Path(config.guide)),
        method_folder=None if config.method_folder is None else of_file(Path(config.method_folder)),
    )


def parse_noise(text: str) -> Noise:
    """Read ``0.01`` or ``12HU``.

    Raises:
        UsageError: It is not a number that is at least 0, with or without a unit.
    """
    match = _NOISE.fullmatch(text)
    try:
        sigma = float(match[1]) if match else math.nan
    except ValueError:
        sigma = math.nan
    if match is None or not (sigma >= 0 and math.isfinite(sigma)):
        raise UsageError(f"noise is {text!r}; expected a standard deviation of at least 0, as in 0.01 or 12HU.")
    return Noise(sigma, match[2])


def parse_memory(value: object) -> int:
    """Read ``2GiB``, ``500MB`` or a number of bytes.

    Raises:
        UsageError: It is no size.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if match is None:
        raise UsageError(f"memory is {value!r}; expected a size, as in 2GiB, 500MB or a number of bytes.")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def parse_range(text: str) -> tuple[float, float]:
    """Read ``LO:HI``.

    Raises:
        UsageError: It is not two finite numbers, the smaller one first.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = math.nan
    return _check_range([low, high], text)


def parse_shape(text: str) -> tuple[int, int]:
    """Read ``H,W`` (or ``C,H,W``, of which C is taken from the input).

    Raises:
        UsageError: It is not two or three whole numbers from 1 to 65536.
    """
    parts = text.split(",")
    if len(parts) not in (2, 3) or not all(re.fullmatch(r"\s*[0-9]{1,5}\s*", part, re.ASCII) for part in parts):
        raise UsageError(f"shape is {text!r}; expected H,W or C,H,W in pixels, as in 512,512.")
    return _check_shape([int(part) for part in parts][-2:], text)


def _check_range(ends: list[float], given: object) -> tuple[float, float]:
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"range is {given!r}; expected LO:HI with LO below HI, as in 0:255 or -1024:3071.")
    return low, high


def _check_shape(sides: Sequence[float], given: object) -> tuple[int, int]:
    if not all(1 <= side <= 65536 and side == int(side) for side in sides):
        raise UsageError(f"shape is {given!r}; expected a height and a width from 1 to 65536 pixels.")
    return int(sides[0]), int(sides[1])


_OF_METHODS = frozenset({"folder", "symmetries"})
_SPECS = ("operator", "prior", "surrogate")
_KINDS: dict[str, type] = {
    "method": str,
    "window": str,
    "device": str,
    "iterations": int,
    "symmetries": int,
    "seed": int,
    "deterministic": bool,
    "require_certificate": bool,
    "volume": bool,
}


def _read(key: str, value: object, folder: str, where: str) -> object:
    try:
        return _convert(key, value, folder)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") if where != "The command line" else error from None


def _convert(key: str, value: object, folder: str) -> object:  # noqa: PLR0911  one line for each kind of value
    if key in _SPECS:
        return _spec(key, value, folder)
    if key == "noise":
        return parse_noise(value if isinstance(value, str) else repr(value))
    if key == "shift":
        return "auto" if value == "auto" else _number(key, value)
    if key == "range":
        return parse_range(value) if isinstance(value, str) else _check_range(_numbers(key, value, 2), value)
    if key == "shape":
        if isinstance(value, str):
            return parse_shape(value)
        return _check_shape(_numbers(key, value, 2), value)
    if key == "memory":
        return parse_memory(value)
    if key in ("stepsize", "tolerance", "water", "photons", "slice_distance"):
        return _number(key, value)
    if key in ("flat", "dark"):
        return _field(key, value, folder)
    if key == "method" and isinstance(value, str) and ":" in value:
        return parse_spec(value, key, folder)
    if key in ("guide", "method_folder"):
        return _file(key, value, folder)
    kind = _KINDS[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{key} is {value!r}; expected {_WORDS[kind]}.")
    return value


_WORDS = {str: "text in quotes", int: "a whole number", bool: "true or false"}


def _spec(key: str, value: object, folder: str) -> Spec:
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        return parse_spec(value, key, folder)
    if isinstance(value, Mapping):
        return spec_from_table(value, key, folder)
    raise UsageError(f"{key} is {value!r}; expected a specification as text or as a table.")


def _file(key: str, value: object, folder: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{key} is {value!r}; expected the name of a file.")
    return str(Path(folder, value)) if folder else value


def _field(key: str, value: object, folder: str) -> str | float:
    """The name of a file, or a number of counts: a text that is both is the file, if there is one of that name."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{key} is {value!r}; expected the name of a file, or a number of counts.")
    name = str(Path(folder, value)) if folder else value
    return float(value) if is_number(value) and not Path(name).is_file() else name


def is_number(text: str) -> bool:
    """Return whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(key: str, value: object) -> float:
    try:
        if isinstance(value, str):
            return float(value)
    except ValueError:
        pass
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UsageError(f"{key} is {value!r}; expected a number.")
    return float(value)


def _numbers(key: str, value: object, count: int) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != count:
        raise UsageError(f"{key} is {value!r}; expected {count} numbers.")
    return [_number(key, item) for item in value]
