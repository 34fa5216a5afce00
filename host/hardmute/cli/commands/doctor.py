"""`hardmute doctor`: runs the checks, prints them, and sums them up in an exit code.

It changes nothing and logs nothing; of a board it asks ``hello`` and ``status``, and has one that
is paired sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from importlib import resources, util
from itertools import groupby
from pathlib import Path

import muteboard
from hardmute import Log, errors, is_board_id
from hardmute.cli import console
from hardmute.device import discovery, simulators
from hardmute.device.discovery import Port
from hardmute.doctor import board, machine, ports, store
from hardmute.doctor.finding import Finding, failed, passed, skipped, warned
from hardmute.doctor.machine import Machine
from hardmute.monitor import desktop, settings
from hardmute.system import monitor_socket, paths

_RULE = "70-hardmute.rules"
_RULE_GOES = f"""\
This belongs in /etc/udev/rules.d/{_RULE}:
  hardmute doctor --udev-rule | sudo tee /etc/udev/rules.d/{_RULE}
  sudo udevadm control --reload && sudo udevadm trigger
and then plug the board in again."""


def doctor(args: Namespace) -> int:
    """`hardmute doctor`: 0 unless something fails; then the worst of what failed."""
    if args.udev_rule:
        print(resources.files("hardmute.doctor").joinpath(_RULE).read_text("utf-8"), end="")
        if sys.stdout.isatty():
            console.complain(_RULE_GOES)
        return errors.OK
    findings: list[Finding] = []
    for alike in _alike(examine(args.device, args.timeout, machine.here())):
        findings += alike
        if not args.json:
            names = ", ".join(finding.name for finding in alike)
            console.headline(alike[0].result, f"{names}: {alike[0].text}")
            if alike[0].todo:
                console.detail(alike[0].todo)
    if args.json:
        checks = [finding.as_json() for finding in findings]
        print(json.dumps({"hardmute": muteboard.__version__, "checks": checks}))
    return errors.worst(*(finding.code for finding in findings))


def _alike(found: Iterable[Finding]) -> Iterator[list[Finding]]:
    """Findings that say the same of one thing after another, in one."""
    for _, alike in groupby(found, key=lambda finding: finding[1:]):
        yield list(alike)


def examine(named: str | None, timeout: float, computer: Machine) -> Iterator[Finding]:
    """All checks, in the order in which their failures explain each other."""
    folder = Path(paths.data_dir())
    log, trouble = _open_log(folder / paths.LOG_NAME)
    if _is_simulated(named, log) or (named is not None and "://" in named):
        for name in ports.NAMES:
            yield skipped(name, "what was named is on no USB socket of this computer")
    else:
        yield from ports.check(computer, *_ports(named))
    yield from board.check(named, timeout, computer, log)
    yield from store.check(computer, folder, log, trouble)
    yield _settings()
    yield _monitor(computer)
    yield _notifications(computer)
    yield _page()
    yield _mqtt(timeout)


def _settings() -> Finding:
    """Whether the monitor can use its settings."""
    file = paths.settings_file()
    try:
        settings.load(file)
    except errors.UsageError as error:
        todo = f"Edit {file}; docs/monitor.md has all keys."
        return failed("monitor_settings", str(error), todo, errors.LOCAL)
    found = str(file) if file.exists() else f"the defaults, for there is no {file}"
    return passed("monitor_settings", found)


def _monitor(computer: Machine) -> Finding:
    """Whether anybody has run the monitor on such a system."""
    if computer.linux:
        return passed("monitor", "`hardmute monitor` and `hardmute service` run on this system")
    return warned(
        "monitor",
        "nobody has run `hardmute monitor` and `hardmute service` on this system yet",
        "Hold what they say against `hardmute status`, and report what they do.",
    )


def _notifications(computer: Machine) -> Finding:
    """Whether somebody could see a notification of `hardmute monitor` now."""
    name = "notifications"
    if not computer.linux:
        return skipped(name, "notifications are built for Linux only")
    if desktop.session_bus() is None:
        return skipped(name, "this process has no session bus, so no desktop shows notifications")
    try:
        service = asyncio.run(desktop.receiver())
    except errors.MissingExtraError as error:
        return skipped(name, str(error))
    except errors.LocalError as error:
        return warned(name, str(error), "")
    return passed(name, f"{service} shows the notifications of `hardmute monitor`")


def _page() -> Finding:
    """Whether the monitor that runs serves a page, if it is to."""
    name = "page"
    try:
        chosen = settings.load(paths.settings_file()).page
        connection = monitor_socket.connect()
    except errors.HardmuteError as error:
        return skipped(name, str(error))
    if connection is not None:
        with contextlib.closing(connection):
            try:
                said = connection.ask("page")
            except errors.UnreachableError as error:
                return skipped(name, str(error))
        if said.get("ok") is True:
            url = said["page"]["url"]
            return passed(name, f"the monitor serves its page at {url}: `hardmute page` opens it")
        if said.get("trouble") is not None:
            return failed(name, said["trouble"], "docs/page.md tells of the page.", errors.LOCAL)
    if not chosen.serve:
        return skipped(name, "no page is served; `hardmute monitor --page` serves one")
    if util.find_spec("uvicorn") is None or util.find_spec("starlette") is None:
        missing = errors.MissingExtraError("The page needs more than is installed", "page")
        return failed(name, str(missing), "", errors.LOCAL)
    return skipped(name, "no monitor of yours runs")


def _mqtt(timeout: float) -> Finding:
    """Whether the broker of the settings lets the monitor in."""
    name = "mqtt"
    try:
        chosen = settings.load(paths.settings_file()).mqtt
        if chosen.broker is None:
            return skipped(name, "no broker is set (docs/home-assistant.md)")
        if util.find_spec("aiomqtt") is None:
            raise errors.MissingExtraError("MQTT needs more than is installed", "mqtt")
        from hardmute.monitor import broker

        password = os.environ.get(settings.MQTT_PASSWORD)
        asyncio.run(broker.reach(chosen, password, timeout))
    except errors.UsageError as error:
        return skipped(name, str(error))
    except errors.LocalError as error:
        return failed(name, str(error), "", errors.LOCAL)
    at = f"port {chosen.broker.port} of {chosen.broker.host}"
    return passed(name, f"the broker at {at} lets the monitor in")


def _open_log(file: Path) -> tuple[Log | None, errors.HardmuteError | None]:
    """The log, all of it readable, or why it cannot be used; neither where there is none."""
    if not file.exists():
        return None, None
    try:
        log = Log(file, read_only=True)
        log.check_pages()
    except errors.HardmuteError as error:
        return None, error
    return log, None


def _is_simulated(named: str | None, log: Log | None) -> bool:
    if named is None:
        return False
    if discovery.is_port(named):
        return simulators.is_simulated(named)
    board = named if is_board_id(named) else log and log.board_named(named)
    return board in {entry.board for entry in simulators.running()}


def _ports(named: str | None) -> tuple[list[Port], list[Port]]:
    """The ports where the board that is meant may be, and bridges that nobody named."""
    every = discovery.serial_ports(bridges=True)
    if named is not None and discovery.is_port(named):
        real = os.path.realpath(named)
        found = [port for port in every if os.path.realpath(port.device) == real]
        return found or [Port(named, None, None)], []
    own = [port for port in every if port.ids and port.ids[0] in discovery.BOARD_VENDORS]
    return own, [port for port in every if port not in own]
