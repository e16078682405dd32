"""Contents of the inputs of a command, and the names of their results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from recon.batch import series as dicom_series
from recon.batch.classify import Allowed, reason_to_set_aside
from recon.batch.discover import IMAGES, PROJECTIONS, Candidate, Found, SetAside, discover, nothing_found
from recon.batch.identity import fingerprint
from recon.batch.series import Series, Slice
from recon.batch.source import Source, sha256
from recon.errors import InputError, OutputError, UsageError
from recon.io.decoded import RefusedError
from recon.io.dicom.header import read_header
from recon.io.files import suffix_of
from recon.reconstruction.file_names import SUFFIXES
from recon.specs.grammar import Spec
from recon.specs.solve_config import SolveConfig, with_names

_LOSSLESS = {".jpg": ".png", ".jpeg": ".png"}
_SUFFIX_OF = {
    "png": ".png",
    "jpeg": ".png",
    "tiff": ".tif",
    "npy": ".npy",
    "npz": ".npy",
    "hdf5": ".tif",
    "nifti": ".nii",
    "": ".png",
}
_NO_FOLDERS = {
    ".gz", ".nrrd", ".mha", ".mhd", ".zip", ".tar", ".h5", ".hdf5", ".mat", ".npz", ".bmp", ".gif", ".webp",
    ".jp2", ".pdf", ".json", ".toml", ".csv", ".txt", ".img", ".hdr", ".fits", ".ima", ".raw", ".svg", ".mp4", ".avi",
}  # fmt: skip
"""Suffixes of files that are no images which recon writes; any other name is a folder's."""


@dataclass(frozen=True)
class OtherFile:
    """A file that is no DICOM.

    Attributes:
        source: Where it is.
        output: The name of its result, below the folder of results.
        sha256: Of its content; empty of what cannot be read.
    """

    source: Source
    output: PurePosixPath
    sha256: str


