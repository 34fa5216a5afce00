"""`hardmute service`: has the system run `hardmute monitor` in each session of its user."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path

from hardmute import errors
from hardmute.cli import console
from hardmute.monitor import install as installing
from hardmute.monitor import units


def install(args: Namespace) -> int:
    """`hardmute service install`: now, and with each session."""
    service = _service()
    if args.dry_run:
        print(f"# This would be written to {service.file}:\n{service.text}")
        _print_commands(*service.tell, *service.start)
        return errors.OK
    installing.install(service)
    console.say(f"The monitor runs, and will run in each of your sessions ({service.file}).")
    _print_see(service)
    return errors.OK


def status(_: Namespace) -> int:
    """`hardmute service status`: 0 if the service runs, 6 if it does not."""
    service = _service()
    found = installing.state(service)
    if found.runs:
        console.say(f"The service runs ({service.file}).")
    elif found.is_installed:
        console.say(f"The service does not run ({found.said}): `hardmute service install`.")
    else:
        console.say("No service is installed: `hardmute service install`.")
    if found.is_installed and not found.is_ours:
        console.say(
            "Its file is not what this hardmute would write: `hardmute service install` renews it."
        )
    if found.is_installed:
        _print_see(service)
    return errors.OK if found.runs else errors.LOCAL


def remove(args: Namespace) -> int:
    """`hardmute service remove`: the monitor ends, and is not started any more."""
    service = _service()
    if args.dry_run:
        print(f"# {service.file} would be removed.")
        _print_commands(*service.stop, *service.forget)
        return errors.OK
    if installing.remove(service):
        console.say(f"The monitor was stopped, and {service.file} was removed.")
    else:
        console.say("No service is installed.")
    return errors.OK


def _service() -> units.Service:
    uid = os.getuid() if hasattr(os, "getuid") else 0
    monitor = [sys.executable, "-P", "-m", "hardmute", "monitor"]
    return units.service(sys.platform, monitor, Path.home(), os.environ, uid)


def _print_commands(*commands: units.Command) -> None:
    print("# These commands would be run:")
    for command in commands:
        print(shlex.join(command))


def _print_see(service: units.Service) -> None:
    for command in service.see:
        console.detail(command)
    if not service.was_run:
        console.detail("This was never run on this system: please report what it does.")
