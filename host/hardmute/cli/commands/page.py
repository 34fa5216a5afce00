"""`hardmute page`: opens the page of the monitor in a browser, with a one-time code."""

from __future__ import annotations

import contextlib
import html
import webbrowser
from argparse import Namespace
from pathlib import Path
from typing import Any

from hardmute import errors, new_file
from hardmute.cli import console
from hardmute.system import monitor_socket, paths

_NO_MONITOR = "No monitor of yours runs: start one with `hardmute monitor --page`."
_NO_PAGE = (
    "Your monitor serves no page: start it with `hardmute monitor --page`, or set page = true in"
    " monitor.toml."
)


def page(args: Namespace) -> int:
    """`hardmute page`: 0 once a browser was started, or the code was printed."""
    entrance = _entrance()
    url, code = entrance["url"], entrance["code"]
    if not args.print and _is_opened(url, code):
        console.say(f"Your browser opens {url}")
        console.detail("If it asks for a code, run `hardmute page --print`.")
        return errors.OK
    console.say(url)
    console.detail(f"code: {code} (good for 60 s, once)")
    return errors.OK


def _entrance() -> dict[str, Any]:
    connection = monitor_socket.connect()
    if connection is None:
        raise errors.LocalError(_NO_MONITOR)
    with contextlib.closing(connection):
        said = connection.ask("page")
    if said.get("ok") is not True:
        raise errors.LocalError(said.get("trouble") or _NO_PAGE)
    return said["page"]


def _is_opened(url: str, code: str) -> bool:
    """Whether a browser was started. The code is in no command line: others could read that."""
    file = Path(paths.runtime_dir("monitor"), "page.html")
    file.unlink(missing_ok=True)
    target = html.escape(f"{url}#code={code}")
    with new_file(file) as stream:
        stream.write(
            '<!doctype html><meta charset="utf-8"><title>hardmute</title>'
            f'<meta http-equiv="refresh" content="0; url={target}">'
            f'<a href="{target}">hardmute</a>\n'.encode()
        )
    return webbrowser.open(file.as_uri())
