"""The command ``recon pack``: images to a lossless archive."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import terminal
from .common import NUMBER, talk_options, threads_option

if TYPE_CHECKING:
    from recon.packing import Packed


@click.command("pack")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|FOLDER...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="ARCHIVE.rpk",
    help="The archive to write.",
)
@click.option(
    "--lossy",
    "tolerance",
    type=NUMBER,
    default=0.0,
    metavar="EPS",
    help="Let grey values be up to EPS off, in the numbers that the file stores; never of DICOM. Default: lossless.",
)
@click.option(
    "--group",
    type=click.IntRange(1, 4096),
    default=8,
    show_default=True,
    metavar="N",
    help="How many slices of a series or stack may depend on each other. With 1, each is packed by itself.",
)
@threads_option
@click.option("--overwrite", is_flag=True, help="Replace an existing archive (never an input).")
@click.option("--json", "as_json", is_flag=True, help="Print what became of each file as JSON.")
@talk_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    inputs: tuple[Path, ...], output: Path, tolerance: float, group: int, jobs: int | None, overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Pack images into a lossless archive, from which recon unpack restores every byte of every file.

    Pixels of DICOM, NPY, TIFF and NIfTI files that are not compressed, and of PNG, are coded by prediction from their
    neighbours and from the slice before; what else is in a file is kept beside them. A PNG is coded by its pixels if
    zlib makes the same bytes of them again. Every other file, such as JPEG or a compressed DICOM file, is kept as it
    is. Each file is restored and compared before the archive is written.

    The archive holds what the files hold, names of patients too, and is not encrypted. A folder is packed with its name
    and all that is in it.

    For example: recon pack series/ -o series.rpk
    """
    from recon.io.atomic import check_output

    check_output(output, overwrite=overwrite)
    from recon.packing import Settings, pack, usable_cores

    line = terminal.ProgressLine("packing")
    try:
        done = pack(
            inputs, output, Settings(tolerance, group), overwrite, terminal.say,
            lambda at, count: line.show(f"file {at + 1} of {count}"), jobs or usable_cores(),
        )  # fmt: skip
    finally:
        line.close()
    if as_json:
        terminal.result_json(_document(done, output))
    else:
        _print(done, output)


def _print(done: "list[Packed]", output: Path) -> None:
    size, stored = sum(file.size for file in done), output.stat().st_size
    files = "1 file" if len(done) == 1 else f"{len(done)} files"
    terminal.result(f"{output}: {files}, {size} bytes packed into {stored} ({100 * stored / max(size, 1):.1f} %)")
    pixels = sum(file.pixels for file in done)
    if pixels:
        coded = [file for file in done if file.pixels]
        alone = 8 * sum(file.pixel_bytes for file in coded) / pixels
        whole = 8 * sum(file.stored for file in coded) / pixels
        terminal.result(
            f"pixels of {len(coded)} of them coded: {alone:.3f} bits a grey value, "
            f"{whole:.3f} with the rest of the files"
        )
    worst = max((file.error for file in done), default=0.0)
    lossy = sum(file.how == "lossy" for file in done)
    if lossy:
        terminal.result(f"lossy: {lossy} of them; no grey value is more than {worst:g} off, compared one by one")


def _document(done: "list[Packed]", output: Path) -> dict[str, object]:
    return {
        "archive": str(output),
        "bytes": output.stat().st_size,
        "files": [
            {
                "name": file.name, "bytes": file.size, "packed_bytes": file.stored, "how": file.how,
                "pixels": file.pixels, "pixel_bytes": file.pixel_bytes, "largest_error": file.error,
            }
            for file in done
        ],
    }  # fmt: skip
