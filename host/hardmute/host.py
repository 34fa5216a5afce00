"""This computer, for programs: its log, and the boards that it can ask, each by a name.

`hardmute.Board` and the commands of `hardmute` go this way. No call connects a line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence

from hardmute.device import discovery, simulators
from hardmute.device.client import Session
from hardmute.device.holder import Turn
from hardmute.evidence.entries import Entry
from hardmute.evidence.observation import Observation
from hardmute.model import errors, words
from hardmute.model.answers import Identity, State, Verdict, is_board_id
from hardmute.model.typed import TYPE_CHECKING, Literal, NamedTuple
from hardmute.store.log import Log, paired_boards
from hardmute.sync.contact import Contact, Meeting
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import (
    Ask,
    Visited,
    ask_once,
    ask_twice,
    begin_contact,
    cut,
    record_seen,
    record_unseen,
    visit,
)
from hardmute.system import paths

if TYPE_CHECKING:
    from hardmute.sync.absence import UsbBehind
    from hardmute.sync.service_mode import Look, Service, Tell

Question = Literal["status", "verify", "mute"]
_QUESTIONS: dict[Question, tuple[Ask, Turn]] = {
    "status": (ask_once, "usual"),
    # And what this host's USB shows: `ask_and_look`.
    "verify": (ask_twice, "meet"),
    "mute": (cut, "mute"),
}
_LONGEST_LABEL = 40


class Listed(NamedTuple):
    """What answers at a port. ``board``: without an answer, what was there last, by the log.

    ``firmware``: its version; None without an answer. ``reason``: why the verdict is "unknown".
    """

    device: str
    board: str | None
    firmware: str | None
    simulated: bool
    verdict: Verdict
    reason: str | None = None
    state: State | None = None
    unsigned: str | None = None
    label: str | None = None


class Host(Recorder):
    """This host, with its log, for one command or call, in one thread.

    Trouble with the log is told once and hides no state (`hardmute.notices`). ``exit_code`` is 0,
    or what it asks for: 6, or 5 where evidence does not hold. ``log``: None while it cannot be
    used.

    ``named`` is always a board's id, its label, its port or address; None: the only real board
    that is connected. ``timeout``: how long an answer may take, in seconds; a contact takes at
    most three times that. ``source``: the command that the log names.
    """

    def label(self, board: str | None) -> str | None:
        """What this host calls ``board``."""
        return None if self.log is None or board is None else self.log.label(board)

    def ask(
        self,
        named: str | None,
        question: Question,
        *,
        timeout: float,
        tell: Callable[[Observation, Identity], None] = lambda _, _identity: None,
        board: str | None = None,
        is_over: Callable[[], bool] | None = None,
        history_s: float | None = None,
    ) -> Visited:
        """What a board says: once ("status"), twice ("verify"), or once its line is cut ("mute").

        It is logged; so is "unknown", which has its error. See `visit` for the rest.
        """
        ask, turn = _QUESTIONS[question]
        if question == "verify":
            from hardmute.sync.absence import ask_and_look

            ask = ask_and_look(self)
        return visit(
            self,
            named,
            timeout,
            question,
            ask,
            board=board,
            turn=turn,
            tell=tell,
            is_over=is_over,
            history_s=history_s,
        )

    def unknown(
        self, named: str | None, error: errors.UnreachableError, source: str
    ) -> Observation:
        """Log that nothing is known of a board, for ``error``."""
        return record_unseen(self, named, error, source)

    def expected(self, question: Question, *, timeout: float) -> list[str | None]:
        """A name of each board that is connected or has a label; those that answer come first.

        A port that does not answer counts if a board was there last, or if it could not be asked.
        A simulated board needs a label; so does a board behind a bridge that no serial number
        tells from others. Without any such board, what stands for the only one. Those that answer
        are cut already, if the ``question`` is "mute".
        """
        log = self.log
        answer: list[str | None] = []
        silent: list[str | None] = []
        for found in discovery.find(timeout, log, _QUESTIONS[question][1]):
            last = found.told or (log.board_last_at(found.device) if log is not None else None)
            if found.identity is not None:
                answer.append(found.identity.board)
            elif last is not None:
                silent.append(last)
            elif found.error is not None and found.error.reason in discovery.NOT_ASKED:
                silent.append(found.device)
        labelled = log.boards() if log is not None else []
        silent += [board for board, label, _ in labelled if label is not None]
        return list(dict.fromkeys(answer + silent)) or [None]

    def ports(self) -> list[str]:
        """The ports at which a real board may be, by their USB ids. None of them is asked."""
        return [port.device for port in discovery.serial_ports(bridges=False)]

    def cut(self, named: Sequence[str], *, timeout: float) -> None:
        """Cut the lines of several boards, all at once. `ask` then tells what came of it."""
        discovery.cut(named, timeout, self.log)

    def listed(self, *, timeout: float, bridges: bool = False) -> list[Listed]:
        """What answers at each port that can be a board's: real ones by their USB ids, then
        simulated ones. ``bridges``: also at CP210x and CH340 bridges.
        """
        devices = [port.device for port in discovery.serial_ports(bridges=bridges)]
        simulated = [entry.device for entry in simulators.running()]
        devices = list(dict.fromkeys(devices + simulated))
        # So that those that do not answer take one time-out in all.
        silent = discovery.silent(devices, timeout)
        rows: list[Listed] = []
        met: dict[str, str] = {}
        for device in devices:
            board = self.log.board_last_at(device) if self.log else None
            row = Listed(device, board, None, device in simulated, "unknown")
            try:
                if device in silent:
                    raise silent[device]
                with discovery.open_board(device, timeout, self.log) as (session, identity):
                    row = row._replace(board=identity.board)
                    # Neither of two with one id is to speak for the other in the log.
                    discovery.check_alone(identity.board, device, met.get(identity.board))
                    seen = self._meet(session, identity, "list")
                    met[identity.board] = device
                    row = row._replace(
                        firmware=identity.firmware,
                        simulated=identity.simulated,
                        verdict=seen.verdict,
                        reason=seen.reason,
                        state=seen.state,
                        unsigned=seen.unsigned,
                    )
            except errors.UnreachableError as error:
                row = row._replace(reason=str(error))
                if board is not None:
                    # A port that never was a board's is no board that cannot be reached.
                    self.unknown(device, error, "list")
            rows.append(row._replace(label=self.label(row.board)))
        return rows

    @contextlib.contextmanager
    def session(
        self, named: str | None, *, timeout: float, source: str
    ) -> Generator[tuple[Session, Identity]]:
        """A session with a board, for more than its state, which is logged first.

        Raises `UnreachableError`, and `UsageError` where nothing tells which board is meant.
        """
        try:
            with discovery.open_board(named, timeout, self.log) as (session, identity):
                self._meet(session, identity, source)
                yield session, identity
        except errors.UnreachableError as error:
            self.unknown(named, error, source)
            raise

    def _meet(self, session: Session, identity: Identity, source: str) -> Observation:
        contact = begin_contact(self, identity, session, source)
        seen = record_seen(self, contact.meet(), identity, session, source)
        contact.finish()
        return seen

    def meet(
        self, named: str | None, *, timeout: float, source: str, turn: Turn = "usual"
    ) -> tuple[Identity, Meeting]:
        """Meet a board, so that what it signs of the log's head now is in the log.

        Raises `UnreachableError`, which is not logged.
        """
        with discovery.open_board(named, timeout, self.log, turn) as (session, identity):
            contact = Contact(session, identity, self)
            met = contact.meet()
            record_seen(self, met, identity, session, source)
            if turn == "usual":
                contact.finish()
            return identity, met

    def sign(self, checkpoint: Entry, *, timeout: float) -> tuple[list[str], list[str]]:
        """Have the paired boards that are connected sign the ``checkpoint`` of a pruned log.

        Returns the boards that are paired by it, and those of which the log has the signature.
        """
        boards = [board for board in paired_boards(checkpoint) if is_board_id(board)]
        return boards, [board for board in boards if self._has_signed(board, checkpoint, timeout)]

    def _has_signed(self, board: str, checkpoint: Entry, timeout: float) -> bool:
        try:
            self.meet(board, timeout=timeout, source="prune")
        except (errors.UnreachableError, errors.UsageError) as error:
            if getattr(error, "reason", None) != "not_connected":
                self.note(f"Board {board} was not asked. {error}")
        newest = self.use(lambda log: log.newest(board, "attestation"))
        return (
            newest is not None
            and newest.body["checked"] is True
            and newest.body["log_row"] >= checkpoint.row
        )

    def wait_for(
        self,
        service: Service,
        named: str | None,
        *,
        timeout: float,
        minutes: int,
        tell: Tell,
        look: Look | None = None,
    ) -> str:
        """Wait until a person has brought the board into ``service``. Returns where it is.

        See `service_mode.wait_for`.
        """
        from hardmute.sync import service_mode

        return service_mode.wait_for(service, named, timeout, self, minutes, tell, look)

    def settings(
        self, named: str | None, changes: dict[str, object] | None = None, *, timeout: float
    ) -> tuple[str, dict[str, object]]:
        """The id and the settings of a board, after these ``changes`` (`parse_settings`).

        A board takes changes in setup only (`wait_for`). Raises as `session`, and `RefusedError`.
        """
        with self.session(named, timeout=timeout, source="config") as (session, identity):
            return identity.board, session.config(changes)

    def usb(self, named: str | None, *, timeout: float) -> UsbBehind:
        """What was learned to be behind a board, and what this host's USB shows now.

        Raises as `session`.
        """
        from hardmute.sync import absence

        with self.session(named, timeout=timeout, source="usb") as (_, identity):
            return absence.behind(self, identity)

    def learn_usb(
        self, named: str | None, *, timeout: float, say: Callable[[str], None]
    ) -> UsbBehind:
        """Learn which USB device is behind a board, with somebody at its button.

        Raises as `session`, and `NotLearnedError`.
        """
        from hardmute.sync import absence

        with discovery.open_board(named, timeout, self.log, "listen") as (session, identity):
            contact = begin_contact(self, identity, session, "usb")
            record_seen(self, contact.meet(), identity, session, "usb")
            absence.learn(self, session, contact, say)
            # So that the board signs a log that has it.
            record_seen(self, contact.meet(), identity, session, "usb")
            contact.finish()
            return absence.behind(self, identity)

    def forget_usb(self, named: str | None, *, timeout: float) -> str:
        """Look for no USB device behind a board any more. Returns its id. Raises as `id_of`."""
        from hardmute.sync import absence

        board = self.id_of(named, timeout=timeout)
        absence.forget(self, board)
        return board

    def id_of(self, named: str | None, *, timeout: float) -> str:
        """The id of a board: as it was given, or as the board tells it. Raises as `session`."""
        if named is not None and is_board_id(named):
            return named
        with self.session(named, timeout=timeout, source="name") as (_, identity):
            return identity.board

    def name(self, board: str, label: str) -> None:
        """Have this host call ``board`` (an id) ``label``: 1 to 40 characters.

        Raises `UsageError` for other labels, and `LogError` if the log cannot be used.
        """
        label = label.strip()
        if not 0 < len(label) <= _LONGEST_LABEL or words.printable(label) != label:
            raise errors.UsageError("A label has 1 to 40 printable characters.")
        if is_board_id(label) or "/" in label or discovery.is_port(label):
            raise errors.UsageError(
                f"{label!r} looks like a board id or a port; choose another label."
            )
        if self.log is None:
            raise errors.LogError("The log cannot be used, so the board gets no label.")
        self.log.set_label(board, label)


def forget(named: str) -> str:
    """Take the label from a board, which is not expected any more then. Returns its id.

    ``named``: its label or id. What is logged stays. Raises `UsageError` if the log knows no such
    board, and as `own_log`.
    """
    log = Log(paths.log_file())
    try:
        board = log.board_named(named) or named
        if board not in {known for known, _, _ in log.boards()}:
            raise errors.UsageError(f"The log knows no board {named!r}.")
        log.set_label(board, None)
    finally:
        log.close()
    return board
