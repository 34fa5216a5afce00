"""The operating system's own mute, in its safe directions only: docs/monitor.md, "OS mute".

A cut line mutes the sources of sound, and a muted source cuts the lines. Nothing here connects a
line: who unmutes a source is told that the line is still cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

from hardmute.model import notices, strict_json
from hardmute.model.errors import HardmuteError, LocalError, MissingExtraError
from hardmute.monitor import settings
from hardmute.monitor.feed import Feed, Mute, Told
from hardmute.system import paths
from hardmute.system.file_lock import try_lock

_Answer = TypeVar("_Answer")
_FILE = "os-mute.json"
# Of the file in bytes: some hundred sources.
_LARGEST = 1 << 15
# PulseAudio's "no index": a source that is not the monitor of a sink is a microphone.
_NO_INDEX = 0xFFFFFFFF
# Pauses before the sound server is tried again, in seconds; the last one again and again.
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
# A sound server that takes longer does not answer.
_SLOW_S = 2.0
# What is left of the second that a sink has to clean up.
_END_S = 0.8
# At most one notice in so many seconds: a program may mute and unmute all the time.
_NOTICE_S = 1.0
_NO_SERVER = (
    "No sound server answers (PulseAudio or PipeWire), so no microphone can be muted in the"
    " system; hardmute tries again until one does."
)
_SILENT = (
    "The sound server does not answer, so no microphone can be muted in the system: restart the"
    " sound server."
)
_TAKEN = (
    "Another hardmute process uses the mute of the system: stop that process, or press the button."
)

_NO_SERVER_NOW = (
    "No sound server answers (PulseAudio or PipeWire): run this as the user who is logged in at"
    " the desktop."
)

_Wanted = Literal["mute", "hold", "release"]


class _Library(NamedTuple):
    """The client of the sound server. ``lost``: what it raises when the server is gone."""

    connection: Callable[[str], Any]
    lost: tuple[type[Exception], ...]
    refused: type[Exception]


def _library() -> _Library:
    """Raises `LocalError` where it cannot be had."""
    if sys.platform != "linux":
        raise LocalError("hardmute can mute microphones in the system on Linux only.")
    try:
        client, control = import_module("pulsectl_asyncio"), import_module("pulsectl")
        below = import_module("pulsectl._pulsectl").LibPulse
    except ImportError as error:
        raise MissingExtraError("The OS mute needs more than is installed", "osmute") from error
    except OSError as error:
        raise LocalError(
            "libpulse is missing, which reaches the sound server: on Debian and Ubuntu"
            " `sudo apt-get install libpulse0`."
        ) from error

    def connection(name: str) -> Any:
        made = client.PulseAsync(name)
        made.waiting_futures = _Pending()
        return made

    lost = (control.PulseError, control.PulseDisconnected, below.CallError)
    return _Library(connection, lost, control.PulseOperationFailed)


class _Pending(set["asyncio.Future[None]"]):
    """What waits for answers. The client wakes up all of it when the server is gone, and fails at
    the first one that has its answer already: the others would wait for ever.
    """

    def __iter__(self) -> Iterator[asyncio.Future[None]]:
        return iter([future for future in super().__iter__() if not future.done()])


class Record:
    """The names of the sources that we muted, on the disk, so that none is forgotten."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.names = frozenset[str]()

    def read(self) -> None:
        """Raises `LocalError` for a file that is not one of ours; the file is removed then."""
        try:
            self.names = _names(_content(self._file))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            with contextlib.suppress(OSError):
                self._file.unlink()
            raise LocalError(
                f"{self._file} was damaged, so hardmute does not know which microphones it muted:"
                " look at your system's sound settings."
            ) from error

    def write(self, names: frozenset[str]) -> None:
        """Have exactly ``names`` on the disk. Raises `LocalError`; then the names are as before.

        May wait for the disk.
        """
        if names == self.names:
            return
        data = json.dumps({"version": 1, "sources": sorted(names)}).encode()
        partial = self._file.with_suffix(".partial")
        try:
            if not names:
                self._file.unlink(missing_ok=True)
            else:
                # It must be possible to read it back.
                _names(data)
                flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
                with open(os.open(partial, flags, 0o600), "wb") as stream:  # noqa: PTH123
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                partial.replace(self._file)
            folder = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "too many names"
            raise LocalError(
                f"{self._file} cannot be written ({why}), so hardmute mutes no microphone in the"
                " system."
            ) from error
        self.names = names


