"""Small DICOM series and heaps of them, made of real slices, with a patient's name wherever one could leak."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENT, IDENTITY = "DOE^JOHN", "SECRET123"
QUICK = ("--operator", "identity", "--prior", "tv", "--device", "cpu")


def cut(path: Path, top: int, left: int, side: int = 32) -> pydicom.Dataset:
    """A square of a slice, of a patient of this name."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array[top : top + side, left : left + side]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.PatientName, dataset.PatientID = PATIENT, IDENTITY
    dataset.remove_private_tags()
    return dataset


def ct() -> pydicom.Dataset:
    dataset = cut(REPOSITORY / "data" / "ct" / "tcga_60-2695.dcm", 200, 200)
    dataset.ImageType, dataset.Laterality = ["ORIGINAL", "PRIMARY", "AXIAL"], ""
    return dataset


def mr() -> pydicom.Dataset:
    dataset = cut(REPOSITORY / "data" / "mr" / "studyforrest_t1.dcm", 150, 100)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    return dataset


def another_ct() -> pydicom.Dataset:
    return cut(Path(str(get_testdata_file("CT_small.dcm"))), 30, 30)


def anew(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """A copy that is another instance."""
    found = copy.deepcopy(dataset)
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return found


def slices(
    first: pydicom.Dataset,
    places: Sequence[float | None],
    numbers: Sequence[int] | None = None,
    shift: float = 0.0,
) -> list[pydicom.Dataset]:
    """A series with slices at these places in mm along the normal; ``None``: one that does not say its place."""
    series, normal = generate_uid(), np.cross(first.ImageOrientationPatient[:3], first.ImageOrientationPatient[3:])
    aside, origin = np.array(first.ImageOrientationPatient[:3]), np.array(first.ImagePositionPatient)
    noise, found = np.random.default_rng(0), []
    for k, place in enumerate(places):
        one = anew(first)
        one.SeriesInstanceUID = series
        one.InstanceNumber = len(places) - k if numbers is None else numbers[k]
        if place is None:
            del one.ImagePositionPatient
        else:
            where = origin + place * normal + shift * place * aside
            one.ImagePositionPatient = [f"{number:.6f}" for number in where]
        pixels = first.pixel_array + noise.integers(-3, 4, first.pixel_array.shape)
        one.PixelData = pixels.astype(first.pixel_array.dtype).tobytes()
        found.append(one)
    return found


def save(datasets: Sequence[pydicom.Dataset], folder: Path, names: str = "{k}.dcm") -> list[Path]:
    """Write data sets to a folder; ``{k}`` is their number and ``{uid}`` their SOPInstanceUID."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / names.format(k=k, uid=one.SOPInstanceUID) for k, one in enumerate(datasets)]
    for one, path in zip(datasets, paths, strict=True):
        one.save_as(path)
    return paths


def heap(root: Path) -> Path:
    """Three series in sub-folders under all sorts of names, with all that is to be set aside."""
    first = save(slices(ct(), [0, 2, 4, 6]), root / "DOE_JOHN" / "ct", "{uid}")[0]
    save(slices(mr(), [0, 0.7, 1.4]), root / "DOE_JOHN" / "mr", "IM{k}.IMA")
    save(slices(another_ct(), [0, 5]), root / "other", "{k:03}")
    (root / "copy_of_john.dcm").write_bytes(first.read_bytes())
    for name, kind in (("scout", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), ("mpr.dcm", ["DERIVED", "SECONDARY", "MPR"])):
        odd = anew(pydicom.dcmread(first))
        odd.ImageType, odd.SeriesInstanceUID = kind, generate_uid()
        odd.save_as(root / name)
    (root / "report.dcm").write_bytes(Path(str(get_testdata_file("test-SR.dcm"))).read_bytes())
    (root / "notes.txt").write_text("of John Doe")
    (root / ".hidden").write_bytes(b"x")
    return root