@dataclass
class Contents:
    """The contents of the inputs of a batch.

    Attributes:
        series: Of DICOM, in the order of their numbers.
        files: That are no DICOM.
        aside: What is no input, and why.
        failed: What cannot be read, and the sentence that says why.
    """

    series: list[Series] = field(default_factory=list)
    files: list[OtherFile] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)
    failed: list[tuple[Source, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many inputs there are."""
        return sum(len(each.slices) for each in self.series) + len(self.files)

    def under(self, secret: bytes | None) -> "Contents":
        """The same, its series named by hashes that follow from a secret too, where there is one."""
        return replace(self, series=[replace(one, secret=secret or b"") for one in self.series])


def look_into(inputs: Sequence[str], output: Path | None, config: SolveConfig, allowed: Allowed) -> Contents:
    """Return what the inputs of a command are, by their content.

    Args:
        inputs: Files, folders, patterns, archives, DICOMDIRs.
        output: The folder of results.
        config: What is to be done: projections come in other formats than images.
        allowed: What is taken although it is doubtful.

    Raises:
        InputError: There is no input among them.
        OutputError: Two results would have one name.
    """
    kinds = PROJECTIONS if config.operator.name == "ct" else IMAGES
    found = discover(inputs, output, kinds)
    contents = Contents(aside=found.aside, failed=found.failed)
    slices = []
    for candidate in found.candidates:
        if candidate.kind == "dicom" and config.operator.name != "ct":
            slices += _slice(candidate.source, allowed, contents)
        else:
            contents.files += _other(candidate, contents)
    contents.series = dicom_series.group(slices, allowed)
    contents.aside += [SetAside(each.source, "duplicate") for one in contents.series for each in one.duplicates]
    if not (contents.count or contents.failed):
        raise nothing_found(inputs, Found(aside=contents.aside))
    _refuse_one_name(contents.files, output)
    return contents


def _slice(source: Source, allowed: Allowed, contents: Contents) -> list[Slice]:
    try:
        data = source.content()
        header = read_header(data)
    except (InputError, RefusedError) as error:
        contents.failed.append((source, str(error)))
        return []
    if reason := reason_to_set_aside(header, allowed):
        contents.aside.append(SetAside(source, reason))
        return []
    return [Slice(source, sha256(data), header)]


def _other(candidate: Candidate, contents: Contents) -> list[OtherFile]:
    source = candidate.source
    try:
        digest = sha256(source.content())
    except InputError as error:
        contents.failed.append((source, str(error)))
        return []
    return [OtherFile(source, _named(source.relative, candidate.kind), digest)]


def _named(relative: PurePosixPath, kind: str) -> PurePosixPath:
    """The name of a result: that of the input, JPEG becoming PNG, which loses nothing."""
    suffix = relative.suffix
    if suffix.lower() in _LOSSLESS:
        return relative.with_suffix(_LOSSLESS[suffix.lower()])
    return (
        relative
        if suffix_of(relative) in SUFFIXES
        else relative.with_name(relative.name + _SUFFIX_OF.get(kind, ".png"))
    )


def _refuse_one_name(files: Sequence[OtherFile], output: Path | None) -> None:
    by_name: dict[str, list[OtherFile]] = {}
    for each in files:
        by_name.setdefault(str(each.output), []).append(each)
    for name, same in by_name.items():
        if len(same) > 1:
            listed = ", ".join(each.source.relative.name for each in same)
            where = "" if output is None else f"{output}: "
            raise OutputError(f"{where}{listed} would all be written to {name}; expected inputs of distinct names.")


def folder_of(output: str, count: int) -> Path:
    """The folder of results that ``-o`` names.

    Raises:
        UsageError: It is named like a file.
        OutputError: It is one.
    """
    folder = Path(output)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise OutputError(f"{output}: {count} inputs are given and the output is a file; expected a folder.")
    if output.endswith(("/", "\\")):
        return folder
    if suffix_of(folder) in SUFFIXES:
        raise UsageError(
            f"{output}: {count} inputs are given and the output is named like one image; expected the name of a "
            "folder, because each input becomes a file in it. One DICOM series becomes one file with --volume and the "
            "suffix .nii.gz, .tif, .zarr or .npy."
        )
    if folder.suffix.lower() in _NO_FOLDERS:
        raise UsageError(
            f"{output}: the output is named like a file of a format that is not written; expected the name of a "
            "folder, because each input becomes a file in it: DICOM of DICOM, and others as they came."
        )
    return folder


@dataclass(frozen=True)
class Request:
    """The request of a batch.

    Attributes:
        config: The configuration.
        sha256: Its hash.
        folder: Of results.
        overwrite: Whether what is there may be replaced.
        secret: For results that are de-identified, what their UIDs follow from; else ``None``.
        alarm: The critic that judges the results, or empty.
    """

    config: SolveConfig
    sha256: str
    folder: Path
    overwrite: bool = False
    secret: bytes | None = field(default=None, repr=False)
    alarm: str = ""


def request(
    config: SolveConfig, folder: Path, overwrite: bool = False, secret: bytes | None = None, alarm: str = ""
) -> Request:
    """A request with its hash."""
    known = fingerprint(config)
    if alarm:
        known = sha256(f"judged {known} {alarm}".encode())
    if secret is not None:
        known = sha256(f"deidentified {known} {sha256(secret)}".encode())
    return Request(config, known, folder, overwrite, secret, alarm)


def numbered(one: Series) -> Iterator[tuple[Slice, str, int | None]]:
    """The slices of a series with the names of their results and, where the source's do not do, their numbers."""
    numbers = [each.header.number for each in one.slices]
    single = all(each.header.frames == 1 for each in one.slices)
    keeps = single and None not in numbers and len(set(numbers)) == len(numbers)
    digits = max(4, len(str(len(one.slices))))
    first = 1
    for place, each in enumerate(one.slices, start=1):
        yield each, f"{place:0{digits}}.dcm", None if keeps else first
        first += each.header.frames


def with_absolute_names(config: SolveConfig) -> SolveConfig:
    """The configuration with file names that mean the same in another working directory."""
    return with_names(config, _absolute, lambda path: str(path.resolve()))


def _absolute(spec: Spec) -> Spec:
    return replace(spec, folder=str(Path(spec.folder).resolve()))
