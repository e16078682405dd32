"""Description of the run in a derived DICOM image, and UIDs that follow from the source and the run.

The form 2.25.<integer of a UUID> is that of PS3.5, section B.2; the UUID is of version 5, of a SHA-256.
"""

import datetime
import hashlib
import uuid
from dataclasses import dataclass, field

_KNOWN_CODES = {"identity": ("113087", "Smoothing"), "blur": ("113086", "Edge enhancement")}
"""Of CID 7203, Image Derivation (PS3.16), by the name of the operator."""


@dataclass(frozen=True)
class Derivation:
    """One run on one series.

    Attributes:
        configuration: The SHA-256 of everything that the pixels depend on beside the source.
        parameters: What was done, for people; no names of files.
        brief: The same in about twenty letters.
        operator: The name of the operator.
        made: When the series was begun: all its images state the same time.
        number: The InstanceNumber of the first frame; ``None``: that of the source.
        secret: From which new UIDs follow where the image is to be de-identified; else ``None``.
    """

    configuration: str
    parameters: str = ""
    brief: str = ""
    operator: str = ""
    made: datetime.datetime | None = None
    number: int | None = None
    secret: bytes | None = field(default=None, repr=False)

    @property
    def short(self) -> str:
        """The beginning of the hash."""
        return self.configuration[:8]

    @property
    def code(self) -> tuple[str, str] | None:
        """The code of the DICOM controlled terminology and its meaning, where there is one."""
        return _KNOWN_CODES.get(self.operator)

    def series_uid(self, study: str, series: str) -> str:
        """The SeriesInstanceUID of what this run makes of a series."""
        return derived_uid("series", study, series, self.configuration)

    def instance_uid(self, instance: str, frame: int) -> str:
        """The SOPInstanceUID of what this run makes of a frame of an instance."""
        return derived_uid("instance", instance, str(frame), self.configuration)

    def series_number(self, source: int) -> int:
        """A SeriesNumber that shows the source's and, but for one in 999, tells runs apart."""
        return source * 1000 + 1 + int(self.configuration[:12], 16) % 999


def derived_uid(*parts: str) -> str:
    """The UID that follows from texts: the same texts give the same one, anywhere."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
