"""De-identification by the basic application confidentiality profile (PS3.15, annex E, table E.1-1).

The table is that of the package dicom-anonymizer, of the standard of 2026; its rules are applied here to all items of
all sequences. UIDs, and the pseudonym of a patient, follow from the originals and from a secret: a patient, a study and
a series stay together over all files, runs and machines that have the secret, and nobody else can tell whose they were.
"""

import copy
import hashlib
import hmac
import importlib.util
import uuid
from collections.abc import Callable
from typing import Any

from recon.io.decoded import RefusedError

PACKAGE = "dicom-anonymizer"
_TABLE = "dicomfields_2026c"
_METHOD = "recon: basic application confidentiality profile, PS3.15"
_REMOVED, _EMPTIED, _REPLACED = ("X_TAGS",), ("Z_TAGS", "X_Z_TAGS"), ("D_TAGS", "Z_D_TAGS", "X_D_TAGS", "X_Z_D_TAGS")
_UIDS = ("U_TAGS", "X_Z_U_STAR_TAGS")

_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
"""Of dates and times, which must not be empty."""

Action = Callable[[Any, Any, bytes], None]


def is_installed() -> bool:
    """Return whether the table can be had."""
    return importlib.util.find_spec("dicomanonymizer") is not None


def deidentified(header: Any, secret: bytes) -> Any:
    """A copy of a data set without what identifies a patient, but for the pixels.

    Args:
        header: The data set.
        secret: What UIDs and the pseudonym follow from.

    Raises:
        RefusedError: The package is missing, or the file says that text is burned into its pixels.
    """
    if not is_installed():
        raise RefusedError(f"to de-identify it needs the package {PACKAGE}, which is not installed.")
    if str(header.get("BurnedInAnnotation") or "") == "YES":
        raise RefusedError("its pixels have text burned in, as it says, so that they cannot be de-identified.")
    dataset = copy.deepcopy(header)
    patient = (
        f"{dataset.get('IssuerOfPatientID', '')}\0{dataset.get('PatientID', '')}\0{dataset.get('PatientName', '')}"
    )
    dataset.remove_private_tags()
    _apply(dataset, _rules(), secret)
    pseudonym = hmac.new(secret, f"patient\0{patient}".encode(), hashlib.sha256).hexdigest()[:16].upper()
    dataset.PatientName, dataset.PatientID = pseudonym, pseudonym
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    dataset.DeidentificationMethodCodeSequence = [_profile()]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    return dataset


def secret_uid(uid: str, secret: bytes) -> str:
    """The UID that stands for another; without the secret it tells nothing of it."""
    digest = hmac.new(secret, f"uid\0{uid}".encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def _rules() -> dict[tuple[int, int], Action]:
    """Return what is done to each attribute; repeating groups are overlays and curves, which no result has."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector  # noqa: PLC0415

    table = dicom_anonymization_database_selector(_TABLE)
    actions = ((_REMOVED, _remove), (_EMPTIED, _empty), (_REPLACED, _replace), (_UIDS, _replace_uid))
    return {
        (tag[0], tag[1]): action for names, action in actions for name in names for tag in table[name] if len(tag) == 2
    }


def _apply(dataset: Any, rules: dict[tuple[int, int], Action], secret: bytes) -> None:
    for tag in list(dataset.keys()):
        action = rules.get((tag.group, tag.element))
        if action is not None:
            action(dataset, tag, secret)
        if tag in dataset and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                _apply(item, rules, secret)


def _remove(dataset: Any, tag: Any, _secret: bytes) -> None:
    del dataset[tag]


def _empty(dataset: Any, tag: Any, _secret: bytes) -> None:
    element = dataset[tag]
    element.value = [] if element.VR == "SQ" else None


def _replace(dataset: Any, tag: Any, secret: bytes) -> None:
    from dicomanonymizer.simpledicomanonymizer import replace_element  # noqa: PLC0415

    element = dataset[tag]
    if element.VR == "UI":
        _replace_uid(dataset, tag, secret)
    elif element.VR in _DUMMIES:
        element.value = _DUMMIES[element.VR]
    elif element.VR != "SQ":  # of which the items are gone through
        replace_element(element)


def _replace_uid(dataset: Any, tag: Any, secret: bytes) -> None:
    element = dataset[tag]
    if element.VR != "UI" or not element.value:
        return
    several = not isinstance(element.value, str)
    element.value = (
        [secret_uid(str(uid), secret) for uid in element.value] if several else secret_uid(str(element.value), secret)
    )


def _profile() -> Any:
    from pydicom.dataset import Dataset  # noqa: PLC0415

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    return code
