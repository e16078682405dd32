"""The checkpoint of a run on disk, whole or absent at whatever moment the process dies.

The tensors go into a file of their own, named by the step; ``checkpoint.json`` names it, with its hash, and takes the
place of the one before in a single renaming. Only then is the older state removed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from torch import Tensor

from recon._toml import MOST_BYTES
from recon.errors import InputError, OutputError
from recon.io import replacing
from recon.priors.networks.files.safetensors import decode, encode, read_bytes

NAME = "checkpoint.json"
_STATE = re.compile(r"state-[0-9]{8,12}\.safetensors")
_MOST_BYTES = 2 * MOST_BYTES


@final
@dataclass(frozen=True)
class Progress:
    """The values of a checkpoint other than tensors.

    Attributes:
        step: Steps done.
        seconds: Spent on them.
        data: The fingerprint of the images.
        recipe: The configuration that the run was begun with, as TOML; empty in checkpoints of earlier releases.
    """

    step: int
    seconds: float
    data: str
    recipe: str = ""


def save_checkpoint(folder: Path, state: dict[str, Tensor], progress: Progress) -> None:
    """Write a state, and forget the one before.

    Raises:
        OutputError: It cannot be written, as on a full disk; the one before is as it was.
    """
    content, name = encode(state), f"state-{progress.step:08}.safetensors"
    with replacing(folder / name, overwrite=True) as temporary:
        temporary.write_bytes(content)
    text = json.dumps({**asdict(progress), "state": name, "sha256": hashlib.sha256(content).hexdigest()}, indent=2)
    with replacing(folder / NAME, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    for other in [*folder.glob("state-*.safetensors"), *folder.glob(".recon-*")]:
        if other.name != name:
            with contextlib.suppress(OSError):
                other.unlink()


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], Progress]:
    """The last state that was written whole.

    Raises:
        InputError: There is none, or it was changed.
    """
    progress, name, stated = _read(folder / NAME)
    content = read_bytes(folder / name)
    if hashlib.sha256(content).hexdigest() != stated:
        raise InputError(f"{folder / name}: the file is not the one that {NAME} names by its hash; it was changed.")
    return decode(content, str(folder / name)), progress


def load_progress(folder: Path) -> Progress | None:
    """Return the values of the last checkpoint other than tensors; ``None`` where there is no checkpoint.

    Raises:
        InputError: It cannot be read.
    """
    path = folder / NAME
    return _read(path)[0] if path.exists() else None


def _read(path: Path) -> tuple[Progress, str, str]:
    """The progress, and the name and the hash of the file with the state."""
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(_MOST_BYTES))
        step, seconds, data, recipe = table["step"], float(table["seconds"]), table["data"], table.get("recipe", "")
        name, stated = table["state"], table["sha256"]
        if not (isinstance(step, int) and isinstance(data, str) and isinstance(recipe, str) and _STATE.fullmatch(name)):
            raise ValueError("a value is of the wrong kind")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: the checkpoint cannot be read ({reason}); expected one of recon train.") from error
    return Progress(step, seconds, data, recipe), name, stated


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder; a process that dies lets go of it.

    Raises:
        OutputError: Another one has it, or it cannot be written in.
    """
    try:
        handle = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be written in ({error.strerror}).") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise OutputError(
            f"{folder}: another process is training into this folder; expected one of its own."
        ) from error
    else:
        yield
    finally:
        os.close(handle)
