"""The serial session: requests in, answers and state events out, in bounded memory.

One outgoing frame exists at a time. While it has not left, no further request is read, so a host
that floods or never reads slows itself down and nothing else. State events are not queued: the
newest state is sent when there is room.
"""

from muteboard import const, wire

# At least one state event in this time; the host calls 3 s of silence unknown.
EVENT_MS = const(1000)


class Link:
    """``board``: the serial port. ``service``: answers requests (see `muteboard.app.App`)."""

    def __init__(self, board, service):
        self._board = board
        self._service = service
        self._reader = wire.LineReader()
        self._data = b""
        self._data_at = 0
        self._out = b""
        self._out_at = 0
        # The port took nothing when last asked.
        self._stuck = False
        # Id of the `watch` request that state events answer to; None while nobody watches.
        self._watch: int | None = None
        self._event_due = False
        self._event_at = 0

    def state_changed(self) -> None:
        """The status is no longer what the last event said."""
        self._event_due = self._watch is not None

    def due_in_ms(self, now: int) -> int:
        """How long there is nothing to do here, unless the host sends something.

        0 only while bytes are leaving: what else waits may be waiting for the contacts.
        """
        if self._out and not self._stuck:
            return 0
        if self._out or self._event_due or self._data_at < len(self._data):
            return 1
        return EVENT_MS if self._watch is None else max(1, self._event_at + EVENT_MS - now)

    def step(self, now: int, may_speak: bool) -> None:
        """Move bytes; answer at most one request.

        ``may_speak``: False while the contacts are settling. Nothing is answered until they have.
        """
        if self._out:
            self._send()
        if self._out or not may_speak:
            return
        if self._watch is not None and (self._event_due or now - self._event_at >= EVENT_MS):
            # Before the next request, so that a flood of them cannot silence the events.
            self._event(now)
        elif self._has_data():
            line = self._next_line()
            if line is not None:
                self._answer(now, line)
        if self._out:
            self._send()

    def _send(self) -> None:
        count = self._board.write(memoryview(self._out)[self._out_at :])
        self._stuck = count == 0
        self._out_at += count
        if self._out_at >= len(self._out):
            self._out = b""
            self._out_at = 0

    def _has_data(self) -> bool:
        if self._data_at >= len(self._data):
            self._data = self._board.read_available()
            self._data_at = 0
        return self._data != b""

    def _next_line(self):
        """The next complete line, or the `WireError` that it is, or None."""
        end = self._reader.feed(self._data, self._data_at)
        if end < 0:
            self._data_at = len(self._data)
            return None
        self._data_at = end
        try:
            return self._reader.line()
        except wire.WireError as error:
            return error

    def _answer(self, now: int, line) -> None:
        request_id = None
        try:
            if isinstance(line, wire.WireError):
                raise line
            if not line:
                # A bare newline ends whatever half line came before; it asks nothing.
                return
            request = wire.unframe(line, False)
            request_id = _request_id(request)
            answer = self._dispatch(now, request_id, request)
            answer["ok"] = True
        except wire.WireError as error:
            answer = {"ok": False, "error": error.code}
        answer["id"] = request_id
        self._out = wire.frame(answer)

    def _dispatch(self, now: int, request_id: int, request: dict) -> dict:
        op = request.get("op")
        if op == "hello":
            # A session starts here: events for an earlier one would only confuse.
            self._watch = None
            self._event_due = False
            return self._service.hello()
        if op == "status":
            return self._service.status(now)
        if op == "watch":
            self._watch = request_id
            self._event_due = True
            return {}
        if op == "mute":
            return {"changed": self._service.mute()}
        if op == "config":
            return self._service.config(now, request.get("set"))
        if op == "attest":
            return self._service.attest(now, request.get("nonce"))
        if op == "journal":
            return self._service.journal(request.get("from"))
        if op == "pair":
            return self._service.pair(now, request.get("host"), request.get("end"))
        raise wire.WireError("bad_op" if isinstance(op, str) else "bad_request")

    def _event(self, now: int) -> None:
        event = self._service.status(now)
        event["event"] = "state"
        event["watch"] = self._watch
        self._event_due = False
        self._event_at = now
        self._out = wire.frame(event)


def _request_id(request: dict) -> int:
    request_id = request.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int):
        raise wire.WireError("bad_request")
    if not 0 <= request_id < wire.ID_LIMIT:
        raise wire.WireError("bad_request")
    return request_id
