"""Receipt files: how they are read, and written so that nothing is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardmute.evidence import receipt
from hardmute.model import errors
from hardmute.system.new_file import new_file


def write_receipt(file: Path, written: bytes) -> None:
    """Write a receipt to the new ``file``. Raises as `require_readable` and `new_file`."""
    require_readable(written)
    with new_file(file) as stream:
        stream.write(written)


def require_readable(written: bytes) -> None:
    """Raise `UsageError` unless a receipt can be read again: else nobody could check it."""
    try:
        receipt.parsed(receipt.text_in(written), "the receipt")
    except (ValueError, RecursionError) as error:
        raise errors.UsageError(
            "There is too much evidence for one receipt: prove a shorter time."
        ) from error


def require_name(file: Path) -> None:
    """Raise `UsageError` unless a receipt can have this name."""
    if file.suffix.lower() not in (".html", ".json"):
        raise errors.UsageError("A receipt is FILE.json or FILE.html.")


def read_receipt(file: Path) -> dict[str, Any]:
    """The receipt in a JSON or HTML file; each of its entries as an `Entry`.

    Raises `EvidenceError` for what is none, and `NewerError` or `OldReceiptError` if another
    hardmute has made it.
    """
    try:
        # Nothing here keeps what it hands over: parsing takes several times the file.
        return receipt.parsed(receipt.text_in(_data_in(file)), file)
    except (ValueError, TypeError, RecursionError) as error:
        raise errors.EvidenceError(f"{file} is no receipt as this hardmute makes it.") from error


def _data_in(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(receipt.LARGEST + 1)
    except OSError as error:
        raise errors.UsageError(f"{file} cannot be read ({error.strerror or error}).") from error
