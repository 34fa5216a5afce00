"""Takes a board's journal into the log: each record once, in order, and what does not fit as an
incident (docs/evidence.md).
"""

from __future__ import annotations

from hardmute.evidence.entries import encoded
from hardmute.model.allowance import Allowance
from hardmute.model.errors import UnreachableError
from hardmute.model.typed import TYPE_CHECKING
from hardmute.store.log import Log
from hardmute.sync.recorder import Recorder
from muteboard import journal

if TYPE_CHECKING:
    from hardmute.evidence.chain import Chain

# Records that are stored at once.
_CHUNK = 512
# A board whose journal breaks more often at once has none.
MOST_BREAKS = 8


class Intake:
    """The end of what the log has of ``board``'s journal, as it was when this was made.

    Trouble with the log is told by ``recorder``, and nothing is stored from then on. ``breaks``:
    how often the journal may break.
    """

    def __init__(self, recorder: Recorder, board: str, breaks: Allowance) -> None:
        self._recorder = recorder
        self._board = board
        end = recorder.use(lambda log: log.journal_end(board))
        self.branch, self._tail = end or (1, None)
        # The end of the log's journal as this one has left it.
        self._stored = (self.branch, self._tail)
        self._pending: list[bytes] = []
        self._chain: Chain | None = None
        # The board itself has shown the last record; until then it is the log's alone.
        self._shown = False
        self._breaks = breaks
        # The `pair` records that were taken: pairing and key id.
        self.pairings: list[tuple[int, str]] = []

    @property
    def seq(self) -> int:
        """Number of the last record taken; 0 if there is none in this branch."""
        return 0 if self._tail is None else journal.Record(self._tail).seq

    @property
    def pairing(self) -> int:
        """The pairing of the last record taken; 0 if it has none."""
        return 0 if self._tail is None else journal.Record(self._tail).pairing

    @property
    def head(self) -> bytes:
        """The head of a journal that ends there."""
        return journal.NO_HEAD if self._tail is None else journal.head_of(self._tail)

    def take(self, at: int, data: bytes) -> bool:
        """Take what the board has under number ``at``. False: its oldest record is due next."""
        known = self.seq
        if self._tail is not None:
            if at == known and data == self._tail:
                self._shown = True
                return True
            if at > known + 1:
                self.begin_branch(
                    "gap",
                    f"its journal has dropped records {known + 1} to {at - 1}, which were never"
                    " fetched",
                    first=known + 1,
                    last=at - 1,
                )
            elif at == known or not (self._shown or journal.Record(data).link == self.head):
                self.begin_branch(
                    "fork",
                    f"its journal has another record {known} than this log: it was exchanged,"
                    " restored or reset",
                    seq=known,
                )
                return False
        problem = self._follow(at, data)
        if problem is not None:
            self.begin_branch("bad_journal", f"record {at} of its journal {problem}", seq=at)
            # Where it is unsound by itself, the next one begins the branch.
            self._follow(at, data)
        return True

    def _follow(self, at: int, data: bytes) -> str | None:
        """Go on to ``data``, or say what is wrong with it."""
        number = journal.Record(data).seq
        if number != at:
            return f"has the number {number}"
        from hardmute.evidence.chain import piece_of

        if self._chain is None:
            self._chain = self._resumed()
        last = self._chain.last
        problem = self._chain.take(piece_of(data))
        if problem is None:
            self._tail = data
            self._shown = True
            self._pending.append(data)
            record = journal.Record(data)
            if record.event == journal.PAIR:
                self.pairings.append((record.pairing, record.data.to_bytes(4, "little").hex()))
            if len(self._pending) == _CHUNK:
                self.flush()
            if (
                last is not None
                and last.pairing
                and last.event != journal.UNPAIR
                and journal.Record(data).pairing == 0
            ):
                self._lose_pairing(at, last.pairing)
        return problem

    def _lose_pairing(self, at: int, pairing: int) -> None:
        self.flush()
        self._recorder.incident(
            self._board,
            self.branch,
            "unpaired",
            f"it has lost the keys of pairing {pairing} before record {at}, and recorded no end of"
            " it",
            seq=at,
        )

    def _resumed(self) -> Chain:
        """The chain up to the last record in the log."""
        from hardmute.evidence.chain import Chain, piece_of

        chain = Chain()
        if self._tail is None:
            return chain
        for data in self._recorder.use(lambda log: log.newest_epoch(self._board)) or ():
            if chain.take(piece_of(data)) is not None:
                break
            if data == self._tail:
                return chain
        # Another process has gone on, or the log was tampered with (`hardmute log verify`): the
        # last record stands for what was before it.
        chain = Chain()
        chain.take(piece_of(self._tail))
        return chain

    def begin_branch(self, what: str, text: str, **details: int) -> None:
        """The board's journal does not continue what was taken: an incident, the next branch."""
        self.flush()
        if not self._breaks.take():
            raise UnreachableError(
                "The board's journal makes no sense: reflash the board.", "malformed_answer"
            )
        self.branch += 1
        self._tail = self._chain = None
        self._shown = False
        self._recorder.incident(self._board, self.branch, what, text, **details)
        self._stored = (self.branch, None)

    def flush(self) -> None:
        """Store what was taken."""
        if not self._pending:
            return
        taken, self._pending = self._pending, []
        if self._recorder.use(lambda log: self._append(log, taken)) is False:
            raise UnreachableError(
                "Another process has fetched the board's journal meanwhile: ask again.",
                "port_held",
            )

    def _append(self, log: Log, taken: list[bytes]) -> bool:
        """Append what is not there yet. False if it does not continue what is there now."""
        with log.transaction():
            end = log.journal_end(self._board)
            if end is None:
                # The log is a new one, if ever it had a journal of this board.
                self.branch = 1
            elif end != self._stored:
                branch, tail = end
                if branch != self.branch or tail not in taken:
                    return False
                taken = taken[taken.index(tail) + 1 :]
            for data in taken:
                body = {"branch": self.branch, "record": encoded(data)}
                log.append("record", self._board, body)
            self._stored = (self.branch, self._tail)
        return True
