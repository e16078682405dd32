"""The command ``recon unpack``: files of an archive as they were."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import terminal
from .common import talk_options, threads_option

if TYPE_CHECKING:
    from recon.packing import Restored

_SHOWN = 300
"""Letters of a name in a message, at most."""


@click.command("unpack")
@click.argument("archive", type=click.Path(path_type=Path), metavar="ARCHIVE.rpk")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to restore. Default: this folder."
)
@click.option("--only", multiple=True, metavar="NAME", help="Restore this file alone. May be repeated.")
@click.option(
    "--frame",
    type=click.IntRange(0),
    metavar="N",
    help="With --only NAME: write frame N, counted from 0, as the NPY file that -o names. Little else is decoded.",
)
@click.option("--list", "lists", is_flag=True, help="Print names and sizes, and restore nothing.")
@click.option("--verify", is_flag=True, help="Restore and compare everything, and write nothing.")
@threads_option
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of each file as JSON.")
@talk_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    archive: Path, output: Path | None, only: tuple[str, ...], frame: int | None, lists: bool, verify: bool,
    jobs: int | None, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Restore the files of an archive that recon pack wrote, each to the byte, checked by its SHA-256.

    Of an archive that was cut off or altered, what is whole is restored, and what is lost is named (exit code 8), and
    so is a file whose name this system does not take or that an earlier file has. A file that exists is not replaced,
    and no name in an archive leads out of FOLDER.

    For example: recon unpack series.rpk -o restored --only series/0001.dcm
    """
    _check_options(lists, verify, frame, only, output)
    if lists:
        _list(archive, as_json)
    elif frame is not None and output is not None:
        _write_frame(archive, only[0], frame, output, overwrite)
    else:
        _restore(archive, None if verify else output or Path(), only, jobs, overwrite, as_json)


def _check_options(lists: bool, verify: bool, frame: int | None, only: tuple[str, ...], output: Path | None) -> None:
    context = click.get_current_context()
    if lists + verify + (frame is not None) > 1:
        raise click.UsageError("Expected at most one of --list, --verify and --frame.", context)
    if (lists or verify) and output is not None:
        raise click.UsageError(
            "-o names a folder, and --list and --verify write nothing; expected one of them.", context
        )
    if lists and only:
        raise click.UsageError("--list prints all names; expected no --only.", context)
    if frame is not None and (len(only) != 1 or output is None or output.suffix.lower() != ".npy"):
        raise click.UsageError("--frame needs one --only NAME and -o FILE.npy.", context)


def _list(archive: Path, as_json: bool) -> None:
    from recon.io.content import printable
    from recon.packing import list_entries

    entries, remark = list_entries(archive)
    if as_json:
        terminal.result_json([{"name": name, "bytes": size} for name, size in entries])
    else:
        for name, size in entries:
            terminal.result(f"{size:>12}  {printable(name)}")
    if remark:
        terminal.say(f"{archive}: {remark}; --verify says what is lost.")


def _write_frame(archive: Path, name: str, frame: int, output: Path, overwrite: bool) -> None:
    from recon.io.atomic import check_output, replacing

    check_output(output, overwrite=overwrite, inputs=[archive])
    import numpy as np

    from recon.io.content import printable
    from recon.packing import read_frame

    pixels = read_frame(archive, name, frame)
    with replacing(output, overwrite=overwrite, inputs=[archive]) as temporary, temporary.open("wb") as handle:
        np.save(handle, pixels[..., 0] if pixels.shape[-1] == 1 else pixels, allow_pickle=False)
    terminal.result(f"{output}: frame {frame} of {printable(name)}, {pixels.shape[0]} x {pixels.shape[1]}")


def _restore(  # noqa: PLR0913, PLR0917  what the command was told
    archive: Path, folder: Path | None, only: tuple[str, ...], jobs: int | None, overwrite: bool, as_json: bool
) -> None:
    from recon.errors import BatchError
    from recon.packing import unpack, usable_cores

    line = terminal.ProgressLine("unpacking")
    try:
        done, remark = unpack(
            archive,
            folder,
            only,
            overwrite,
            lambda at, count: line.show(f"file {at + 1} of {count}"),
            jobs or usable_cores(),
        )
    finally:
        line.close()
    lost = [file for file in done if file.problem]
    if remark:
        terminal.say(f"{archive}: {remark}.")
    for file in lost:
        terminal.complain(f"{_shortened(file.name)}: lost, because {file.problem}")
    for file in done:
        if file.remark:
            terminal.say(f"{_shortened(file.name)}: {file.remark}.")
    if as_json:
        terminal.result_json(_document(done))
    else:
        whole = len(done) - len(lost)
        files = "1 file" if whole == 1 else f"{whole} files"
        terminal.result(
            f"{archive}: {files} {'compared' if folder is None else f'restored in {folder}'}, each by its SHA-256"
        )
    if lost:
        raise BatchError(f"{archive}: {len(lost)} of {len(done)} files are lost; the others are whole.")
    if remark:
        raise BatchError(f"{archive}: every file in it is whole, but {remark}; expected to be copied anew.")


def _shortened(name: str) -> str:
    """A name on a line: an archive may hold names of any length."""
    return name if len(name) <= _SHOWN else f"{name[: _SHOWN // 2]}...{name[-_SHOWN // 2 :]}"


def _document(done: "list[Restored]") -> list[dict[str, object]]:
    return [
        {
            "name": file.name,
            "bytes": file.size,
            "lost": bool(file.problem),
            "reason": file.problem,
            "remark": file.remark,
        }
        for file in done
    ]
