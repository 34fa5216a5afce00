"""Exit codes, and the exceptions that end a command with one clear sentence."""

from __future__ import annotations

# docs/design.md, "On the host". LIVE means that the board is live, and nothing else ever.
OK = 0
LIVE = 1
USAGE = 2
UNKNOWN = 3
FAULT = 4
TAMPERED = 5
LOCAL = 6
INTERRUPTED = 130

_SEVERITY = (OK, LOCAL, LIVE, UNKNOWN, FAULT, TAMPERED)


def worst(*codes: int) -> int:
    """The code that wins when several apply: 5, 4, 3, 1, 6, 0."""
    return max(codes, key=_SEVERITY.index)


class HardmuteError(Exception):
    """Something went wrong that a person can act on. The message says what, and what to do."""

    exit_code = LOCAL


class LocalError(HardmuteError):
    """This machine lacks something that the command needs."""


class MissingExtraError(LocalError):
    """An optional part of hardmute, ``extra``, is not installed. ``lacks``: a clause that says so.

    hardmute is on no package index: an extra is installed from a clone.
    """

    def __init__(self, lacks: str, extra: str) -> None:
        super().__init__(f"{lacks}: run `pip install -e '.[{extra}]'` in your clone of hardmute.")


class UsageError(HardmuteError):
    """The command cannot mean anything as given."""

    exit_code = USAGE


class UnreachableError(HardmuteError):
    """The board's state cannot be known now. ``reason`` is the short word for it in the log."""

    exit_code = UNKNOWN

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class PortHeldError(UnreachableError):
    """Another hardmute process with this log holds the port ``device``, and logs what it hears."""

    def __init__(self, message: str, device: str) -> None:
        super().__init__(message, "port_held")
        self.device = device


class PortWantedError(PortHeldError):
    """Another hardmute command, which goes first, has asked for the port that this one held."""

    def __init__(self, device: str) -> None:
        super().__init__(
            f"Another hardmute command asked for {device} and got it: begin again.", device
        )


class NewerError(HardmuteError):
    """A file is of a version that this program does not know: nothing can be said of it."""

    exit_code = UNKNOWN

    def __init__(self, what: object, version: int) -> None:
        super().__init__(
            f"{what} was written by a newer hardmute (version {version}): update hardmute."
        )


class OldReceiptError(HardmuteError):
    """A receipt is of a version from before the first release, which nobody reads any more."""

    exit_code = UNKNOWN

    def __init__(self, what: object) -> None:
        super().__init__(f"{what} was made before hardmute's first release: make a new receipt.")


class RefusedError(HardmuteError):
    """The board answered and said no. ``code`` is its error code (`muteboard.wire.ERRORS`)."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code
        # Asked for what cannot be had like that, or tried and failed.
        self.exit_code = USAGE if code in ("setup_required", "bad_arg", "unsupported") else LOCAL


class LogError(HardmuteError):
    """The log could not be read or written; what was recorded before is untouched."""

    exit_code = LOCAL


class NewerLogError(LogError):
    """The log is of a version that this program does not know. It is left as it is."""


class LogDamagedError(HardmuteError):
    """The log is not what was written. It has been kept aside."""

    exit_code = TAMPERED


class EvidenceError(HardmuteError):
    """What a board says does not fit what is known of it, or somebody's key."""

    exit_code = TAMPERED
