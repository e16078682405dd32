"""The geometry of a scan, written as a file and as a drawing."""

from pathlib import Path

from recon._toml import MOST_BYTES
from recon.errors import OutputError, UsageError
from recon.io.atomic import replacing
from recon.operators.tomography import Geometry, geometry_to_toml
from recon.specs.grammar import Spec
from recon.specs.operators import scanned


def write_geometry(path: str | Path, geometry: Geometry, *, overwrite: bool = False) -> None:
    """Write the TOML file that :func:`recon.operators.read_geometry` reads back to an equal geometry, exactly.

    Raises:
        OutputError: The file cannot be written, exists without ``overwrite``, or would be too large to be read.
    """
    content = geometry_to_toml(geometry).encode()
    if len(content) > MOST_BYTES:
        raise OutputError(
            f"{path}: the geometry's {len(geometry.angles)} unevenly spaced views take {len(content)} bytes; expected "
            f"at most {MOST_BYTES}, because a larger file is not read."
        )
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def draw_scan(operator: Spec, path: Path, overwrite: bool) -> None:
    """Draw the scan that ``ct:GEOMETRY.toml`` names.

    Raises:
        UsageError: The operator is another one.
        OutputError: The file cannot be written.
    """
    from recon.report import draw_geometry  # noqa: PLC0415  matplotlib costs half a second

    if operator.name != "ct":
        raise UsageError(f"{operator}: there is no scan to draw; expected ct:GEOMETRY.toml with --figure.")
    draw_geometry(scanned(operator), path, overwrite=overwrite)
