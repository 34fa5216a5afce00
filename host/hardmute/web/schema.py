"""The OpenAPI document of the page's API: what is asked, and what is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, get_args

from starlette.requests import Request
from starlette.responses import Response

from hardmute.model.answers import PROOF_LEVELS, VERDICTS
from hardmute.web.past import Form

Schema = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]


class Operation(NamedTuple):
    """What can be asked: ``answers`` is the schema of what is answered with 200; None: no JSON."""

    method: str
    path: str
    summary: str
    handler: Handler
    answers: str | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    body: str | None = None
    # Statuses of refusals, beside those of the gate.
    refusals: tuple[int, ...] = ()
    content: tuple[str, ...] = ("application/json",)
    # It needs no session.
    is_open: bool = False
    # But a token (`entrance.kept_token`).
    by_token: bool = False


def _parameter(name: str, where: str, what: str, schema: Schema, *, required: bool) -> Schema:
    return {"name": name, "in": where, "description": what, "required": required, "schema": schema}


_MS: Schema = {"type": "integer", "minimum": 0}
_NULL_MS: Schema = {"type": ["integer", "null"]}
_TEXT: Schema = {"type": "string"}
_NULL_TEXT: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": "boolean"}
_VERDICT: Schema = {"enum": list(VERDICTS)}
_PROOF: Schema = {"enum": [*PROOF_LEVELS, None]}

BOARD_PARAMETER = _parameter("board", "path", "The id of a board", _TEXT, required=True)
SINCE = _parameter("since", "query", "ms since 1970", _MS, required=True)
UNTIL = _parameter("until", "query", "ms since 1970; left out: now", _MS, required=False)
FROM = {**SINCE, "name": "from"}
TO = {**UNTIL, "name": "to"}
FORM = _parameter(
    "format", "query", "html (default) or json", {"enum": list(get_args(Form))}, required=False
)


def _object(what: str, **fields: Schema) -> Schema:
    return {
        "type": "object",
        "description": what,
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _of(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: dict[str, Schema] = {
    "Error": _object("Why it was refused, in a sentence", error=_TEXT),
    "Code": _object("What `hardmute page` has printed", code=_TEXT),
    "Session": _object("The key for the header X-Hardmute-Key of each request", key=_TEXT),
    "Boards": _object(
        "All boards. Times in ms without `at` are by a clock of the host that nobody sets",
        run={**_TEXT, "description": "the run of that clock"},
        now_ms={**_MS, "description": "when this was known"},
        at={**_TEXT, "description": "the same by the host's wall clock"},
        boards=_list(_of("Board")),
    ),
    "Board": _object(
        "What is known of a board. A state is true for 5 s after `heard_ms`, and then unknown",
        board=_TEXT,
        label=_NULL_TEXT,
        simulated=_FLAG,
        verdict=_VERDICT,
        why=_TEXT,
        since_ms={**_NULL_MS, "description": "since when it is so"},
        heard_ms={**_NULL_MS, "description": "when the board said so; null: it is unknown"},
        proof=_PROOF,
        mutes_at_ms={**_NULL_MS, "description": "when the board mutes itself"},
        firmware=_NULL_TEXT,
        incident={**_NULL_TEXT, "description": "what does not hold of its evidence"},
        exit_code={**_NULL_MS, "description": "what the health of log and evidence asks for"},
    ),
    "Muted": _object("The line is cut", board=_TEXT, muted={"const": True}),
    "Interval": _object(
        "What the line was in [start, end), by the host's wall clock",
        start_ms=_MS,
        end_ms=_MS,
        state=_VERDICT,
        why=_TEXT,
        proof=_PROOF,
        plus_minus_ms=_MS,
    ),
    "Proven": _object(
        "What is proven of [start, end)",
        start_ms=_MS,
        end_ms=_MS,
        state=_VERDICT,
        why=_TEXT,
        plus_minus_ms=_MS,
    ),
    "Incident": _object("What did not hold of the evidence", at_ms=_MS, text=_TEXT),
    "Log": _object(
        "The log of a board in [since, until)",
        board=_TEXT,
        since_ms=_MS,
        until_ms=_MS,
        live_ms=_MS,
        fault_ms=_MS,
        unknown_ms=_MS,
        intervals=_list(_of("Interval")),
        incidents=_list(_of("Incident")),
        paired={"type": ["boolean", "null"], "description": "null: this host cannot tell"},
        signed_at_ms={**_NULL_MS, "description": "when the board signed last, for the log"},
        rows=_MS,
        head={**_TEXT, "description": "the hash of the last row of this host's log"},
    ),
    "Proof": _object(
        "What is proven of [from, to)",
        board=_TEXT,
        from_ms=_MS,
        to_ms=_MS,
        verdict={"enum": [*VERDICTS, "tampered"]},
        simulated=_FLAG,
        intervals=_list(_of("Proven")),
        findings=_list(_TEXT),
    ),
    "Document": {"type": "object", "description": "This document"},
}
# Whatever is asked may be refused so: another host, no session, another site.
_REFUSALS = {
    400: "it means nothing",
    401: "there is no session: run `hardmute page`; or not the token",
    403: "not from this page; or the code is not good",
    404: "the monitor follows no such board",
    409: "it could not be done",
    421: "another host was asked for",
    503: "too many streams",
}
_ALWAYS = (403, 421)


def document(operations: Iterable[Operation], version: str) -> Schema:
    """The OpenAPI document of ``operations``."""
    paths: dict[str, Schema] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The page of hardmute monitor",
            "version": version,
            "description": "No operation connects a line.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "cookie": {"type": "apiKey", "in": "cookie", "name": "hardmute-PORT"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Hardmute-Key"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"cookie": [], "key": []}],
    }


def _operation(one: Operation) -> Schema:
    answer: Schema = _TEXT if one.answers is None else _of(one.answers)
    is_free = one.is_open and not one.by_token
    refusals = sorted({*_ALWAYS, *(() if is_free else (401,)), *one.refusals})
    made: Schema = {
        "summary": one.summary,
        "parameters": list(one.parameters),
        "responses": {
            "200": {
                "description": one.summary,
                "content": {kind: {"schema": answer} for kind in one.content},
            }
        }
        | {str(status): _refusal(status) for status in refusals},
    }
    if one.is_open:
        made["security"] = [{"token": []}] if one.by_token else []
    if one.body is not None:
        content = {"application/json": {"schema": _of(one.body)}}
        made["requestBody"] = {"required": True, "content": content}
    return made


def _refusal(status: int) -> Schema:
    content = {"application/json": {"schema": _of("Error")}}
    return {"description": _REFUSALS[status], "content": content}