def _names(data: bytes) -> frozenset[str]:
    """The names in a record. Raises `ValueError` or `RecursionError` if it is not one of ours."""
    if len(data) > _LARGEST:
        raise ValueError
    found: Any = strict_json.parse(data.decode("ascii"))
    sources: Any = cast("dict[str, Any]", found).get("sources") if type(found) is dict else None
    if type(sources) is not list or found != {"version": 1, "sources": sources}:
        raise ValueError
    listed = cast("list[Any]", sources)
    names = frozenset(name for name in listed if type(name) is str)
    if len(names) != len(listed):
        raise ValueError
    return names


def _content(file: Path) -> bytes:
    """What a file that anybody may have put there begins with."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(file, flags), "rb") as stream:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError
        return stream.read(_LARGEST + 1)


@contextlib.contextmanager
def _record() -> Generator[Record]:
    """The record of this user, for one process at a time. Raises `LocalError`."""
    try:
        file = Path(paths.private(paths.data_dir()), _FILE)
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        lock = os.open(file.with_suffix(".lock"), flags, 0o600)
    except OSError as error:
        raise LocalError(
            f"The folder {paths.data_dir()} cannot be used ({error.strerror or error})."
        ) from error
    try:
        try:
            is_ours = try_lock(lock)
        except OSError as error:
            raise LocalError(
                f"{file.with_suffix('.lock')} cannot be locked ({error.strerror or error})."
            ) from error
        if not is_ours:
            raise LocalError(_TAKEN)
        yield Record(file)
    finally:
        os.close(lock)


def is_owed() -> bool:
    """Whether a record says that sources which hardmute muted may still be muted."""
    return os.path.lexists(Path(paths.data_dir(), _FILE))


class OsMuteSink:
    """Mutes microphones in the system while all lines are cut, and cuts lines when somebody
    mutes the default microphone there: each if the settings say so.

    ``tell`` gets what a person is to know, one sentence. ``settle_s``: who unmutes a source so
    soon after it appeared is the system itself, which restores its settings.
    """

    def __init__(
        self,
        chosen: settings.OsMute,
        tell: Callable[[str], None] = notices.tell,
        *,
        settle_s: float = 2.0,
    ) -> None:
        self._chosen = chosen
        self._tell = tell
        self._settle_s = settle_s
        self._told_s: float | None = None
        self._trouble: str | None = None
        self._asked_s: float | None = None
        self._failures = 0
        self._news = asyncio.Event()
        self._ends = asyncio.Event()
        self._connection: Any = None
        # By index at this server: whether it was muted when it was seen or changed last, and when
        # it appeared.
        self._seen: dict[int, bool] = {}
        self._appeared_s: dict[int, float] = {}
        # By index: unmuted by somebody since the line was cut. They are left alone.
        self._spared = set[int]()
        # What a run before this one has left muted.
        self._left = frozenset[str]()
        self._cuts: dict[str, asyncio.Task[None]] = {}

    @property
    def trouble(self) -> str | None:
        """Why it cannot do its work now, in one sentence for people; None while it can."""
        if self._asked_s is not None and _now_s() - self._asked_s > _SLOW_S:
            return _SILENT
        return self._trouble

    async def run(self, feed: Feed, mute: Mute) -> None:
        """Work until this is cancelled; then release what was muted, within a second."""
        try:
            library = _library()
        except LocalError as error:
            self._fails(str(error))
            await asyncio.Event().wait()
            return
        # Never cancelled: libpulse would call functions that are gone.
        work = asyncio.create_task(self._work(library, feed, mute))
        read = asyncio.create_task(self._read(feed))
        try:
            await asyncio.shield(work)
        finally:
            self._ends.set()
            self._news.set()
            try:
                await asyncio.wait({work}, timeout=_END_S)
            finally:
                if self._connection is not None:
                    # It hangs. What is still muted is in the record.
                    self._connection.disconnect()
                for task in (read, *self._cuts.values()):
                    task.cancel()
                await asyncio.wait({work, read, *self._cuts.values()}, timeout=0.1)

    async def release(self, record: Record) -> None:
        """Release the sources in ``record`` that are there. Raises `LocalError`."""
        library = _library()
        self._ends.set()
        try:
            await asyncio.wait_for(self._serve(library, record, Feed(), _cut_nothing), _SLOW_S)
        except library.lost as error:
            raise LocalError(_NO_SERVER_NOW) from error
        except TimeoutError as error:
            raise LocalError(_SILENT) from error
        if self._trouble is not None:
            raise LocalError(self._trouble)

    def _fails(self, why: str) -> None:
        """Say, once, that it cannot do its work now."""
        before, self._trouble = self._trouble, why
        if why != before and not self._ends.is_set():
            self._tell(why)

    async def _read(self, feed: Feed) -> None:
        async for _ in feed.changes():
            self._news.set()

    async def _work(self, library: _Library, feed: Feed, mute: Mute) -> None:
        while not self._ends.is_set():
            try:
                with _record() as record:
                    await self._with_record(library, record, feed, mute)
            except LocalError as error:
                self._fails(str(error))
            await self._pause()

    async def _with_record(
        self, library: _Library, record: Record, feed: Feed, mute: Mute
    ) -> None:
        try:
            record.read()
        except LocalError as error:
            self._tell(str(error))
        self._left = record.names
        while True:
            try:
                await self._serve(library, record, feed, mute)
            except library.lost:
                self._fails(_NO_SERVER)
            if self._ends.is_set():
                return
            await self._pause()
            # The server may be back since it was looked for: a last time if it has something ours.
            if self._ends.is_set() and not record.names:
                return

    async def _pause(self) -> None:
        pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ends.wait(), pause_s)

    async def _serve(self, library: _Library, record: Record, feed: Feed, mute: Mute) -> None:
        """Work while the sound server is there, and a last time when this ends."""
        # A connection that is lost cannot be used again.
        connection = self._connection = library.connection("hardmute")
        heard: asyncio.Task[None] | None = None
        try:
            await self._asked(connection.connect())
            self._failures = 0
            heard = asyncio.create_task(self._hear(connection))
            # It asks for changes before the sources are listed, so that none falls in between.
            await asyncio.sleep(0)
            while not heard.done():
                self._news.clear()
                is_last = self._ends.is_set()
                await self._look(library, record, feed, mute)
                if is_last:
                    return
                await self._news.wait()
            heard.result()
        finally:
            self._connection = None
            self._seen, self._appeared_s = {}, {}
            self._spared.clear()
            connection.close()
            if heard is not None:
                await asyncio.gather(heard, return_exceptions=True)

    async def _hear(self, connection: Any) -> None:
        try:
            async for _ in connection.subscribe_events("source", "server"):
                self._news.set()
        finally:
            self._news.set()

    async def _asked(self, question: Awaitable[_Answer]) -> _Answer:
        self._asked_s = _now_s()
        try:
            return await question
        finally:
            self._asked_s = None

    async def _look(self, library: _Library, record: Record, feed: Feed, mute: Mute) -> None:
        """See what others have changed, and do what is to be done."""
        connection = self._connection
        # Before the list: who muted a source before a cut is then seen to have done so.
        wanted = self._wanted(feed)
        usual = (await self._asked(connection.server_info())).default_source_name
        listed = [
            source
            for source in await self._asked(connection.source_list())
            if source.monitor_of_sink == _NO_INDEX
        ]
        before, self._seen = self._seen, {source.index: bool(source.mute) for source in listed}
        now_s = _now_s()
        self._appeared_s = {index: self._appeared_s.get(index, now_s) for index in self._seen}
        is_led = is_unmuted = False
        for source in listed:
            index, concerns = source.index, source.name == usual
            if before.get(index, self._seen[index]) == self._seen[index]:
                continue
            if source.mute:
                is_led = is_led or concerns
            elif now_s - self._appeared_s[index] >= self._settle_s:
                self._spared.add(index)
                is_unmuted = is_unmuted or concerns or source.name in record.names
        if is_led and self._chosen.lead:
            self._cut(feed, mute)
        if is_unmuted:
            self._say_still_cut(feed)
        try:
            refused = await self._follow(library, record, feed, wanted, listed)
        except LocalError as error:
            refused = str(error)
        if refused is None:
            self._trouble = None
        else:
            self._fails(refused)

    def _wanted(self, feed: Feed) -> _Wanted:
        verdicts = {told.observation.verdict for told in feed.boards}
        if self._ends.is_set() or not self._chosen.follow or "live" in verdicts:
            return "release"
        return "mute" if verdicts == {"muted"} else "hold"

    async def _follow(
        self, library: _Library, record: Record, feed: Feed, wanted: _Wanted, listed: list[Any]
    ) -> str | None:
        """Mute or release sources. Returns what the sound server refused, for people.

        Raises `LocalError` if the record cannot be written.
        """
        refused = None

        async def change(source: Any, *, muted: bool) -> bool:
            nonlocal refused
            try:
                await self._asked(self._connection.source_mute(source.index, muted))
            except library.refused:
                # It may be gone: then it is not listed the next time.
                refused = f"The sound server did not let hardmute mute or unmute {source.name}."
                return False
            self._seen[source.index] = muted
            return True

        async def store(names: frozenset[str]) -> None:
            if names != record.names:
                await asyncio.to_thread(record.write, names)

        if wanted == "release":
            self._spared.clear()
            to_release = record.names
        elif wanted == "mute":
            self._left = to_release = frozenset[str]()
            # Where two have one name and one is muted, nobody could tell later which one is ours.
            muted = {source.name for source in listed if source.mute}
            to_mute = [
                source
                for source in listed
                if source.index not in self._spared and source.name not in muted
            ]
            await store(record.names | {source.name for source in to_mute})
            for source in to_mute:
                # The list and the disk took their time.
                if self._wanted(feed) == "mute":
                    await change(source, muted=True)
        else:
            to_release = self._left & record.names
        released = [
            await change(source, muted=False)
            for source in listed
            if source.mute and source.name in to_release
        ]
        there = {source.index for source in listed}
        if any(released):
            # PulseAudio answers before it remembers a change. It has remembered it for what is
            # still there when it is asked once more.
            there &= {one.index for one in await self._asked(self._connection.source_list())}
        # What is not there may come back as it was: PulseAudio remembers a mute by name.
        present = {source.name for source in listed if source.index in there}
        muted = {source.name for source in listed if self._seen[source.index]}
        await store(record.names - (present - muted))
        return refused

    def _cut(self, feed: Feed, mute: Mute) -> None:
        for told in feed.boards:
            if told.observation.verdict != "muted" and told.board not in self._cuts:
                cut = self._cuts[told.board] = asyncio.create_task(self._cut_one(told, mute))
                cut.add_done_callback(lambda _, board=told.board: self._cuts.pop(board))

    async def _cut_one(self, told: Told, mute: Mute) -> None:
        try:
            await mute(told.board)
        except HardmuteError as error:
            self._tell(
                f"Your microphone was muted in the system, but the line of {told.name} could not"
                f" be cut. {error}"
            )

    def _say_still_cut(self, feed: Feed) -> None:
        verdicts = [told.observation.verdict for told in feed.boards]
        names = [told.name for told in feed.boards if told.observation.verdict == "muted"]
        if "live" in verdicts or not names or not (self._chosen.follow or self._chosen.lead):
            return
        if self._told_s is None or _now_s() - self._told_s >= _NOTICE_S:
            self._told_s = _now_s()
            self._tell(
                "A microphone was unmuted in the system, but the line is still cut: press the"
                f" button of {' or '.join(names)}."
            )


async def _cut_nothing(_board: str) -> None:
    """There is no board."""


def _now_s() -> float:
    return asyncio.get_running_loop().time()


class Released(NamedTuple):
    """The names of the sources that were released, and of those that were not there.

    The ``absent`` ones are released when they are back and a monitor or `release` runs.
    """

    released: list[str]
    absent: list[str]


async def release() -> Released:
    """Release the sources that a monitor has left muted.

    Raises `LocalError` if a monitor runs, if the record is damaged, or if no sound server answers.
    """
    with _record() as record:
        record.read()
        before = record.names
        if before:
            await OsMuteSink(settings.OsMute()).release(record)
        return Released(sorted(before - record.names), sorted(record.names))
