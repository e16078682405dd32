"""The errors of the package, each with the exit code of the command line.

A message is one sentence: the user's own value, what was expected, and why.
"""


class ReconError(Exception):
    """A failure that a user can act on."""

    exit_code = 1


class UsageError(ReconError, ValueError):
    """An argument, a specification or a combination that is not valid."""

    exit_code = 2


class InputError(ReconError):
    """An input that is missing, unreadable or not what it claims to be."""

    exit_code = 3


class ConsistencyError(ReconError):
    """A series, a geometry or a pair of inputs whose parts contradict each other."""

    exit_code = 4


class GuaranteeError(ReconError):
    """A run that diverged, or a guarantee that was required and does not hold."""

    exit_code = 5


class DeviceError(ReconError):
    """A device that was asked for and is not there, or ran out of memory."""

    exit_code = 6


class OutputError(ReconError):
    """An output that cannot, or must not, be written."""

    exit_code = 7


class BatchError(ReconError):
    """Some inputs of a batch failed; the others are written."""

    exit_code = 8
