"""The sidecar of a simulated measurement: the JSON file beside it that says how it was made."""

import json
from pathlib import Path

from recon.errors import ConsistencyError, InputError
from recon.reconstruction.record import SCHEMA, input_file
from recon.specs.grammar import parse_spec

SUFFIX = ".simulate.json"


def sidecar_path(output: Path) -> Path:
    """Return where the sidecar of a measurement lies."""
    return output.with_name(output.name + SUFFIX)


def sidecar_values(measurement: Path) -> dict[str, object]:
    """The operator, the noise and the range that a measurement was simulated with.

    Raises:
        InputError: The measurement cannot be read, or the sidecar is missing or damaged.
        ConsistencyError: The sidecar is of another file, or a file of the operator has changed: the hash is another.
    """
    path = sidecar_path(measurement)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r}")
        operator = parse_spec(document["operator"], "operator", str(path.parent))
        noise = None if document.get("photons") else document["noise"]
        projected = {key: document[key] for key in ("water", "photons") if document.get(key) is not None}
        values = {"operator": operator, "noise": noise, "range": document["range"], **projected}
        hashes = [str(entry["sha256"]) for entry in document["outputs"]]
        needed = [(str(entry["path"]), entry["sha256"]) for entry in document.get("operator_files", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: the sidecar of the measurement is damaged ({error}).") from error
    found = input_file("measurement", measurement).sha256
    if found not in hashes:
        raise ConsistencyError(
            f"{measurement}: its SHA-256 is {found[:12]}... and {path.name} is of "
            f"{', '.join(f'{known[:12]}...' for known in hashes) or 'no file'}; expected the file that was simulated, "
            "or --operator and --noise, because a sidecar says nothing of another file."
        )
    for name, known in needed:
        if input_file("operator", path.parent / name).sha256 != known:
            raise ConsistencyError(
                f"{path.parent / name}: the operator's file has changed since {path.name} was written; expected the "
                "same file, or --operator and --noise."
            )
    return values
