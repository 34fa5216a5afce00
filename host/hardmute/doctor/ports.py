"""From the USB socket to an open port: is something there, may it be opened, is it free?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hardmute.device import discovery, holder, permission
from hardmute.device.discovery import Port
from hardmute.doctor.finding import Finding, failed, passed, skipped, warned
from hardmute.doctor.machine import Machine
from hardmute.model import errors, words

NAMES = ("usb", "bootsel", "permission", "modem_manager", "port_holder")

# The ROM loaders of RP2040 and RP2350 (picotool, picoboot_connection.h). No firmware runs beside
# them.
_BOOTSEL = (0x2E8A, 0x0003)
_RP2350_BOOTSEL = (0x2E8A, 0x000F)
_RULE_FOLDERS = ("etc/udev", "run/udev", "usr/local/lib/udev", "usr/lib/udev", "lib/udev")
_IGNORED = "ID_MM_DEVICE_IGNORE"
_INSTALL_RULE = (
    "install hardmute's udev rule (`hardmute doctor --udev-rule` prints it and says where it goes)"
)
_NO_BOARD = (
    "Use a cable that carries data: many only charge, and then the board's lamp may be lit all the"
    " same. Try another socket, without a hub. {probe}"
)
_PROBE = (
    "An ESP32 behind a CP210x or CH340 bridge is asked only when it is named (`-d PORT`), or by"
    " `hardmute list --probe`."
)
_BRIDGE = "It may be behind the USB bridge at {device}: name that with `-d {device}`."


def check(machine: Machine, ports: list[Port], bridges: list[Port]) -> Iterator[Finding]:
    """The checks of ``ports``, which may be a board's; ``bridges``: ports that nobody named."""
    devices = _usb_devices(machine)
    loaders = [name for name, ids in devices.items() if ids == _BOOTSEL]
    yield _usb(machine, ports, bridges, devices)
    yield _bootsel(machine, loaders)
    yield _permission(machine, ports)
    yield _modem_manager(machine, ports)
    yield _holder(machine, ports)


def _usb_devices(machine: Machine) -> dict[str, tuple[int, int]]:
    """The USB devices that can be boards: the kernel's name, vendor and product id."""
    found: dict[str, tuple[int, int]] = {}
    for folder in sorted((machine.root / "sys/bus/usb/devices").glob("*")):
        try:
            ids = (
                int((folder / "idVendor").read_text(), 16),
                int((folder / "idProduct").read_text(), 16),
            )
        except (OSError, ValueError):
            # An interface rather than a device.
            continue
        if ids[0] in discovery.BOARD_VENDORS:
            found[folder.name] = ids
    return found


def _usb(
    machine: Machine,
    ports: list[Port],
    bridges: list[Port],
    devices: dict[str, tuple[int, int]],
) -> Finding:
    for port in ports:
        # One that was named. On Windows ports are no files.
        if machine.system != "win32" and not _is_there(machine, port.device):
            return failed(
                "usb",
                f"there is no {port.device}",
                _NO_BOARD.format(probe="`hardmute list` shows where boards are."),
                errors.UNKNOWN,
            )
    if ports:
        named = [
            port.device if port.ids is None else f"{port.device} ({_ids(port.ids)})"
            for port in ports
        ]
        return passed("usb", f"a board can be at {', '.join(named)}")
    for name, ids in devices.items():
        if ids == _RP2350_BOOTSEL and not _has_port(machine, name):
            return failed(
                "usb",
                f"the USB device {_ids(ids)} is an RP2350 (Pico 2) in BOOTSEL, which hardmute does"
                " not support",
                "Use a board that firmware/README.md names: a Raspberry Pi Pico has an RP2040.",
                errors.UNKNOWN,
            )
        if ids != _BOOTSEL and not _has_port(machine, name):
            return failed(
                "usb",
                f"the USB device {_ids(ids)} is there, but has no serial port",
                "If that is your board: load the kernel's driver (sudo modprobe cdc_acm), and plug"
                " the board in again. A blank one has no port until it is flashed.",
                errors.UNKNOWN,
            )
    if _BOOTSEL in devices.values():
        return failed(
            "usb", "the only board that is there runs no firmware", "See bootsel.", errors.UNKNOWN
        )
    probe = _BRIDGE.format(device=bridges[0].device) if bridges else _PROBE
    return failed(
        "usb", "no board is on any USB socket", _NO_BOARD.format(probe=probe), errors.UNKNOWN
    )


def _is_there(machine: Machine, device: str) -> bool:
    return (machine.root / device.lstrip("/")).exists()


def _has_port(machine: Machine, name: str) -> bool:
    devices = machine.root / "sys/bus/usb/devices"
    return any(devices.glob(f"{name}:*/tty/*")) or any(devices.glob(f"{name}:*/ttyUSB*"))


