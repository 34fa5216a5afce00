"""Keeps the log while a command runs: trouble with it is told once and never hides a state."""

from __future__ import annotations

from pathlib import Path

from hardmute import errors, paths, text
from hardmute.log import Log, Observation


class _Trouble:
    """What went wrong with the log: told once each, and summed up in an exit code."""

    def __init__(self) -> None:
        self.exit_code = errors.OK
        self._told = ""

    def tell(self, error: errors.HardmuteError) -> None:
        # Trouble that stays is told once.
        if str(error) != self._told:
            text.complain(error)
            self._told = str(error)
        self.exit_code = errors.worst(self.exit_code, error.exit_code)


class _NamingLog(Log):
    """A log whose look-ups of names tell of trouble and go on: no state waits for a name."""

    def __init__(self, file: Path, trouble: _Trouble) -> None:
        self._trouble = trouble
        super().__init__(file)

    def boards(self) -> list[tuple[str, str | None, bool]]:
        try:
            return super().boards()
        except errors.HardmuteError as error:
            self._trouble.tell(error)
            return []

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
    """

    def __init__(self) -> None:
        self.log: Log | None = None
        self._trouble = _Trouble()
        self._begin()

    @property
    def exit_code(self) -> int:
        return self._trouble.exit_code

    def _begin(self) -> None:
        try:
            try:
                self.log = _NamingLog(paths.log_file(), self._trouble)
            except errors.LogDamagedError as error:
                self._trouble.tell(error)
                self.log = _NamingLog(paths.log_file(), self._trouble)
        except OSError as error:
            self._trouble.tell(errors.LogError(f"The log's folder cannot be made ({error})."))
        except errors.HardmuteError as error:
            self._trouble.tell(error)

    def add(self, observation: Observation) -> None:
        """Append to the log if there is one."""
        if self.log is None:
            return
        try:
            try:
                self.log.add(observation)
            except errors.LogDamagedError as error:
                self._trouble.tell(error)
                # It has begun a new one.
                self.log.add(observation)
        except errors.HardmuteError as error:
            self.log = None
            self._trouble.tell(error)
