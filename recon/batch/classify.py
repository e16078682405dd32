"""DICOM objects that are set aside: what is no image, localisers, images derived from images, results of recon."""

from dataclasses import dataclass

from recon.io.dicom.header import Header

_LOCALISERS = {"LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM", "SCANOGRAM"}
_REFORMATTED = {
    "MPR",
    "CSA MPR",
    "MIP",
    "CSA MIP",
    "MINIP",
    "REFORMATTED",
    "PROJECTION IMAGE",
    "MAX_IP",
    "MIN_IP",
    "VOLREN",
    "SUBTRACTION",
    "COMPOSED",
}
_MASKS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


@dataclass(frozen=True)
class Allowed:
    """Inputs that are taken although they would be set aside, or refused.

    Attributes:
        localisers: Localisers.
        derived: Images derived from images, and results of recon.
        unordered: Series whose order is in doubt.
    """

    localisers: bool = False
    derived: bool = False
    unordered: bool = False


def reason_to_set_aside(header: Header, allowed: Allowed) -> str:  # noqa: PLR0911  one line for each reason
    """Return why a DICOM object is no input; empty where it is one."""
    if header.is_directory:
        return "directory of a medium (DICOMDIR)"
    if header.kind in _MASKS or header.modality == "SEG" or header.bits == 1:
        return "mask of labels"
    if header.kind == _DOSE:
        return "dose grid"
    if not header.is_image and "Image Storage" not in header.kind_name:
        return f"DICOM object without pixels ({header.kind_name})"
    if header.own and not allowed.derived:
        return "result of recon"
    if not allowed.localisers and _LOCALISERS & set(header.image_type):
        return "localiser"
    return "" if allowed.derived or not is_derived(header) else "derived image"


def is_derived(header: Header) -> bool:
    """Return whether an image was made of other images, as a reformatted one is.

    DERIVED\\PRIMARY is none, unless its flavour says so: archives write it where they compress an image.
    """
    kind = header.image_type
    if not kind or kind[0] != "DERIVED":
        return False
    return (len(kind) > 1 and kind[1] == "SECONDARY") or bool(_REFORMATTED & set(kind))


def hint(reason: str) -> str:
    """The option that takes what was set aside; empty where there is none."""
    if reason == "localiser":
        return "--allow-localisers"
    return "--allow-derived" if reason in ("derived image", "result of recon") else ""
