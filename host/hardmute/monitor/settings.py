"""What the owner has set for the monitor. docs/monitor.md has each key."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any, NamedTuple, cast

from hardmute.model.errors import UsageError
from hardmute.model.words import printable


@dataclass(frozen=True)
class Remind:
    """When people are reminded of a live microphone. Times in seconds.

    ``after_s``: again after so long, and then each time so long. ``unused_s``: if no program has
    recorded for so long. ``quiet``: at the beginning of these hours (local time) lines are cut.
    """

    after_s: float = 600.0
    unused_s: float | None = 300.0
    quiet: tuple[time, time] | None = None


@dataclass(frozen=True)
class Hooks:
    """What is run or called at a change. A program is a command line without a shell.

    ``url``: gets each event as JSON, signed (HMAC-SHA-256) with the content of ``secret_file``.
    """

    on_live: tuple[str, ...] = ()
    on_muted: tuple[str, ...] = ()
    on_fault: tuple[str, ...] = ()
    on_unknown: tuple[str, ...] = ()
    on_incident: tuple[str, ...] = ()
    url: str | None = None
    secret_file: str | None = None


@dataclass(frozen=True)
class OsMute:
    """The operating system's own mute. It never connects a line.

    ``follow``: mute the sources of sound while all lines are cut. ``lead``: cut all lines when
    somebody mutes the default source.
    """

    follow: bool = False
    lead: bool = False


@dataclass(frozen=True)
class PageSettings:
    """The page (docs/page.md). ``serve``: whether there is one.

    ``address``: an IP address and a port (0: any) to listen at. ``names``: host names by which
    browsers may call it. ``certificate`` and ``key``: PEM files; without them there is no TLS.
    """

    serve: bool = False
    address: tuple[str, int] = ("127.0.0.1", 8437)
    names: tuple[str, ...] = ()
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class MetricsSettings:
    """Metrics for Prometheus (docs/metrics.md). ``serve``: whether the page's server has them.

    ``file``: into which they are written, for others to read; its name ends with ``.prom``.
    """

    serve: bool = False
    file: str | None = None


@dataclass(frozen=True)
class Settings:
    """All of it. ``boards``: ids, labels or ports to follow; none: each real board."""

    boards: tuple[str, ...] = ()
    notify: bool = True
    remind: Remind = field(default_factory=Remind)
    hooks: Hooks = field(default_factory=Hooks)
    os_mute: OsMute = field(default_factory=OsMute)
    page: PageSettings = field(default_factory=PageSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


class Key(NamedTuple):
    """A key of the file: the field that it sets, and of which part ("": of `Settings` itself).

    ``read`` turns what TOML gives into the field's value; it raises `ValueError` for what is not
    as ``wants`` says.
    """

    part: str
    field: str
    wants: str
    read: Callable[[object], object]


def _switch(value: object) -> bool:
    if value is True or value is False:
        return value
    raise ValueError


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    return value


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return cast("list[object]", value)
    raise ValueError


def _names(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_text, _list(value))))


def _program(value: object) -> tuple[str, ...]:
    program, *arguments = _list(value)
    if not all(isinstance(word, str) and "\0" not in word for word in arguments):
        raise ValueError
    return (_text(program), *map(str, arguments))


def _duration(value: object) -> float:
    found = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,3})?) ?(s|min|h)", _text(value))
    if found is None:
        raise ValueError
    seconds = float(found[1]) * _UNITS_S[found[2]]
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise ValueError
    return seconds


def _duration_or_never(value: object) -> float | None:
    return None if value == "never" else _duration(value)


def _hours(value: object) -> tuple[time, time]:
    found = re.fullmatch(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})", _text(value))
    if found is None:
        raise ValueError
    start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    if start == end:
        raise ValueError
    return start, end


def _url(value: object) -> str:
    from urllib.parse import urlsplit

    url = _text(value)
    parts = urlsplit(url)
    is_plain = url.isascii() and url.isprintable() and " " not in url
    is_web = parts.scheme in ("http", "https") and parts.hostname
    # `port` raises `ValueError` for one that there cannot be.
    if not is_plain or not is_web or parts.port == 0:
        raise ValueError
    return url


def _file(value: object) -> str:
    try:
        file = Path(_text(value)).expanduser()
    except RuntimeError as error:
        # A home that nobody has.
        raise ValueError from error
    if not file.is_absolute():
        raise ValueError
    return str(file)


def _metrics_file(value: object) -> str:
    file = _file(value)
    # What reads such files reads no others.
    if not Path(file).name.removesuffix(".prom") or not file.endswith(".prom"):
        raise ValueError
    return file


def _address(value: object) -> tuple[str, int]:
    import ipaddress

    host, _, port = _text(value).rpartition(":")
    # As in an address of the web: an IPv6 address has brackets.
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    found = ipaddress.ip_address("127.0.0.1" if host == "localhost" else bare)
    if (found.version == 6) is not (bare != host) or not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError
    if int(port) > _HIGHEST_PORT:
        raise ValueError
    return str(found), int(port)


def _hosts(value: object) -> tuple[str, ...]:
    names = tuple(name.lower() for name in _names(value))
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name) for name in names):
        raise ValueError
    return names


_UNITS_S = {"s": 1, "min": 60, "h": 3600}
_SHORTEST_S = 10
_LONGEST_S = 24 * 3600
_HIGHEST_PORT = 65535
_DURATION = '"10 min", "90 s" or "1.5 h", from 10 s to 24 h'
_SWITCH = "true or false"
_PROGRAM = 'a list of a program and its arguments, as ["notify-send", "live"]'
KEYS = {
    "boards": Key("", "boards", 'a list of names, as ["Meeting room 2"]', _names),
    "notify": Key("", "notify", _SWITCH, _switch),
    "remind_after": Key("remind", "after_s", f"a time such as {_DURATION}", _duration),
    "remind_unused": Key(
        "remind", "unused_s", f'"never", or a time such as {_DURATION}', _duration_or_never
    ),
    "quiet": Key("remind", "quiet", 'two different times, as "18:00-08:00"', _hours),
    "on_live": Key("hooks", "on_live", _PROGRAM, _program),
    "on_muted": Key("hooks", "on_muted", _PROGRAM, _program),
    "on_fault": Key("hooks", "on_fault", _PROGRAM, _program),
    "on_unknown": Key("hooks", "on_unknown", _PROGRAM, _program),
    "on_incident": Key("hooks", "on_incident", _PROGRAM, _program),
    "webhook": Key("hooks", "url", 'an address, as "https://example.org/hook"', _url),
    "webhook_secret_file": Key(
        "hooks", "secret_file", 'a file with its whole path, as "~/hook.secret"', _file
    ),
    "os_mute_follows": Key("os_mute", "follow", _SWITCH, _switch),
    "os_mute_cuts": Key("os_mute", "lead", _SWITCH, _switch),
    "page": Key("page", "serve", _SWITCH, _switch),
    "page_address": Key(
        "page", "address", 'an IP address and a port, as "127.0.0.1:8437"', _address
    ),
    "page_names": Key("page", "names", 'a list of host names, as ["desk.example.org"]', _hosts),
    "page_certificate": Key(
        "page", "certificate", 'a file with its whole path, as "~/page.pem"', _file
    ),
    "page_key": Key("page", "key", 'a file with its whole path, as "~/page.key"', _file),
    "metrics": Key("metrics", "serve", _SWITCH, _switch),
    "metrics_file": Key(
        "metrics",
        "file",
        'a file with its whole path that ends with .prom, as "~/textfiles/hardmute.prom"',
        _metrics_file,
    ),
}
_MOST_SHOWN = 60
# More than anybody writes by hand. It bounds how long `_line_of` takes.
_MOST_BYTES = 16 * 1024
_MOST_LINES = 1000


def load(file: Path) -> Settings:
    """The settings in ``file``; the defaults where there is no such file.

    Raises `UsageError` with the file, the line and the key for what cannot be meant. It is also
    raised for a file with hooks that somebody else can change.
    """
    try:
        content, changed_by = _read(file)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror or error}).") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{file}, line {line}: this is not UTF-8: save it as UTF-8.") from error
    if len(content) > _MOST_BYTES or text.count("\n") > _MOST_LINES:
        raise UsageError(
            f"{file} is larger than {_MOST_BYTES // 1024} KiB or {_MOST_LINES} lines:"
            " it cannot be the settings."
        )
    document = _parsed(file, text)
    parts: dict[str, dict[str, Any]] = {key.part: {} for key in KEYS.values()}
    for name, value in document.items():
        key = KEYS.get(name)
        at = f"{file}, line {_line_of(name, text)}"
        if key is None:
            raise UsageError(f"{at}: there is no setting {_shown(name)}{_nearest(name)}.")
        try:
            parts[key.part][key.field] = key.read(value)
        except ValueError as error:
            raise UsageError(f"{at}: {name} must be {key.wants}, not {_shown(value)}.") from error
    if "webhook_secret_file" in document and "webhook" not in document:
        line = _line_of("webhook_secret_file", text)
        raise UsageError(
            f"{file}, line {line}: webhook_secret_file is the secret of a webhook:"
            " set webhook as well, or remove it."
        )
    page = PageSettings(**parts["page"])
    if refusal := _refused(page):
        name, why = refusal
        at = f"{file}, line {_line_of(name, text)}" if name in document else str(file)
        raise UsageError(f"{at}: {why}")
    if parts["hooks"] and changed_by is not None:
        raise UsageError(
            f"{file} has hooks, and {changed_by} can change it:"
            " make the file and its folder yours, and writable by you only."
        )
    return Settings(
        **parts[""],
        remind=Remind(**parts["remind"]),
        hooks=Hooks(**parts["hooks"]),
        os_mute=OsMute(**parts["os_mute"]),
        page=page,
        metrics=MetricsSettings(**parts["metrics"]),
    )


def _refused(page: PageSettings) -> tuple[str, str] | None:
    """Which key asks for a page that there cannot be, and why."""
    import ipaddress

    found = ipaddress.ip_address(page.address[0])
    if (page.certificate is None) is not (page.key is None):
        given = "page_key" if page.certificate is None else "page_certificate"
        return given, "page_certificate and page_key belong together: set both, or none."
    if page.certificate is None and not found.is_loopback:
        return "page_address", (
            f"{found} can be reached from other computers: set page_certificate and page_key,"
            " or use 127.0.0.1."
        )
    if found.is_unspecified and not page.names:
        return "page_address", (
            f"{found} is no address that a browser can call: set page_names as well."
        )
    return None


def _read(file: Path) -> tuple[bytes, str | None]:
    """The beginning of ``file``, as long as settings may be and a byte; who else can change it."""

    def opener(name: str, flags: int) -> int:
        # A pipe of that name is not waited for.
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(file, "rb", opener=opener) as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is not a file")
        changed_by = _others(found) or _others(file.resolve().parent.stat())
        return stream.read(_MOST_BYTES + 1), changed_by


def _others(found: os.stat_result) -> str | None:
    """Who beside this user and root can change a file, or what is in a folder; None: nobody."""
    if sys.platform == "win32":
        # There it is not in the mode who can.
        return None
    import grp
    import pwd

    if found.st_uid not in (0, os.geteuid()):
        return "another user"
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        # As /tmp: others cannot replace what is ours.
        return None
    if found.st_mode & stat.S_IWOTH:
        return "every user"
    if found.st_mode & stat.S_IWGRP:
        with contextlib.suppress(KeyError):
            # Many distributions give each user a group of the same name, and files to it.
            if grp.getgrgid(found.st_gid).gr_name == pwd.getpwuid(os.geteuid()).pw_name:
                return None
        return "a group of users"
    return None


def _parsed(file: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why, _, where = str(error).partition(" (at ")
        found = re.match(r"line ([0-9]+)", where)
        line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
        raise UsageError(f"{file}, line {line}: this is not TOML ({printable(why)}).") from error
    except (ValueError, RecursionError) as error:
        # A number with too many digits; brackets in brackets in brackets.
        raise UsageError(f"{file} is not TOML that can be read: shorten it.") from error


def _line_of(name: str, text: str) -> int:
    """The line where the key or table ``name`` begins, in a text that is TOML."""
    import tomllib

    lines = text.split("\n")
    begin, in_table = 0, False
    for end in range(1, len(lines) + 1):
        # Each statement is TOML by itself, and no part of a statement that begins it is.
        statement = "\n".join(lines[begin:end]) + "\n"
        try:
            document = tomllib.loads(statement)
        except (ValueError, RecursionError):
            continue
        is_table = statement.lstrip().startswith("[")
        if name in document and (is_table or not in_table):
            return begin + 1
        begin, in_table = end, in_table or is_table
    return begin + 1


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, KEYS, 1)
    return f" (did you mean {near[0]}?)" if near else ": docs/monitor.md has them all"


def _shown(value: object) -> str:
    """What was written, in short."""
    if isinstance(value, dict):
        return "a table"
    try:
        written = printable(json.dumps(value, ensure_ascii=False, default=str))
    except ValueError:
        # Python writes no more than some thousand digits.
        return "such a long number"
    return written if len(written) <= _MOST_SHOWN else f"{written[:_MOST_SHOWN]}..."
