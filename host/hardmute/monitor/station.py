"""One board of a monitor: it is followed in a thread of its own, until it is stopped."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from hardmute.device import discovery
from hardmute.evidence.observation import Observation
from hardmute.model import errors, notices
from hardmute.model.clock import HostClock
from hardmute.monitor.follower import Follower, Loan
from hardmute.sync.recorder import Recorder

# After how many seconds it is tried again, where what failed is no fault of the board.
_TRY_AGAIN_S = 5.0


class Station:
    """Follows the board that ``named`` means, wherever it goes.

    ``board``: its id, once it is known. ``notify`` is called in the thread whenever there is news;
    it must return at once. ``turns``: see `Recorder`. The others are those of `Follower`.
    """

    def __init__(
        self,
        named: str,
        board: str | None,
        timeout: float,
        notify: Callable[[], None],
        clock: HostClock,
        is_taken: Callable[[str], bool],
        turns: threading.RLock,
    ) -> None:
        self.named = named
        # What this host calls the board, as far as is known.
        self.label: str | None = None
        self._board = board
        self._timeout = timeout
        self._notify = notify
        self._clock = clock
        self._is_taken = is_taken
        self._turns = turns
        self._stop = threading.Event()
        self._follower: Follower | None = None
        self._barred: errors.UnreachableError | None = None
        self._thread = threading.Thread(target=self._run, name=f"board {named}", daemon=True)

    @property
    def board(self) -> str | None:
        """The id of the board; None before it was met."""
        if self._board is not None:
            return self._board
        known = self.known
        return None if known is None else known.board

    @property
    def known(self) -> Observation | None:
        """What is known of the board now; None before it was first asked."""
        return None if self._follower is None else self._follower.known

    @property
    def device(self) -> str | None:
        """The port at which the board is heard now."""
        follower = self._follower
        return None if follower is None or follower.phase == "lost" else follower.device

    @property
    def firmware(self) -> str | None:
        """The version of the board's firmware, by its own word."""
        identity = None if self._follower is None else self._follower.identity
        return None if identity is None else identity.firmware

    @property
    def is_followed(self) -> bool:
        """Whether the board is heard now."""
        return self._follower is not None and self._follower.phase == "following"

    @property
    def incident(self) -> str | None:
        """What was found last of its evidence that does not hold, for people."""
        found = None if self._follower is None else self._follower.evidence
        return None if found is None else str(found)

    @property
    def exit_code(self) -> int:
        """What the log's own health asks for."""
        return errors.OK if self._follower is None else self._follower.exit_code

    def start(self) -> None:
        """Begin to follow the board."""
        self._thread.start()

    def wake(self) -> None:
        """Look for the board now, if it is lost."""
        if self._follower is not None:
            self._follower.wake()

    def lend(self, loan: Loan) -> bool:
        """As `Follower.lend`."""
        return self._follower is not None and self._follower.lend(loan)

    def bar(self, twin: bool) -> None:
        """Follow the board no more while there is another one with its id; then again."""
        if twin is (self._barred is None):
            said = f"Two boards have the id {self._board}."
            self._barred = errors.UnreachableError(said, "one_id") if twin else None
            if self._follower is not None:
                self._follower.bar(self._barred)

    def stop(self) -> None:
        """Follow the board no more. `join` waits until the last row is logged."""
        self._stop.set()
        self.wake()

    def join(self, timeout: float) -> bool:
        """Wait for up to ``timeout`` seconds. Whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                # Here, for the log belongs to the thread that opens it.
                follower = Follower(
                    self.named,
                    self._timeout,
                    lambda _: self._notify(),
                    board=self._board,
                    clock=self._clock,
                    stop=self._stop,
                    turn="monitor",
                    source="monitor",
                    search=discovery.Search(self._clock.now_s, self._is_taken),
                    recorder=Recorder(self._turns),
                )
                follower.bar(self._barred)
                self._follower = follower
                follower.run()
            except errors.HardmuteError as error:
                notices.tell(f"{self.named} cannot be followed: {error}")
            except Exception as error:  # noqa: BLE001 (what is known of the board gets old, and so unknown)
                sys.audit("hardmute.failed_inside", repr(error))
                notices.tell(f"hardmute failed inside while it followed {self.named}: {error!r}.")
            self._notify()
            self._stop.wait(_TRY_AGAIN_S if not self._stop.is_set() else 0)
