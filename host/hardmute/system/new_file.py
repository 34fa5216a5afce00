"""Files that a command writes for a person: new, for its owner only, whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

from hardmute.model.errors import LocalError, UsageError
from hardmute.model.typed import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


@contextlib.contextmanager
def new_file(file: Path) -> Generator[BinaryIO]:
    """A stream into ``file``, which must not exist: nothing is overwritten, no link is followed.

    The data is on the disk at the end. If anything fails before that, the file is removed again:
    half a file would block the name, or pass for a whole one. Raises `UsageError` if there is
    something of that name, and `LocalError` if the file cannot be written.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(file, flags, 0o600)
        try:
            with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise UsageError(f"{file} is there already: name a new file.") from error
    except OSError as error:
        raise LocalError(f"{file} cannot be written ({error.strerror or error}).") from error


def replace_file(file: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put ``content`` into ``file``, whole or not at all. ``mode``: its permissions.

    Its folder is made if need be. Raises `LocalError` if the file cannot be written.
    """
    made = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        made.unlink(missing_ok=True)
        with new_file(made) as stream:
            stream.write(content)
        # The umask may have taken some of it.
        made.chmod(mode)
        made.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        raise LocalError(f"{file} cannot be written ({error.strerror or error}).") from error
