"""Identity of a result beside its input: a hash of the configuration, and the same in words."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from recon._version import __version__
from recon.catalogue import DESCRIPTION
from recon.specs.grammar import Spec
from recon.specs.solve_config import SolveConfig, to_json, with_files, with_names

STEPS, NUMBERS = "steps.json", "steps.safetensors"
"""Of a folder of learned steps."""

_NOT_OF_THE_PIXELS = ("device", "deterministic", "require_certificate", "memory")


def fingerprint(config: SolveConfig) -> str:
    """The SHA-256 of a configuration, its files by their content and not by their names, with the version of recon.

    Two machines, or two folders, that hold the same files agree on it. Devices differ by rounding and do not count.
    """
    values = to_json(_with_hashes(config))
    kept = {key: value for key, value in values.items() if key not in _NOT_OF_THE_PIXELS}
    text = json.dumps({"recon": __version__, **kept}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def parameters(config: SolveConfig) -> str:
    """Return what a configuration does, for people, without names of files."""
    values = to_json(_with_hashes(config))
    told = (
        "operator",
        "prior",
        "method",
        "noise",
        "range",
        "stepsize",
        "surrogate",
        "shift",
        "iterations",
        "tolerance",
        "volume",
        "slice_distance",
    )
    shown = [f"{key} {_shown(values[key])}" for key in told if values[key] not in (None, False)]
    return ", ".join(shown)


def brief(config: SolveConfig) -> str:
    """The prior and the noise level, in a few letters."""
    prior = "" if config.prior is None else config.prior.value or config.prior.name
    if config.prior is not None and config.prior.name in ("folder", "python"):
        prior = config.prior.name
    noise = "" if config.noise is None else f"{config.noise.sigma:.3g}{config.noise.unit}"
    return f"{noise} {prior}".strip()


def _shown(value: object) -> str:
    return ":".join(f"{number:g}" for number in value) if isinstance(value, list) else str(value)


def _with_hashes(config: SolveConfig) -> SolveConfig:
    """The configuration with the hash of each file in place of its name."""
    return with_names(config, _hashed, _hash_of)


def _hashed(spec: Spec) -> Spec:
    if spec == Spec(spec.name, folder=spec.folder) and spec.path(spec.name).is_dir():  # a network by its folder alone
        return Spec(spec.name, value=_hash_of(spec.path(spec.name)))
    return replace(with_files(spec, _hash_of), folder="")


def _hash_of(path: Path) -> str:
    """The hash of a file, or of the network in a folder; what cannot be read is refused where it is used."""
    digest = hashlib.sha256()
    try:
        for part in _parts(path):
            digest.update(part.read_bytes())
    except OSError:
        return "sha256-unreadable"
    return f"sha256-{digest.hexdigest()[:16]}"


def _parts(path: Path) -> tuple[Path, ...]:
    """A file, or those of a network, or of learned steps, in a folder."""
    if not path.is_dir():
        return (path,)
    if (path / STEPS).exists():
        return (path / STEPS, path / NUMBERS)
    return (path / DESCRIPTION, *sorted(path.glob("*.safetensors")))
