"""Input files, looked at before anything heavy is imported: none of this needs torch.

Importing torch takes seconds, so that a file which cannot be read is refused before, with the sentence that reading it
later would give.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from recon import io
from recon._toml import read_toml
from recon.errors import InputError, ReconError, UsageError
from recon.io import Image
from recon.io.arrays import read_arrays, read_matrix
from recon.io.mapped import map_image
from recon.specs import options
from recon.specs.grammar import Spec
from recon.specs.planes import read_mask, read_plane
from recon.specs.solve_config import FILE_KEYS, SolveConfig

_PLANES: dict[str, Callable[[Path], object]] = {"psf": lambda path: read_plane(path, "PSF"), "mask": read_mask}
"""How the file of an operator's option is read, for each option that names one."""

_ARRAYS: dict[str, Callable[[Path], object]] = {"matrix": read_matrix, "factors": read_arrays}
"""How the file is read that is the bare value of an operator."""

_LARGE = 2**24
"""Bytes from which a file is looked at, and not read, where it would have to be read again."""


def read_first(path: Path, config: SolveConfig) -> Image | None:
    """The image in a file, in the range that was asked for; of projections ``None``: their files are looked at.

    Raises:
        InputError: It cannot be read, or a file of its fields, its operator or its surrogate.
    """
    for spec in (config.operator, config.surrogate):
        if spec is not None:
            look_at_operator(spec)
    if config.guide is not None:
        io.read(Path(config.guide))
    if config.operator.name != "ct":
        return io.read(path, value_range=config.range)
    io.check_projections(path)
    for field in (config.flat, config.dark):
        if isinstance(field, str):
            io.check_projections(field, field=True)
    return None


TILED = ("identity", "blur", "downsample")
"""Operators whose images may be solved in tiles, because each pixel of a measurement sees its neighbourhood only."""


def may_have_tiles(config: SolveConfig) -> bool:
    """Return whether a configuration bounds the memory of an image that may be solved in tiles."""
    others = config.surrogate is not None or config.guide is not None or config.shape is not None
    return config.memory is not None and not config.volume and config.operator.name in TILED and not others


def map_first(path: Path, config: SolveConfig) -> Image:
    """The image in a file in the range that was asked for, its pixels left in the file where the format allows it.

    Raises:
        InputError: It cannot be read.
    """
    return map_image(path, config.range) or io.read(path, value_range=config.range)


def look_at_operator(spec: Spec) -> None:
    """See that the files which an operator's specification names can be read.

    Raises:
        InputError: One cannot.
    """
    with contextlib.suppress(UsageError):  # the operator's reader says what is wrong with a specification
        if spec.name == "ct" and spec.value:
            read_toml(spec.path(spec.value), "geometry", InputError)
        if spec.name in _ARRAYS and spec.value:
            _ARRAYS[spec.name](spec.path(spec.value))
        for key in FILE_KEYS.get(spec.name, ()):
            if key in spec.options:
                _PLANES[key](options.file(spec, key))


def refuse_unreadable(paths: Sequence[Path]) -> None:
    """See that one of several images at least can be read; the others are named when they are used.

    Raises:
        InputError: None can; the sentence is that of the first.
    """
    errors: list[ReconError] = []
    for path in paths:
        try:
            _look(path)
        except ReconError as error:
            errors.append(error)
        else:
            return
    if errors:
        more = f" None of the {len(errors)} images can be read." if len(errors) > 1 else ""
        raise InputError(f"{errors[0]}{more}")


def _look(path: Path) -> None:
    io.check_kind(path)
    if path.stat().st_size < _LARGE:
        io.read(path)
