"""Keeps the log while a command runs: trouble with it is told once and never hides a state."""

from __future__ import annotations

import sys

from hardmute import errors, paths
from hardmute.log import Log, Observation


class Recorder:
    """Writes observations, and carries the exit code that the log's own health asks for."""

    def __init__(self) -> None:
        self.exit_code = errors.OK
        self.log: Log | None = None
        self._begin()

    def _begin(self) -> None:
        try:
            try:
                self.log = Log(paths.log_file())
            except errors.LogDamagedError as error:
                self._tell(error)
                self.log = Log(paths.log_file())
        except OSError as error:
            self._tell(errors.LogError(f"The log's folder cannot be made ({error})."))
        except errors.LogError as error:
            self._tell(error)

    def add(self, observation: Observation) -> None:
        """Append to the log if there is one."""
        if self.log is None:
            return
        try:
            try:
                self.log.add(observation)
            except errors.LogDamagedError as error:
                self._tell(error)
                self.log = Log(paths.log_file())
                self.log.add(observation)
        except errors.LogError as error:
            self.log = None
            self._tell(error)

    def _tell(self, error: errors.HardmuteError) -> None:
        print(error, file=sys.stderr)
        self.exit_code = errors.worst(self.exit_code, error.exit_code)
