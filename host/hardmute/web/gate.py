"""What stands before each request: which host is meant, where it comes from, who asks.

Any web page can have a browser send requests to 127.0.0.1, also under a name of its own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardmute.web.entrance import Sessions

KEY_HEADER = "x-hardmute-key"
_MOST_COOKIES = 50
_SAFE = ("GET", "HEAD")
# A request that a user began, by an address or a bookmark, has "none".
_OWN_SITES = (None, "same-origin", "none")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# What is data runs nothing and shows nothing, whatever a browser takes it for.
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def page_policy(page: str) -> str:
    """The Content-Security-Policy of ``page``: its own script and style, its own server."""

    def sources(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (hashlib.sha256(part.encode()).digest() for part in found)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


class Gate:
    """Lets those requests through to ``app`` that this server's own page may send.

    ``origins``: the addresses by which browsers may call it, as ``http://127.0.0.1:8437``.
    ``open_paths`` need no session. ``cookie``: the name of the session's cookie. ``policy``: the
    Content-Security-Policy of the page.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Collection[str],
        sessions: Sessions,
        *,
        open_paths: Collection[str],
        cookie: str,
        policy: str,
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._hosts = frozenset(origin.partition("://")[2] for origin in origins)
        self._sessions = sessions
        self._open_paths = frozenset(open_paths)
        self._cookie = cookie
        self._policy = policy
        self._is_tls = all(origin.startswith("https:") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # No other protocol is spoken here.
            return
        is_page = scope["path"] == "/"

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers["Content-Security-Policy"] = self._policy if is_page else _DATA_POLICY
                if self._is_tls:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_safely)
        else:
            status, why = refusal
            await JSONResponse({"error": why}, status)(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if len(hosts := headers.getlist("host")) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "This server is not the host that was asked for: use its own address."
        path, method = scope["path"], scope["method"]
        origins = headers.getlist("origin")
        if not self._origins.issuperset(origins) or (not origins and method not in _SAFE):
            return 403, "Only the page of this server may ask for that."
        if path != "/" and headers.get("sec-fetch-site") not in _OWN_SITES:
            return 403, "Only the page of this server may ask for that."
        if path not in self._open_paths and not self._is_known(headers):
            return 401, "Run `hardmute page`: it gives you a code for this page."
        return None

    def _is_known(self, headers: Headers) -> bool:
        key = headers.get(KEY_HEADER, "")
        parts = headers.get("cookie", "").split(";", _MOST_COOKIES)
        # Another program at another port of this host may have set one of the same name.
        return any(
            self._sessions.holds(value, key)
            for name, _, value in (part.strip().partition("=") for part in parts)
            if name == self._cookie
        )
