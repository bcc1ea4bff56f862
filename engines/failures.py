"""The ways a command may fail: each carries its exit code and one sentence for the user.

    Failure
    ├── UsageError      2   contradictory or unknown flags
    ├── GateFailed      3   a quality gate was not met
    ├── DeviceMissing   4   a device or a backend is not there
    │   └── DeviceLost  4   a device was there, and failed
    ├── SourceFailed    5   a camera or video could not be read
    └── Refused         6   a bundle, checkpoint, ONNX file or dataset was not accepted

The sentence says what happened, the likely cause, and the next command to type.
Rooms that may not import this one raise an exception of their own with an `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


class Failure(Exception):
    """A foreseen failure; `str(error)` is shown to the user as it is, without a traceback."""

    exit_code = 1


class UsageError(Failure):
    """Flags that contradict each other, or a name that does not exist."""

    exit_code = 2


class GateFailed(Failure):
    """A measured quality was below the limit the user set."""

    exit_code = 3


class DeviceMissing(Failure):
    """A device, driver or backend that this command needs is not on this machine."""

    exit_code = 4


class DeviceLost(DeviceMissing):
    """A GPU failed in the middle of a run, which this process cannot mend.

    Args:
        reason: The driver's.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the GPU failed ({reason}), and this process can use it no more: start it again; if "
            "it fails again, sudo dmesg | grep -i -e xid -e nvgpu tells the fault, and "
            "python -m engines.doctor what does not fit"
        )


class SourceFailed(Failure):
    """A camera, video or folder of frames did not open or stopped unexpectedly."""

    exit_code = 5


class Refused(Failure):
    """An input file is missing, corrupt, tampered with, or of the wrong kind."""

    exit_code = 6


# What taking data apart that has another form raises; RecursionError is JSON's, of [[[[..., and
# OverflowError float's, of a whole number of 400 digits.
MALFORMED = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


def hint(word: str, known: Collection[str], label: str = "known") -> str:
    """A guess at which of `known` was meant, or all there are, to end a sentence with."""
    guess = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {guess[0]}?" if guess else f"{label}: {', '.join(known) or 'none'}"
