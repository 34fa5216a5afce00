"""Reads a large log in several processes, for a `verifier.Verifier` in this one, which is one of
them.

They do the work that needs nothing of the entries before (`batches`). The verifier takes what they
have read in order. Where that is not sound, or one of them is gone, it reads the entries itself:
so nothing that it finds depends on them, and nothing is right because one of them is silent.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from hardmute.evidence import verifier
from hardmute.evidence.batches import CHUNK, Batch, batch_of, runs
from hardmute.evidence.macs import EpochKeys, Keys
from hardmute.evidence.observation import NO_ROW
from hardmute.evidence.verifier import Verifier
from hardmute.store.log import Log

# Rows that are read at a time. What is read of so many records is short of the 64 KiB that a pipe
# holds: who has read it goes on.
SEGMENT = 1 << 10
# So many segments another process may have to read, and so many may be read before one that is
# not there yet.
AHEAD, BEHIND = 3, 64
# A log with fewer rows is read here before other processes would have begun.
SMALLEST = 1 << 16
# Of the processes, this one is one. Each of the others takes 20 MB of memory.
MOST = 4


class Segment(NamedTuple):
    """Rows from ``first`` to ``last``, after entry ``after``, which has the hash ``before``."""

    first: int
    last: int
    after: int
    before: bytes


# Reads a segment: its batches, up to the first one in which anything is wrong.
Read = Callable[[Segment], list[Batch]]


def verified(log: Log, secrets: Keys, until_row: int = NO_ROW) -> Verifier:
    """The verifier that has taken all entries of ``log`` up to ``until_row``."""
    check = verifier.begin(next(log.rows(0, NO_ROW), None), log.rows_of("checkpoint"), secrets)
    take_all(check, log, until_row)
    return check


def take_all(check: Verifier, log: Log, last: int) -> None:
    """Have ``check`` take the entries of ``log`` up to row ``last``."""
    first = log.next_row(0)
    last = min(last, log.head()[0])
    # This process reads as well.
    others = min(processors(), MOST) - 1
    if first is None or last - first < SMALLEST or others < 1:
        check.take(log.rows(0, last))
        return
    keys = check.keyring.epochs
    with started(log, keys.secrets, others) as readers, _collecting_nothing():
        segments = _segments(check, log, first, last)
        for segment, batches in _in_order(segments, readers, partial(read, log, keys)):
            beyond = segment.first
            for batch in batches:
                end = batch.numbers[-1]
                check.take_batch(batch, log.rows(beyond, end))
                beyond = end + 1
            # There are none left, if all were read and nothing is wrong.
            check.take(log.rows(beyond, segment.last))


def _segments(check: Verifier, log: Log, first: int | None, last: int) -> Iterator[Segment]:
    after, before = check.end
    while first is not None and first <= last:
        end = min(first + SEGMENT - 1, last)
        yield Segment(first, end, after, before)
        after, before = log.head(end)
        first = log.next_row(end + 1)


def _in_order(
    segments: Iterator[Segment], readers: Sequence[Reader], read_here: Read
) -> Iterator[tuple[Segment, list[Batch]]]:
    """Each segment and what was read of it: by one of ``readers``, or here while they are busy."""
    waiting: deque[tuple[Segment, Reader | None, list[Batch]]] = deque()
    for segment in segments:
        reader = min(readers, key=lambda one: one.asked)
        if reader.asked < AHEAD:
            reader.ask(segment)
            waiting.append((segment, reader, []))
        else:
            waiting.append((segment, None, read_here(segment)))
        while waiting:
            first, reader, batches = waiting[0]
            if reader is not None and len(waiting) < BEHIND and not reader.has_answered():
                break
            waiting.popleft()
            yield first, batches if reader is None else reader.answer()
    for segment, reader, batches in waiting:
        yield segment, batches if reader is None else reader.answer()


@contextlib.contextmanager
def _collecting_nothing() -> Generator[None]:
    """Nothing that is made within refers to itself, so to look for such takes time for nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def started(log: Log, secrets: Keys, count: int) -> Generator[Sequence[Reader]]:
    """Readers of ``log``, each in a process of its own, which end with this."""
    readers = [Reader(log.file, log.opened, secrets) for _ in range(count)]
    try:
        yield readers
    finally:
        for reader in readers:
            reader.close()


class Reader:
    """A process that reads. If it cannot be started, or is gone, it has read nothing.

    ``asked``: how many segments it was asked for and has not answered for.
    """

    def __init__(self, file: Path, opened: object, secrets: Keys) -> None:
        # -P: the current folder is not the program's, and anything may lie in it.
        command = [sys.executable, "-P", "-c", f"from {__name__} import work; work()"]
        self.asked = 0
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter)
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            _send((__file__, file, opened, dict(secrets)), self._process.stdin)

    def ask(self, segment: Segment) -> None:
        self.asked += 1
        if self._process is not None:
            with contextlib.suppress(OSError):
                _send(segment, self._process.stdin)

    def has_answered(self) -> bool:
        """Whether `answer` need not wait, as far as that can be told."""
        if self._process is None or os.name == "nt":
            return True
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def answer(self) -> list[Batch]:
        """What it has read of the next segment that it was asked for."""
        self.asked -= 1
        if self._process is None:
            return []
        try:
            assert self._process.stdout is not None
            return pickle.load(self._process.stdout)  # noqa: S301 (our own process)
        except (OSError, EOFError, pickle.UnpicklingError):
            return []

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            # What was not sent is not sent any more.
            with contextlib.suppress(OSError), self._process:
                pass


def _send(what: object, stream: IO[bytes] | None) -> None:
    assert stream is not None
    pickle.dump(what, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def work() -> None:
    """Read what a parent asks for, until its standard input ends: at the latest when the parent
    ends, in whatever way.
    """
    # An interrupt is for the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = sys.stdin.buffer
    with contextlib.suppress(EOFError, BrokenPipeError), _collecting_nothing():
        program, file, opened, secrets = pickle.load(asked)  # noqa: S301 (of our parent)
        if program != __file__:
            # This is another installation of hardmute.
            return
        log, keys = Log(file, read_only=True), EpochKeys(secrets)
        if log.opened != opened:
            # The parent has the one that had this name before.
            return
        while True:
            segment = pickle.load(asked)  # noqa: S301 (of our parent)
            _send(read(log, keys, segment), sys.stdout.buffer)


def read(log: Log, keys: EpochKeys, segment: Segment) -> list[Batch]:
    """The batches of a segment of ``log``, up to the first one in which anything is wrong."""
    found: list[Batch] = []
    after, before = segment.after, segment.before
    for columns in runs(log.columns(segment.first, segment.last, CHUNK)):
        batch = batch_of(columns, after, before, keys)
        if not batch.is_sound:
            break
        found.append(batch)
        after, before = batch.end
    return found


def processors() -> int:
    """How many of them this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
