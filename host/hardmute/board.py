"""Boards, for programs: what they say, as values that tell what is known and what is not.

Each call does what the command of that name does: it opens the board's port, asks, writes what it
heard into this host's log, and gives the port back. Between two calls nothing is held, so that
`hardmute mute` and other programs get the port. A `Board` may be used by several threads.

No call connects a line: only the button does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import copy
from typing import Self

from hardmute.device import discovery, simulators
from hardmute.device.client import STREAM_SILENCE_S
from hardmute.evidence.observation import Observation
from hardmute.host import Host, Question
from hardmute.model import errors
from hardmute.model.answers import Identity
from hardmute.model.clock import SYSTEM
from hardmute.monitor.watch import Watch
from hardmute.sync.visit import Visited, unseen_now
from muteboard import journal

TIMEOUT_S = 3.0
# What a call tells is to be fresh when it returns: the rest of the history is for `Board.sync`.
_HISTORY_S = 0.5


def open_board(name: str | None = None, *, timeout: float = TIMEOUT_S) -> Board:
    """The board that ``name`` means, once it has said hello.

    ``name``: its id, its label on this host, its port or its address (``rfc2217://HOST:PORT``,
    ``socket://HOST:PORT``). Without one: the only real board that is connected. ``timeout``: how
    long an answer may take, in seconds; a call takes at most three times that.

    It opens the port of the board, or those where it may be, and the log, to look up the label.

    Raises `UnreachableError` if the board does not answer: treat that as ``unknown``. Raises
    `UsageError` if the name means no board, or several boards fit.
    """
    log = Host().log
    with discovery.open_board(name, timeout, log) as (session, identity):
        # A port stays what was asked for; any other name means this board, wherever it is.
        named = identity.board if name is None or not discovery.is_port(name) else name
        return Board(identity, session.device, named, timeout)


def boards(*, timeout: float = TIMEOUT_S) -> list[Board]:
    """Every board that is connected and answers; simulated ones that run on this host too.

    It says hello to each port that can be a board's, to all at once, and takes one ``timeout`` (in
    seconds). Ports that another program holds are left out: use `open_board` for a board that you
    expect, which says why it cannot be reached.
    """
    found = {one.device: one.identity for one in discovery.find(timeout, Host().log, "usual")}
    for entry in simulators.running():
        if entry.device not in found:
            try:
                with discovery.open_board(entry.device, timeout, None) as (_, identity):
                    found[entry.device] = identity
            except errors.UnreachableError:
                continue
    return [
        Board(identity, device, identity.board, timeout)
        for device, identity in found.items()
        if identity is not None
    ]


class Board:
    """A board, as `open_board` and `boards` give it.

    ``id``: 4 to 64 hex digits. ``device``: the port where it answered. ``firmware``: its version.
    ``simulated``: no real microphone is cut by it. ``contacts``: how many sense contacts it has;
    with none it can only report.
    """

    def __init__(self, identity: Identity, device: str, named: str, timeout: float) -> None:
        self.id = identity.board
        self.device = device
        self.firmware = identity.firmware
        self.simulated = identity.simulated
        self.contacts = identity.contacts
        self._named = named
        self._timeout = timeout
        self._is_over: Callable[[], bool] | None = None

    def __repr__(self) -> str:
        return f"<hardmute.Board {self.id} at {self.device}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held between calls, so there is nothing to close."""

    @property
    def label(self) -> str | None:
        """What this host calls the board; None without a label. Reads the log."""
        return Host().label(self.id)

    def until(self, is_over: Callable[[], bool]) -> Board:
        """This board, for somebody who may stop waiting: once ``is_over()``, its calls end with
        `UnreachableError`, reason ``cancelled``, and give the port back. That takes 0.1 s, or one
        time-out while another program holds the port. The thread that calls asks ``is_over``.
        """
        found = copy(self)
        found._is_over = is_over  # noqa: SLF001 (of the same class)
        return found

    def read(self) -> Observation:
        """What the board says now, as `hardmute status` does. Takes up to three time-outs.

        The verdict is ``muted``, ``live``, ``fault`` or ``unknown``. It is ``unknown`` whenever
        the state cannot be known, for whatever cause; `Observation.reason` has the short word.
        What it says was so at most 3 s before it returns.

        Raises `EvidenceError` if what the board says does not fit what is known of it or of its
        keys: then its word is worth nothing.
        """
        return self._ask("status")

    def verify(self) -> Observation:
        """As `read`, but asked twice, and the clocks of board and host must agree on the time in
        between; as `hardmute verify` does. Always writes a row into the log.
        """
        return self._ask("verify")

    def mute(self) -> Observation:
        """Cut the line, and read until the board does not say ``live`` any more.

        The line is cut only if the verdict is ``muted``. Programs that follow the board give their
        port up for it. Raises as `read`.
        """
        return self._ask("mute")

    def sync(self) -> int:
        """Fetch what the log lacks of the board's journal. Returns how many it still lacks.

        Each contact fetches at most 10,752 records, and takes at most three time-outs; there are
        as many contacts as bring anything. Raises `UnreachableError` if the board does not answer,
        `LogError` if the log cannot be used, and as `read`.
        """
        lacks = self._sync_once()
        while lacks and (now := self._sync_once()) < lacks:
            lacks = now
        return lacks

    def _sync_once(self) -> int:
        host = Host()
        visited = self._visit(host, "status")
        if visited.error is not None:
            raise visited.error
        end = visited.journal
        if end is None:
            return 0
        if host.log is None:
            raise errors.LogError("The log cannot be used, so nothing is fetched into it.")
        _, newest = host.log.journal_end(self.id) or (0, None)
        return max(0, end.seq - (0 if newest is None else journal.Record(newest).seq))

    def watch(
        self, stop: threading.Event | None = None, *, notify: Callable[[], None] | None = None
    ) -> Watch:
        """Each change of the board's state, from the present one on, until ``stop`` is set.

        It survives what `hardmute watch` survives: the board is unplugged, restarted, or asked by
        a `mute` meanwhile. It never ends by itself: what cannot be known is ``unknown``. A program
        that takes its time gets the newest change alone; the log has them all. What it gets was
        known at most 3 s before it gets it.

        What `hardmute monitor` follows is read from the monitor, which logs it. Otherwise the
        board is followed here, with changes and a row a minute in the log. A thread of its own
        does that. It ends with the iterator, or within 0.1 s or one time-out after ``stop`` was
        set. ``notify`` is called in it when there is news; it must return at once. Raises as
        `read`.
        """
        return Watch(self._named, self.id, self._timeout, stop or threading.Event(), notify)

    def _ask(self, question: Question) -> Observation:
        host = Host()
        seen = self._visit(host, question, _HISTORY_S).observation
        if (
            seen.verdict == "muted"
            and SYSTEM.now_s() - (seen.run_us or 0) / 1e6 > STREAM_SILENCE_S
        ):
            # This program, or the computer, was stopped since the board answered.
            return unseen_now("late", self.id, seen.device, seen.simulated, question, SYSTEM)
        return seen

    def _visit(self, host: Host, question: Question, history_s: float | None = None) -> Visited:
        visited = host.ask(
            self._named,
            question,
            timeout=self._timeout,
            board=self.id,
            is_over=self._is_over,
            history_s=history_s,
        )
        host.require_evidence()
        return visited
