"""MicroPython's prompt, as maintenance opens it: our files, written and read back by mpremote.

mpremote's transport is imported: a process of its own for each step would start 25 times, and tell
of its progress in words for people.
"""

# mpremote has no type annotations.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, cast

from hardmute.device.holder import PortHolder
from hardmute.flash import machines, releases, tree
from hardmute.model import errors, words

# How long the prompt may take for one step, in seconds: erasing flash takes 45 ms a block.
_STEP_S = 10.0
# Bytes of a file in one step.
_CHUNK = 512
# No file of a board is larger than its flash.
_MAX_FILE = 4 * 1024 * 1024
# The firmware's own name for what is not complete yet: left behind, it is written over.
_PARTIAL = "partial.tmp"
_MPY_VERSION = 6
_FOLDER = 0x4000
_DEEPEST = 8
_ENOSPC = ("ENOSPC", "OSError: 28", "Errno 28")

Progress = Callable[[int, int], None]


class Prompted(NamedTuple):
    """What a prompt says of itself. ``machine``: one of `muteboard.boards.MACHINES`.
    ``firmware``: our version there, None without our files.
    """

    machine: str
    release: tuple[int, ...]
    takes_compiled: bool
    firmware: str | None


class Prompt:
    """An open prompt. Every method raises `UnreachableError` when the board goes away, and
    `LocalError` when it says no.
    """

    def __init__(self, transport: Any, device: str) -> None:
        self._transport = transport
        self._device = device

    def about(self) -> Prompted:
        """What runs there, in the board's own words. Raises `UsageError` for a board that is not
        supported.

        To be asked before anything is written: a Pico 2 has the USB id and the prompt of a Pico.
        """
        with self._explained():
            self._transport.exec("import sys")
            said = self._transport.eval(
                "(sys.implementation[0], tuple(sys.implementation[1][:3]),"
                " getattr(sys.implementation, '_machine', ''),"
                " getattr(sys.implementation, '_mpy', 0) & 255)"
            )
            name, release, machine, mpy = cast("tuple[str, tuple[int, ...], str, int]", said)
        if name != "micropython":
            raise errors.UsageError(f"{self._device} is at a prompt of {name}, not MicroPython.")
        # Releases that do not say it are too old in any case.
        if machine or release >= releases.OLDEST:
            machines.check(str(machine), f"The board at {self._device} is")
        if release < releases.OLDEST:
            raise errors.UsageError(
                f"The board at {self._device} has MicroPython {'.'.join(map(str, release))}: the "
                "firmware needs 1.25. A Pico gets it in BOOTSEL, and our files with it."
            )
        return Prompted(machine, release, mpy == _MPY_VERSION, self._firmware())

    def _firmware(self) -> str | None:
        with self._explained():
            said = self._transport.eval(
                # Of an update that was cut short there may be the folder alone.
                "getattr(__import__('muteboard'), '__version__', None)"
                " if 'muteboard' in __import__('os').listdir() else None"
            )
        return None if said is None else words.printable(str(said))

    def paths(self) -> list[str]:
        """Every file on the board."""
        with self._explained():
            return sorted(self._walk(""))

    def _walk(self, folder: str) -> Generator[str]:
        if folder.count("/") > _DEEPEST:
            raise errors.LocalError(f"The folders at {self._device} never end: no board of ours.")
        for entry in self._transport.fs_listdir(folder):
            path = f"{folder}/{entry.name}".lstrip("/")
            if entry.st_mode & _FOLDER:
                yield from self._walk(path)
            else:
                yield path

    def read(self, path: str) -> bytes:
        """A file, as the board's own MicroPython tells it."""

        def watch(done: int, _size: int) -> None:
            if done > _MAX_FILE:
                raise errors.LocalError(f"{words.printable(path)} never ends: no board of ours.")

        with self._explained():
            return bytes(self._transport.fs_readfile(path, _CHUNK, watch))

    def sha256(self, path: str) -> bytes:
        """The hash of a file, as the board's own MicroPython reckons it."""
        with self._explained():
            return bytes(self._transport.fs_hashfile(path, "sha256", _CHUNK))

    def install(self, files: Mapping[str, bytes], progress: Progress) -> None:
        """Write ``files``, and remove what else lies in our package. The board's data stay.

        In such an order that a board on which it was cut short stays at the prompt with the line
        cut: the program is removed first and written last, each file complete or not there.
        """
        self._remove(tree.MAIN)
        for folder in sorted({f"{path.rpartition('/')[0]}" for path in files} - {""}):
            self._make_folders(folder)
        order = sorted(files, key=lambda path: (path == tree.MAIN, path.startswith("boot"), path))
        total = sum(map(len, files.values()))
        done = 0
        for path in order:
            if path == tree.MAIN:
                self._remove_strangers(files)
            self._write(path, files[path], lambda part, _, done=done: progress(done + part, total))
            done += len(files[path])
        progress(total, total)

    def _write(self, path: str, content: bytes, progress: Progress) -> None:
        with self._explained():
            self._transport.fs_writefile(_PARTIAL, content, _CHUNK, progress)
            self._transport.exec(f"import os\nos.rename({_PARTIAL!r}, {path!r})")

    def _remove(self, path: str) -> None:
        with self._explained(), contextlib.suppress(FileNotFoundError):
            self._transport.fs_rmfile(path)

    def _make_folders(self, folder: str) -> None:
        parts = folder.split("/")
        for end in range(1, len(parts) + 1):
            with self._explained(), contextlib.suppress(FileExistsError):
                self._transport.fs_mkdir("/".join(parts[:end]))

    def _remove_strangers(self, files: Mapping[str, bytes]) -> None:
        # A source beside a compiled file would be run instead of it.
        for path in self.paths():
            if path.startswith(tree.PACKAGE) and path not in files:
                self._remove(path)

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        from mpremote.transport import TransportError, TransportExecError

        # mpremote prints what it did not expect.
        noise = io.StringIO()
        try:
            with contextlib.redirect_stdout(noise):
                yield
        except TransportExecError as error:
            lines = str(error).strip().splitlines()
            said = words.printable(lines[-1] if lines else "no reason given")
            if any(word in said for word in _ENOSPC):
                raise errors.LocalError(
                    f"The file system of the board at {self._device} is full: it was not flashed "
                    "completely. Remove what is not hardmute's, or erase it in BOOTSEL."
                ) from error
            raise errors.LocalError(f"The board at {self._device} refused: {said}.") from error
        except (FileNotFoundError, FileExistsError):
            # What the board answers of its files, by mpremote's names.
            raise
        except (TransportError, OSError, struct.error, SyntaxError, ValueError) as error:
            raise errors.UnreachableError(
                f"{self._device} went away, or left the prompt, in the middle: open maintenance "
                "again and repeat this. Until then the line stays cut.",
                "unplugged",
            ) from error


@contextlib.contextmanager
def opened(device: str, timeout: float) -> Generator[Prompt]:
    """The prompt at ``device``, held for this process. ``timeout``: for its holder, in seconds.

    Raises `LocalError` without mpremote, `UnreachableError` where no prompt answers.
    """
    try:
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport
    except ImportError as error:
        raise errors.MissingExtraError(
            "To write files to a board takes mpremote", "flash"
        ) from error
    with PortHolder(device, timeout):
        transport: Any = None
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                transport = SerialTransport(device, timeout=_STEP_S)
                # A soft reset would run boot.py, and end the flashing lamp.
                transport.enter_raw_repl(soft_reset=False, timeout_overall=_STEP_S)
        except (TransportError, OSError) as error:
            with contextlib.suppress(OSError):
                if transport is not None:
                    transport.close()
            raise errors.UnreachableError(
                f"No MicroPython prompt answers at {device}: is the board in maintenance?",
                "no_answer",
            ) from error
        try:
            yield Prompt(transport, device)
            with contextlib.suppress(OSError):
                transport.exit_raw_repl()
        finally:
            with contextlib.suppress(OSError):
                transport.close()
