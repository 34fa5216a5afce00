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


# The environment variable with the password for the broker.
MQTT_PASSWORD = "HARDMUTE_MQTT_PASSWORD"  # noqa: S105


class Broker(NamedTuple):
    """An MQTT broker: its address, and whether it is reached by TLS."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True)
class MqttSettings:
    """Home Assistant (docs/home-assistant.md). ``broker``: None: nothing is told to anybody.

    ``name``: of this monitor at the broker; None: the host's name. ``password_file`` holds the
    password of ``user``. ``ca_file``: PEM, of an authority that the system does not know.
    ``discovery``: the topic at which Home Assistant looks for devices. ``plain``: whether a broker
    on another computer may be reached without TLS.
    """

    broker: Broker | None = None
    name: str | None = None
    user: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    discovery: str = "homeassistant"
    plain: bool = False


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
    mqtt: MqttSettings = field(default_factory=MqttSettings)


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


def _broker(value: object) -> Broker:
    from urllib.parse import urlsplit

    url = _text(value)
    parts = urlsplit(url)
    usual = {"mqtt": 1883, "mqtts": 8883}.get(parts.scheme)
    # `port` raises `ValueError` for one that there cannot be.
    port = usual if parts.port is None else parts.port
    is_plain = url.isascii() and url.isprintable() and " " not in url
    more = (parts.username, parts.query, parts.fragment, parts.path.strip("/"))
    if not is_plain or not port or not parts.hostname or any(one for one in more):
        raise ValueError
    return Broker(parts.hostname, port, parts.scheme == "mqtts")


def _topic_level(value: object) -> str:
    name = _text(value)
    if not re.fullmatch("[a-z0-9_-]{1,40}", name):
        raise ValueError
    return name


_UNITS_S = {"s": 1, "min": 60, "h": 3600}
_SHORTEST_S = 10
_LONGEST_S = 24 * 3600
_HIGHEST_PORT = 65535
_DURATION = '"10 min", "90 s" or "1.5 h", from 10 s to 24 h'
_SWITCH = "true or false"
_LEVEL = 'up to 40 of a to z, 0 to 9, "-" and "_", as "desk"'
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
    "mqtt": Key(
        "mqtt",
        "broker",
        'an address without user and password, as "mqtts://broker.example.org"',
        _broker,
    ),
    "mqtt_name": Key("mqtt", "name", _LEVEL, _topic_level),
    "mqtt_user": Key("mqtt", "user", 'a name, as "hardmute"', _text),
    "mqtt_password_file": Key(
        "mqtt", "password_file", 'a file with its whole path, as "~/mqtt.password"', _file
    ),
    "mqtt_ca_file": Key("mqtt", "ca_file", 'a file with its whole path, as "~/ca.pem"', _file),
    "mqtt_discovery": Key("mqtt", "discovery", _LEVEL, _topic_level),
    "mqtt_plain": Key("mqtt", "plain", _SWITCH, _switch),
}
# What somebody may have put a secret into by mistake: it is not repeated.
_NOT_SHOWN = ("webhook_secret_file", "mqtt_password_file")
_MOST_SHOWN = 60
# More than anybody writes by hand. It bounds how long `_line_of` takes.
_MOST_BYTES = 16 * 1024
_MOST_LINES = 1000


def load(file: Path) -> Settings:
    """The settings in ``file``; the defaults where there is no such file.

    Raises `UsageError` with the file, the line and the key for what cannot be meant. It is also
    raised for a file with hooks or a broker that somebody else can change.
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
            found = "what it says" if name in _NOT_SHOWN else _shown(value)
            raise UsageError(f"{at}: {name} must be {key.wants}, not {found}.") from error
    if "webhook_secret_file" in document and "webhook" not in document:
        line = _line_of("webhook_secret_file", text)
        raise UsageError(
            f"{file}, line {line}: webhook_secret_file is the secret of a webhook:"
            " set webhook as well, or remove it."
        )
    page, mqtt = PageSettings(**parts["page"]), MqttSettings(**parts["mqtt"])
    if refusal := _refused(page) or _refused_mqtt(mqtt):
        name, why = refusal
        at = f"{file}, line {_line_of(name, text)}" if name in document else str(file)
        raise UsageError(f"{at}: {why}")
    if (parts["hooks"] or mqtt.broker is not None) and changed_by is not None:
        has = "hooks" if parts["hooks"] else "a broker"
        raise UsageError(
            f"{file} has {has}, and {changed_by} can change it:"
            " make the file and its folder yours, and writable by you only."
        )
    return Settings(
        **parts[""],
        remind=Remind(**parts["remind"]),
        hooks=Hooks(**parts["hooks"]),
        os_mute=OsMute(**parts["os_mute"]),
        page=page,
        metrics=MetricsSettings(**parts["metrics"]),
        mqtt=mqtt,
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


def _refused_mqtt(mqtt: MqttSettings) -> tuple[str, str] | None:
    """Which key asks for what cannot be at a broker, or is unsafe there, and why."""
    if mqtt.broker is None:
        for name in ("user", "password_file", "ca_file"):
            if getattr(mqtt, name) is not None:
                return f"mqtt_{name}", f"mqtt_{name} is for a broker: set mqtt as well."
        return None
    if mqtt.password_file is not None and mqtt.user is None:
        return "mqtt_password_file", "mqtt_password_file needs a user: set mqtt_user as well."
    if mqtt.broker.tls:
        return None
    if mqtt.ca_file is not None:
        return "mqtt_ca_file", "mqtt_ca_file is for TLS: begin mqtt with mqtts://."
    if not mqtt.plain and not _is_this_computer(mqtt.broker.host):
        return "mqtt", (
            f"without TLS others can read and change what {mqtt.broker.host} is told:"
            " begin mqtt with mqtts://, or set mqtt_plain = true."
        )
    return None


def _is_this_computer(host: str) -> bool:
    import ipaddress

    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


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
    # The user and password of an address are nobody's business.
    written = re.sub("//.*@", "//...@", written)
    return written if len(written) <= _MOST_SHOWN else f"{written[:_MOST_SHOWN]}..."
