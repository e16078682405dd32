"""Choice of the device that a run computes on."""

from collections.abc import Callable

import torch

from recon.errors import DeviceError

Notify = Callable[[str], None]
"""Where one line for a person goes."""


def choose_device(name: str, say: Notify) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` names.

    ``auto`` is the first CUDA device that works, else the CPU, and says so in one line; a device that was asked for
    by name and is not there is an error.

    Raises:
        DeviceError: There is no such device.
    """
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        if count:
            return torch.device("cuda", 0)
        say("no CUDA device is there: running on the CPU")
        return torch.device("cpu")
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        found = f"{count} are there" if count else "none is there"
        raise DeviceError(f"--device {name}: expected a CUDA device with that number, but {found}; use auto or cpu.")
    return torch.device("cuda", index)


def choose_processor(name: str, kind: str) -> torch.device:
    """The CPU, for a scan of a kind that is projected nowhere else.

    Raises:
        DeviceError: Another device was asked for by name.
    """
    if name.startswith("cuda"):
        raise DeviceError(f"--device {name}: the beams of a {kind} are projected on the CPU; expected auto or cpu.")
    return torch.device("cpu")


def make_deterministic() -> None:
    """Refuse, from now on, algorithms whose result depends on the order of threads."""
    torch.use_deterministic_algorithms(True)
