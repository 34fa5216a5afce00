"""Keeps the log while a command runs: trouble with it is told once and never hides a state.

After trouble the log is tried again with each row, so that a lock or a full disk costs only the
rows of its time.
"""

from __future__ import annotations

from collections.abc import Callable

from hardmute.evidence.observation import Observation
from hardmute.model import errors, notices
from hardmute.model.typed import TYPE_CHECKING, TypeVar
from hardmute.model.usb import Usb
from hardmute.store.log import Log, Pairing, paired_by
from hardmute.system import paths

if TYPE_CHECKING:
    from threading import RLock

_T = TypeVar("_T")
# How long each use of the log waits for another program that has locked it, in seconds: what is
# told of a board afterwards is to be fresh.
_PATIENCE_S = 1.0
# And how long for the other threads of this program.
_TURN_S = 10.0


class _Trouble:
    """What went wrong with the log: told once each, and summed up in an exit code."""

    def __init__(self) -> None:
        self.exit_code = errors.OK
        # What was told last of evidence that does not hold.
        self.evidence: errors.HardmuteError | None = None
        self._told = ""

    def tell(self, error: errors.HardmuteError) -> None:
        # Trouble that stays is told once.
        if str(error) != self._told:
            notices.tell(str(error))
            self._told = str(error)
        self.exit_code = errors.worst(self.exit_code, error.exit_code)
        if error.exit_code == errors.TAMPERED:
            self.evidence = error

    def is_over(self) -> None:
        """Should the same happen again, it is told again."""
        self._told = ""


class _NamingLog(Log):
    """A log whose look-ups of boards tell of trouble and go on: no state waits for them."""

    def __init__(self, file: str, trouble: _Trouble, patience_s: float) -> None:
        self._trouble = trouble
        super().__init__(file, patience_s=patience_s)

    def boards(self) -> list[tuple[str, str | None, bool]]:
        try:
            return super().boards()
        except errors.HardmuteError as error:
            self._trouble.tell(error)
            return []

    def usb(self, board: str) -> Usb | None:
        try:
            return super().usb(board)
        except errors.HardmuteError as error:
            self._trouble.tell(error)
            return None

    def learn_usb(self, board: str, usb: Usb) -> None:
        try:
            super().learn_usb(board, usb)
        except errors.HardmuteError as error:
            self._trouble.tell(error)

    def _one(self, query: str, parameter: str) -> str | None:
        try:
            return super()._one(query, parameter)
        except errors.HardmuteError as error:
            self._trouble.tell(error)
            return None


class Recorder:
    """Writes observations, and carries the exit code that the log's own health asks for.

    Nothing in the log refers back to the recorder: SQLite folds its write-ahead log into the file
    when the last reference goes, at the end of the command.

    ``log`` is None while it cannot be used. While there is trouble no use waits for others.
    ``turns``: of threads that write to one log, so that each gets its turn. SQLite has those that
    wait look again now and then, and the last ones wait in vain.
    """

    def __init__(self, turns: RLock | None = None) -> None:
        self._turns = turns
        self._log: Log | None = None
        self._is_resting = False
        # What could not be stored since the last that was.
        self._missing = 0
        self._trouble = _Trouble()
        self._begin(_PATIENCE_S)

    @property
    def log(self) -> Log | None:
        if self._is_resting:
            self._is_resting = False
            self._begin(_PATIENCE_S)
        return self._log

    def rest(self) -> None:
        """Close the log until it is used again: each one that is open takes 0.1 MB."""
        if self._log is not None:
            self._log.close()
            self._log = None
            self._is_resting = True

    @property
    def exit_code(self) -> int:
        return self._trouble.exit_code

    @property
    def evidence(self) -> errors.HardmuteError | None:
        """What was told last of evidence that does not hold; None if nothing was."""
        return self._trouble.evidence

    def require_evidence(self) -> None:
        """Raise what was told of evidence that does not hold, for a caller with no exit code."""
        if self.evidence is not None:
            raise self.evidence

    def _begin(self, patience_s: float) -> None:
        try:
            try:
                self._log = _NamingLog(paths.log_file(), self._trouble, patience_s)
            except errors.LogDamagedError as error:
                self._trouble.tell(error)
                self._log = _NamingLog(paths.log_file(), self._trouble, patience_s)
        except OSError as error:
            self._trouble.tell(errors.LogError(f"The log's folder cannot be made ({error})."))
        except errors.HardmuteError as error:
            self._trouble.tell(error)

    def add(self, observation: Observation, *, repeated: bool = True) -> bool:
        """Append to the log. ``repeated``: see `Log.add`. Whether it is there now."""
        return self.store(lambda log: log.add(observation, repeated=repeated))

    def store(self, action: Callable[[Log], object]) -> bool:
        """As `use`, for what is to be stored: after trouble the log is tried again.

        Not for within a contact, whose parts go by one and the same log. Whether it was stored.
        """
        self.retry()
        if self.use(lambda log: (action(log),)) is None:
            self._missing += 1
            return False
        if self._missing:
            rows = "row" if self._missing == 1 else "rows"
            self.note(f"The log can be written again; {self._missing} {rows} may be missing.")
            self._missing = 0
            self._trouble.is_over()
            self.use(lambda log: log.wait_for_others(_PATIENCE_S))
        return True

    def retry(self) -> None:
        """Try to open the log, if it cannot be used."""
        if self.log is None:
            self._begin(0)

    def use(self, action: Callable[[Log], _T]) -> _T | None:
        """What ``action`` returns; None without a log, or when it fails for the log's own reasons,
        which are told, and end the use of the log.
        """
        log = self.log
        if log is None:
            return None
        is_our_turn = self._turns is not None and self._turns.acquire(timeout=_TURN_S)
        try:
            try:
                return action(log)
            except errors.LogDamagedError as error:
                self._trouble.tell(error)
                # It has begun a new one.
                return action(log)
        except errors.HardmuteError as error:
            self._log = None
            self._trouble.tell(error)
        finally:
            if is_our_turn and self._turns is not None:
                self._turns.release()
        return None

    def is_paired(self, board: str) -> bool | None:
        """Whether this host is paired with ``board``, by its log. None: that cannot be known."""
        said = self.use(lambda log: (log.is_paired(board),))
        # What cannot be written can often be read.
        return paired_by(paths.log_place(), board) if said is None else said[0]

    def pairings(self, board: str) -> list[Pairing] | None:
        """The pairings that were made here with ``board``, by the log. None: it cannot be used."""
        return self.use(lambda log: log.pairings(board))

    def incident(self, board: str, branch: int, what: str, said: str, **details: object) -> None:
        """Store that the evidence of ``board`` does not hold, and complain. ``said``: a clause."""

        def store(log: Log) -> None:
            with log.transaction():
                # Another process may have begun a branch meanwhile.
                newest, _ = log.journal_end(board) or (branch, None)
                body = {"branch": max(branch, newest), "what": what, "text": said, **details}
                log.append("incident", board, body)

        self.use(store)
        self.tell(errors.EvidenceError(f"Board {board}: {said}."))

    def tell(self, error: errors.HardmuteError) -> None:
        """Tell of trouble that does not end the command, and let its exit code count."""
        self._trouble.tell(error)

    def note(self, said: str) -> None:
        """Tell a person something that is no trouble."""
        notices.tell(said)
