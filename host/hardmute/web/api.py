"""The routes of the page and of its API: one table, which also makes the OpenAPI document.

No route connects a line: `mute` is all that changes anything on a board.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

import muteboard
from hardmute.model import errors, notices
from hardmute.monitor.monitor import Monitor
from hardmute.web import schema
from hardmute.web.boards import Boards
from hardmute.web.entrance import SESSION_S, Codes, Sessions, kept_token
from hardmute.web.past import LONGEST_MS, Form, Past
from hardmute.web.schema import Handler, Operation

# The body of a request: a code in JSON.
_LARGEST_BODY = 1024
_MOST_STREAMS = 256
# A stream whose reader takes nothing for so long is ended, in seconds.
_PATIENCE_S = 5.0
# A board that does not answer takes three times the time-out of an answer.
_MUTE_S = 10.0
_NO_BOARD = "The monitor follows no such board."
# Times that this system can show.
_LATEST_MS = 1 << 42


# What reads it knows no newer version of the format, or both.
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Api:
    """Answers what the page asks. ``cookie``: its name. ``is_tls``: it is never sent without.

    ``page``: None: there is none, nor what it asks. ``metrics``: what makes them; None: none.
    """

    def __init__(
        self,
        monitor: Monitor,
        boards: Boards,
        past: Past,
        codes: Codes,
        sessions: Sessions,
        *,
        page: str | None,
        metrics: Callable[[], bytes] | None = None,
        cookie: str,
        is_tls: bool,
    ) -> None:
        self._monitor = monitor
        self._boards = boards
        self._past = past
        self._codes = codes
        self._sessions = sessions
        self._page = (page or "").encode()
        self._metrics = metrics
        self._cookie = cookie
        self._is_tls = is_tls
        self._muting: dict[str, asyncio.Task[None]] = {}
        board = schema.BOARD_PARAMETER
        of_page = (
            Operation(
                "GET", "/", "The page", self._get_page, content=("text/html",), is_open=True
            ),
            Operation(
                "POST",
                "/api/session",
                "Exchange a one-time code for a session",
                self._begin_session,
                "Session",
                body="Code",
                refusals=(400,),
                is_open=True,
            ),
            Operation("GET", "/api/boards", "All boards, now", self._get_boards, "Boards"),
            Operation(
                "GET",
                "/api/events",
                "All boards, at each change and each 2 s (server-sent events)",
                self._get_events,
                "Boards",
                refusals=(503,),
                content=("text/event-stream",),
            ),
            Operation(
                "POST",
                "/api/boards/{board}/mute",
                "Cut the line",
                self._mute,
                "Muted",
                (board,),
                refusals=(404, 409),
            ),
            Operation(
                "GET",
                "/api/boards/{board}/log",
                "What the line was, and what does not hold of the evidence",
                self._get_log,
                "Log",
                (board, schema.SINCE, schema.UNTIL),
                refusals=(400, 404, 409),
            ),
            Operation(
                "GET",
                "/api/boards/{board}/proof",
                "What is proven of an interval",
                self._get_proof,
                "Proof",
                (board, schema.FROM, schema.TO),
                refusals=(400, 404, 409),
            ),
            Operation(
                "GET",
                "/api/boards/{board}/receipt",
                "A receipt of it, which is not signed",
                self._get_receipt,
                None,
                (board, schema.FROM, {**schema.TO, "required": True}, schema.FORM),
                refusals=(400, 404, 409),
                content=("text/html", "application/json"),
            ),
            Operation(
                "GET",
                "/api/openapi.json",
                "This document",
                self._get_document,
                "Document",
                is_open=True,
            ),
        )
        of_prometheus = Operation(
            "GET",
            "/metrics",
            "All boards, for Prometheus",
            self._get_metrics,
            refusals=(409,),
            content=("text/plain",),
            is_open=True,
            by_token=True,
        )
        self.operations = (
            *(() if page is None else of_page),
            *(() if metrics is None else (of_prometheus,)),
        )
        self._router = Router(
            [
                Route(one.path, _guarded(one.handler), methods=[one.method])
                for one in self.operations
            ],
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # With an app it raises what it refuses.
            await self._router({**scope, "app": self}, receive, send)
        except HTTPException as refused:
            answer = _refused(refused.status_code, refused.detail)
            answer.headers.update(refused.headers or {})
            await answer(scope, receive, send)

    async def end(self) -> None:
        """End what is under way. A mute that has begun goes on in its thread."""
        self._boards.end()
        for task in self._muting.values():
            task.cancel()
        await asyncio.gather(*self._muting.values(), return_exceptions=True)

    async def _get_page(self, _: Request) -> Response:
        return Response(self._page, media_type="text/html")

    async def _get_document(self, _: Request) -> Response:
        return JSONResponse(schema.document(self.operations, muteboard.__version__))

    async def _get_metrics(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        is_theirs = hmac.compare_digest(token.strip().encode(), kept_token().encode())
        if self._metrics is None or scheme.lower() != "bearer" or not is_theirs:
            refused = _refused(401, "Give the token of docs/metrics.md (Authorization: Bearer).")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        return Response(self._metrics(), media_type=_METRICS_TYPE)

    async def _begin_session(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                code = await _code(request)
        except TimeoutError:
            code = None
        if code is None:
            return _refused(400, "Give the code that `hardmute page` has printed.")
        if not self._codes.take(code):
            return _refused(403, "This code is not good any more: run `hardmute page` again.")
        begun = self._sessions.begin()
        answer = JSONResponse({"key": begun.key})
        answer.set_cookie(
            self._cookie,
            begun.cookie,
            max_age=SESSION_S,
            path="/api/",
            secure=self._is_tls,
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _get_boards(self, _: Request) -> Response:
        return JSONResponse(self._boards.snapshot())

    async def _get_events(self, request: Request) -> Response:
        if request.method == "HEAD":
            # Nobody would read it.
            return Response(media_type="text/event-stream")
        if self._boards.readers >= _MOST_STREAMS:
            return _refused(503, "Too many pages are open: close some.")
        return _Stream(self._boards)

    async def _mute(self, request: Request) -> Response:
        board = request.path_params["board"]
        if not self._boards.has(board):
            return _refused(404, _NO_BOARD)
        task = self._muting.get(board)
        if task is None:
            # However many ask for it, it is cut once.
            task = self._muting[board] = asyncio.create_task(self._monitor.mute(board))
            task.add_done_callback(lambda ended: self._muted(board, ended))
        done, _ = await asyncio.wait([task], timeout=_MUTE_S)
        if not done:
            return _refused(409, "The board has not answered: press its button.")
        task.result()
        return JSONResponse({"board": board, "muted": True})

    def _muted(self, board: str, ended: asyncio.Task[None]) -> None:
        del self._muting[board]
        if not ended.cancelled():
            # Those who asked may have gone.
            ended.exception()

    async def _get_log(self, request: Request) -> Response:
        board = self._known(request)
        since_ms, until_ms = _interval(request, "since", "until")
        return JSONResponse(await self._past.log(board, since_ms, until_ms))

    async def _get_proof(self, request: Request) -> Response:
        board = self._known(request)
        from_ms, to_ms = _interval(request, "from", "to")
        return JSONResponse(await self._past.proof(board, from_ms, to_ms))

    async def _get_receipt(self, request: Request) -> Response:
        board = self._known(request)
        from_ms, to_ms = _interval(request, "from", "to")
        form = request.query_params.get("format", "html")
        if to_ms is None or form not in get_args(Form):
            raise HTTPException(400, "Give the end of the interval, and the format html or json.")
        written = await self._past.receipt(board, from_ms, to_ms, cast("Form", form))
        kind = "text/html" if form == "html" else "application/json"
        day = datetime.fromtimestamp(from_ms / 1000, UTC).date().isoformat()
        name = f'attachment; filename="receipt-{day}.{form}"'
        return Response(written, media_type=kind, headers={"Content-Disposition": name})

    def _known(self, request: Request) -> str:
        board = request.path_params["board"]
        if not self._boards.has(board):
            raise HTTPException(404, _NO_BOARD)
        return board


class _Stream(Response):
    """Events for as long as somebody reads them. uvicorn ends no stream: `Boards.end` does."""

    def __init__(self, boards: Boards) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._boards = boards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (as each response)
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        with contextlib.closing(self._boards.read()) as reader:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                reader.close()

            gone = asyncio.create_task(until_gone())
            try:
                await send(start)
                while (event := await reader.next()) is not None:
                    async with asyncio.timeout(_PATIENCE_S):
                        await send(
                            {"type": "http.response.body", "body": event, "more_body": True}
                        )
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except TimeoutError:
                # uvicorn then closes the connection, for the answer is not whole.
                return
            finally:
                gone.cancel()


def _guarded(handler: Handler) -> Handler:
    """``handler``, whose errors become answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except errors.HardmuteError as error:
            return _refused(400 if isinstance(error, errors.UsageError) else 409, str(error))
        except (HTTPException, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 (the page goes on)
            sys.audit("hardmute.failed_inside", repr(error))
            notices.tell(f"hardmute failed inside while it answered the page: {error!r}.")
            return _refused(500, "hardmute failed inside: see what the monitor prints.")

    return answer


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


async def _code(request: Request) -> str | None:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_BODY:
            return None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    code = cast("dict[str, Any]", said).get("code") if isinstance(said, dict) else None
    return code if isinstance(code, str) and code.isascii() else None


def _interval(request: Request, first: str, last: str) -> tuple[int, int | None]:
    """The two times in a query, in ms since the epoch; without the last one it is now."""
    told = [request.query_params.get(name) for name in (first, last)]
    times = [int(one) if one and one.isdecimal() and len(one) <= 13 else None for one in told]
    start, end = times
    is_right = (
        start is not None
        and (end is not None or told[1] is None)
        and start < (end or _LATEST_MS) <= _LATEST_MS
        and (end is None or end - start <= LONGEST_MS)
    )
    if start is None or not is_right:
        raise HTTPException(
            400, f"Give {first} and {last} in ms since 1970, at most 32 days apart."
        )
    return start, end