def _bootsel(machine: Machine, loaders: list[str]) -> Finding:
    if loaders:
        return warned(
            "bootsel",
            f"{_count(len(loaders), 'board')} in BOOTSEL (USB id {_ids(_BOOTSEL)}): the loader"
            " runs there, no firmware, and the line is cut",
            "Flash it (`hardmute flash`), or unplug it and plug it in again without its BOOTSEL"
            " button down.",
        )
    if not (machine.root / "sys/bus/usb/devices").is_dir():
        return skipped(
            "bootsel",
            "this system does not list its USB devices in /sys; a board in BOOTSEL shows as a"
            " drive named RPI-RP2",
        )
    return passed("bootsel", "no board is in BOOTSEL")


def _permission(machine: Machine, ports: list[Port]) -> Finding:
    if machine.system == "win32":
        return skipped("permission", "on Windows every user may open serial ports")
    there = [port.device for port in ports if _is_there(machine, port.device)]
    if not there:
        return skipped("permission", "there is no port")
    refused = [device for device in there if not machine.may_open(device)]
    if not refused:
        return passed("permission", "you may open every port that can be a board's")
    device = refused[0]
    said = f"you may not open {device}"
    if not machine.linux:
        return failed("permission", said, "Run this as a user who may.", errors.UNKNOWN)
    group = machine.group_of(device)
    if group is None:
        todo = permission.advice(None)
    elif group in machine.groups:
        todo = f"you are in its group, {group}, since this session began: log out and in again."
    else:
        todo = f"{permission.advice(group).rstrip('.')}; or {_INSTALL_RULE}."
    return failed("permission", said, todo[0].upper() + todo[1:], errors.UNKNOWN)


def _modem_manager(machine: Machine, ports: list[Port]) -> Finding:
    if not machine.linux:
        return skipped("modem_manager", "only Linux has it")
    processes = (machine.root / "proc").glob("[0-9]*")
    if not any(machine.read(f"proc/{each.name}/comm") == "ModemManager" for each in processes):
        return passed("modem_manager", "ModemManager does not run")
    if not ports and _has_rule(machine):
        return passed("modem_manager", "a udev rule tells ModemManager to leave boards alone")
    if ports and all(_is_ignored(machine, port.device) for port in ports):
        return passed("modem_manager", "ModemManager leaves these ports alone")
    return warned(
        "modem_manager",
        "ModemManager runs, and may take a board for a modem: it then holds the port for some"
        " seconds after the board is plugged in",
        _INSTALL_RULE[0].upper() + _INSTALL_RULE[1:] + ", and plug the board in again.",
    )


def _is_ignored(machine: Machine, device: str) -> bool:
    """Whether udev has told ModemManager to leave this port alone."""
    number = machine.read(f"sys/class/tty/{Path(os.path.realpath(device)).name}/dev")
    told = machine.read(f"run/udev/data/c{number}").splitlines() if number else []
    return f"E:{_IGNORED}=1" in told


def _has_rule(machine: Machine) -> bool:
    for folder in _RULE_FOLDERS:
        for file in (machine.root / folder / "rules.d").glob("*.rules"):
            for line in machine.read(str(file.relative_to(machine.root))).splitlines():
                if _IGNORED in line and "2e8a" in line and not line.lstrip().startswith("#"):
                    return True
    return False


def _holder(machine: Machine, ports: list[Port]) -> Finding:
    if not ports:
        return skipped("port_holder", "there is no port")
    for port in ports:
        ours = holder.holder_of(port.device)
        if ours is not None:
            return failed(
                "port_holder",
                f"{port.device} is held by {ours}",
                "Only one program can ask a board. End that one, or ask again later; the button"
                " mutes all the same.",
                errors.UNKNOWN,
            )
    if not machine.linux:
        return skipped("port_holder", "only on Linux can other programs than hardmute be seen")
    for port in ports:
        for pid in _openers(machine, os.path.realpath(port.device)):
            name = words.printable(machine.read(f"proc/{pid}/comm")) or "unknown"
            return failed(
                "port_holder",
                f"{port.device} is open in process {pid} ({name})",
                "Close that program: it reads what the board says, and the answers to others.",
                errors.UNKNOWN,
            )
    return passed("port_holder", "no other program of yours has the port open")


def _openers(machine: Machine, device: str) -> Iterator[int]:
    """The processes, as far as this user may see them, that have ``device`` open."""
    for folder in sorted((machine.root / "proc").glob("[0-9]*/fd")):
        pid = int(folder.parent.name)
        try:
            opened = [os.readlink(link) for link in folder.iterdir()] if pid != machine.pid else []  # noqa: PTH115 - a text, not a path
        except OSError:
            # Somebody else's, or ended meanwhile.
            continue
        if device in opened:
            yield pid


def _ids(ids: tuple[int, int]) -> str:
    return f"{ids[0]:04x}:{ids[1]:04x}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{' is' if number == 1 else 's are'}"
