"""How each system starts `hardmute monitor` with the session of its user: files and commands.

Linux has systemd. What is here for macOS and Windows was written from their documentation and
never run.
"""

from __future__ import annotations

import os
import plistlib
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from xml.etree import ElementTree

from hardmute.model.errors import LocalError

NAME = "hardmute-monitor"
_LABEL = "hardmute.monitor"
# -P: what lies in the folder where it is started is not imported.
_ARGUMENTS = ("-P", "-m", "hardmute", "monitor")
# What says where the log, the keys and the settings are. A service manager may not know it.
_KEPT = ("HARDMUTE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
_DESCRIPTION = "hardmute: follows the hardware mutes of your microphones"

Command = tuple[str, ...]


class Service(NamedTuple):
    """The service of one user: a file, and how its manager is told of it.

    ``reach``: ends with 0 if the manager can be asked; otherwise nothing is changed. ``tell``: as
    soon as the file is there. ``state``: ends with 0 if the service runs. ``start``: if it does
    not. ``restart``: if it does, with another file than before. ``stop``: before the file is
    removed. ``forget``: when it has been. ``see``: for people who want to see more. ``was_run``:
    whether anybody has ever run this.
    """

    file: Path
    text: str
    encoding: str
    reach: Command
    tell: tuple[Command, ...]
    state: Command
    start: tuple[Command, ...]
    restart: tuple[Command, ...]
    stop: tuple[Command, ...]
    forget: tuple[Command, ...]
    see: tuple[str, ...]
    was_run: bool = False


def service(
    system: str, python: str, home: Path, environ: Mapping[str, str], uid: int = 0
) -> Service:
    """The service for ``system`` (as `sys.platform`).

    ``python``: the interpreter that has hardmute, with its whole path. ``home`` and ``uid``: those
    of the user. Raises `LocalError` for a path that systemd cannot take.
    """
    kept = {key: str(Path.cwd() / environ[key]) for key in _KEPT if environ.get(key)}
    if system == "darwin":
        return _agent(python, home, kept, uid)
    if system == "win32":
        return _task(python, environ)
    return _unit(python, home, kept)


def _unit(python: str, home: Path, kept: Mapping[str, str]) -> Service:
    if any(char in python for char in "\"'\\") or not python.isprintable():
        raise LocalError(
            f"systemd starts no program with a quote or a backslash in its path ({python!r}):"
            " install hardmute elsewhere."
        )
    name = f"{NAME}.service"

    def ask(*words: str) -> Command:
        return ("systemctl", "--user", *words)

    return Service(
        file=Path(kept.get("XDG_CONFIG_HOME", home / ".config")) / "systemd" / "user" / name,
        text=systemd_unit(python, kept),
        encoding="utf-8",
        reach=ask("show", "--property=Version"),
        tell=(ask("daemon-reload"), ask("enable", name)),
        state=ask("is-active", name),
        start=(ask("start", name),),
        restart=(ask("restart", name),),
        stop=(ask("disable", "--now", name),),
        forget=(ask("daemon-reload"),),
        see=(f"systemctl --user status {NAME}", f"journalctl --user --unit {NAME}"),
        was_run=True,
    )


def systemd_unit(python: str, kept: Mapping[str, str]) -> str:
    """The unit of systemd.

    What a user's manager cannot do is left out. It ends a unit that drops a capability (218), as
    ProtectKernelLogs=, ProtectClock= and PrivateDevices= do. To protect files it needs a user
    namespace, where root's files belong to nobody. MemoryDenyWriteExecute= would stop callbacks
    from C.
    """
    environment = "".join(f"Environment={_quoted(f'{key}={kept[key]}')}\n" for key in kept)
    return f"""\
[Unit]
Description={_DESCRIPTION}

[Service]
Type=notify
NotifyAccess=main
ExecStart=:{_quoted(python)} {" ".join(_ARGUMENTS)}
ExecReload=kill -HUP $MAINPID
{environment}WatchdogSec=10
TimeoutStartSec=60
TimeoutStopSec=10
Restart=on-failure
RestartSec=5
# The settings are wrong: a person has to act.
RestartPreventExitStatus=2
# Its memory has keys.
LimitCORE=0
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""


def _quoted(word: str) -> str:
    """A word of a line, as systemd.syntax(7) and systemd.unit(5) (specifiers) have it."""
    said = "".join(
        {"\\": "\\\\", '"': '\\"', "%": "%%"}.get(chr(byte), chr(byte))
        if 0x20 <= byte < 0x7F
        else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f'"{said}"'


def _agent(python: str, home: Path, kept: Mapping[str, str], uid: int) -> Service:
    file = home / "Library" / "LaunchAgents" / f"{_LABEL}.plist"
    output = home / "Library" / "Logs" / f"{NAME}.log"
    agent = {
        "Label": _LABEL,
        "ProgramArguments": [python, *_ARGUMENTS],
        "EnvironmentVariables": dict(kept),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "Umask": 0o077,
        "StandardOutPath": str(output),
        "StandardErrorPath": str(output),
    }
    domain, target = f"gui/{uid}", f"gui/{uid}/{_LABEL}"
    load = ("launchctl", "bootstrap", domain, str(file))
    unload = ("launchctl", "bootout", target)
    return Service(
        file=file,
        text=plistlib.dumps(agent).decode(),
        encoding="utf-8",
        reach=("launchctl", "print", domain),
        tell=(),
        state=("launchctl", "print", target),
        start=(load,),
        restart=(unload, load),
        stop=(unload,),
        forget=(),
        see=(f"launchctl print {target}", f"less {output}"),
    )


def _task(python: str, environ: Mapping[str, str]) -> Service:
    # It has no console, and so opens none.
    quiet = PureWindowsPath(python).with_name("pythonw.exe")
    folder = environ.get("LOCALAPPDATA") or environ.get("USERPROFILE", "")
    file = Path(folder) / "hardmute" / f"{NAME}.xml"
    user = "\\".join(filter(None, (environ.get("USERDOMAIN"), environ.get("USERNAME"))))

    def ask(verb: str, *words: str) -> Command:
        return ("schtasks", verb, "/tn", NAME, *words)

    return Service(
        file=file,
        text=_task_xml(str(quiet), user),
        # What schtasks reads.
        encoding="utf-16",
        reach=("schtasks", "/query", "/fo", "list"),
        tell=(ask("/create", "/xml", str(file), "/f"),),
        state=ask("/query"),
        start=(ask("/run"),),
        restart=(ask("/end"), ask("/run")),
        stop=(ask("/end"), ask("/delete", "/f")),
        forget=(),
        see=(f"schtasks /query /v /fo list /tn {NAME}",),
    )


# Parts of a task, in the order of its schema.
_TASK: dict[str, dict[str, str]] = {
    "RegistrationInfo": {"Description": _DESCRIPTION},
    "Triggers/LogonTrigger": {"Enabled": "true", "UserId": "{user}"},
    "Principals/Principal": {
        "UserId": "{user}",
        "LogonType": "InteractiveToken",
        "RunLevel": "LeastPrivilege",
    },
    "Settings": {
        "MultipleInstancesPolicy": "IgnoreNew",
        "DisallowStartIfOnBatteries": "false",
        "StopIfGoingOnBatteries": "false",
        "ExecutionTimeLimit": "PT0S",
    },
    "Settings/RestartOnFailure": {"Interval": "PT1M", "Count": "999"},
    "Actions/Exec": {"Command": "{command}", "Arguments": " ".join(_ARGUMENTS)},
}


def _task_xml(command: str, user: str) -> str:
    task = ElementTree.Element(
        "Task", version="1.2", xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task"
    )
    for path, words in _TASK.items():
        part = task
        for name in path.split("/"):
            found = part.find(name)
            part = ElementTree.SubElement(part, name) if found is None else found
        for name, said in words.items():
            text = {"{user}": user, "{command}": command}.get(said, said)
            ElementTree.SubElement(part, name).text = text
    ElementTree.indent(task)
    return '<?xml version="1.0" encoding="UTF-16"?>\n' + ElementTree.tostring(task, "unicode")
