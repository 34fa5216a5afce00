"""An ESP32 DevKitC for the real esptool: a loopback on a port, with the ROM loader's protocol.

`Esp32` is the chip: SLIP packets, the ROM's commands, eFuses, the SPI flash's registers, its flash
as NOR flash behaves, and what its ROM and boot loader make of that flash at a start. It does not
run the helper ("stub") that esptool loads into its RAM: once that is there and is started, it
speaks the helper's protocol itself. `plugged_in` puts it on a pseudo-terminal, with the lines DTR
and RTS, on which the DevKitC's auto-reset circuit hangs, and with its baud rate. POSIX only.

Protocol: Espressif's "Serial Protocol" in esptool's documentation, chip ESP32. Registers and
eFuses: ESP32 Technical Reference Manual. Start: ESP-IDF, "Application Startup Flow".
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import tempfile
import termios
import threading
import tty
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from operator import xor
from pathlib import Path
from typing import NamedTuple

import auto_reset
from fakes.devkit import boot_words

MAC = "24a160c0ffee"

SYNC, WRITE_REG, READ_REG = 0x08, 0x09, 0x0A
MEM_BEGIN, MEM_END, MEM_DATA = 0x05, 0x06, 0x07
FLASH_BEGIN, FLASH_DATA, FLASH_END = 0x02, 0x03, 0x04
DEFL_BEGIN, DEFL_DATA, DEFL_END = 0x10, 0x11, 0x12
SPI_SET_PARAMS, CHANGE_BAUDRATE, SPI_FLASH_MD5 = 0x0B, 0x0F, 0x13
ERASE_FLASH, READ_FLASH = 0xD0, 0xD2

# Their data is covered by a checksum.
_CHECKED = (MEM_DATA, FLASH_DATA, DEFL_DATA)
_SECTOR = 4096
_CHIP_MAGIC = 0x4000_1000
_UART_CLKDIV = 0x3FF4_0014
_SPI_CMD, _SPI_USR2, _SPI_W0 = 0x3FF4_2000, 0x3FF4_2024, 0x3FF4_2080
_SPI_START = 1 << 18
_EFUSES = 0x3FF5_A000
_SYSCON_DATE = 0x3FF6_607C
_CRYSTAL_HZ = 40_000_000
_ROM_BAUD = 115_200
_BAUDS = {termios.B115200: 115_200, termios.B460800: 460_800}
_DOWNLOAD = (
    b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),"
    b"boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\nwaiting for download\r\n"
)


class Change(NamedTuple):
    """What was done to the flash: ``data`` programmed, or (None) ``size`` bytes erased."""

    offset: int
    size: int
    data: bytes | None


class _Writing(NamedTuple):
    """A write under way: how many bytes it is for, and what inflates them if they are deflated."""

    end: int
    inflate: Callable[[bytes], bytes]


class Reply(NamedTuple):
    """What a command is answered with, beside its status."""

    value: int = 0
    data: bytes = b""


class Gone(Exception):  # noqa: N818 (nothing went wrong: the plug was pulled)
    """The board was unplugged."""


class Flash:
    """NOR flash: erasing sets whole sectors to ones, programming can only clear bits."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(b"\xff" * size)
        self.history: list[Change] = []
        # After so many more changes the board is unplugged.
        self.changes_left: int | None = None

    def apply(self, change: Change) -> None:
        if self.changes_left is not None:
            if self.changes_left == 0:
                self.changes_left = None
                raise Gone
            self.changes_left -= 1
        start, end = change.offset, change.offset + change.size
        assert end <= len(self.content)
        if change.data is None:
            assert start % _SECTOR == 0
            assert change.size % _SECTOR == 0
            self.content[start:end] = b"\xff" * change.size
        else:
            old = int.from_bytes(self.content[start:end])
            both = old & int.from_bytes(change.data)
            self.content[start:end] = both.to_bytes(change.size)
        self.history.append(change)

    def erase(self, offset: int, size: int) -> None:
        self.apply(Change(offset, size, None))

    def program(self, offset: int, data: bytes) -> None:
        self.apply(Change(offset, len(data), data))


class Esp32:
    """The chip. ``runs``: "program", "loader" (in its ROM) or "helper".

    ``magic``: what the ROM has at the address by which esptool tells chips apart.
    """

    def __init__(self, flash_size: int = 4 << 20, *, magic: int = 0x00F0_1D83) -> None:
        self.flash = Flash(flash_size)
        self.runs = "program"
        # How often each was started.
        self.starts = dict.fromkeys(("program", "loader", "helper"), 0)
        self.baud: int | None = None
        self._out = bytearray()
        self._packet: bytearray | None = None
        self._escaped = False
        self._ram: set[int] = set()
        self._segment = (0, 0)
        self._writing = _Writing(0, bytes)
        self._at = 0
        self._reading: Iterator[bytes] | None = None
        capacity = flash_size.bit_length() - 1
        # JEDEC id: maker, type, capacity as a power of two.
        self._flash_says = {0x9F: 0xEF | 0x40 << 8 | capacity << 16, 0x5A: 0x5044_4653}
        self._registers = {
            _CHIP_MAGIC: magic,
            _UART_CLKDIV: _CRYSTAL_HZ // _ROM_BAUD,
            _EFUSES + 4: int(MAC[4:], 16),
            _EFUSES + 8: int(MAC[:4], 16),
            # An ESP32-D0WD-V3: package 1, and three bits for revision 3.
            _EFUSES + 12: 1 << 9 | 1 << 15,
            _EFUSES + 20: 1 << 20,
            _SYSCON_DATE: 1 << 31,
        }
        self._commands: dict[str, dict[int, Callable[[bytes], Reply]]] = {
            "loader": {
                READ_REG: self._read_register,
                WRITE_REG: self._write_register,
                MEM_BEGIN: self._memory_begin,
                MEM_DATA: self._memory_data,
                MEM_END: self._memory_end,
            },
            "helper": {
                READ_REG: self._read_register,
                WRITE_REG: self._write_register,
                SPI_SET_PARAMS: lambda _data: Reply(),
                FLASH_BEGIN: lambda data: self._write_begin(data, bytes),
                FLASH_DATA: self._write_data,
                FLASH_END: lambda _data: Reply(),
                DEFL_BEGIN: lambda data: self._write_begin(data, zlib.decompressobj().decompress),
                DEFL_DATA: self._write_data,
                DEFL_END: lambda _data: Reply(),
                ERASE_FLASH: self._erase,
                SPI_FLASH_MD5: self._md5,
                READ_FLASH: self._read_flash,
                CHANGE_BAUDRATE: self._change_baud,
            },
        }

    def reset(self, *, io0_low: bool) -> None:
        """What happens when EN goes high."""
        self._ram.clear()
        self._packet = self._reading = self.baud = None
        self._start("loader" if io0_low else "program")
        self._out += _DOWNLOAD if io0_low else boot_words("poweron")

    def receive(self, data: bytes, baud: int) -> bytes:
        """Take bytes that the host sends at its ``baud``. Returns those that it gets."""
        if data and self.baud is None:
            # The ROM measures it.
            self.baud = baud
        if self.runs != "program" and baud == self.baud:
            for byte in data:
                self._take(byte)
        answer = bytes(self._out)
        self._out.clear()
        return answer

    def _start(self, what: str) -> None:
        self.runs = what
        self.starts[what] += 1

    def _take(self, byte: int) -> None:
        if byte == 0xC0:
            packet, self._packet = self._packet, bytearray()
            if packet:
                self._packet = None
                self._received(bytes(packet))
        elif self._packet is None:
            return
        elif self._escaped:
            self._escaped = False
            self._packet.append({0xDC: 0xC0, 0xDD: 0xDB}[byte])
        elif byte == 0xDB:
            self._escaped = True
        else:
            self._packet.append(byte)

    def _send(self, packet: bytes) -> None:
        escaped = packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        self._out += b"\xc0" + escaped + b"\xc0"

    def _received(self, packet: bytes) -> None:
        if self._reading is not None:
            # The host has acknowledged what it has: it gets more, until there is none.
            self._send_next()
            return
        direction, op, size, checksum = struct.unpack_from("<BBHI", packet)
        data = packet[8:]
        assert (direction, size) == (0, len(data))
        if op in _CHECKED:
            assert reduce(xor, data[16:], 0xEF) == checksum
        if op == SYNC:
            # Seven more, for a host that comes late. (The helper gives 0.)
            for _ in range(8):
                self._answer(op, Reply(value=0x2012_0707 * (self.runs == "loader")))
            return
        command = self._commands[self.runs].get(op)
        if command is None:
            self._answer(op, Reply(), status=b"\x01\x05")
            return
        speaks = self.runs
        reply = command(data)
        self._answer(op, reply, reserved=2 if speaks == "loader" else 0)
        if self.runs != speaks:
            self._send(b"OHAI")
        if self._reading is not None:
            self._send_next()

    def _answer(
        self, op: int, reply: Reply, *, status: bytes = b"\0\0", reserved: int = 2
    ) -> None:
        body = reply.data + status + bytes(reserved)
        self._send(struct.pack("<BBHI", 1, op, len(body), reply.value) + body)

    def _read_register(self, data: bytes) -> Reply:
        (address,) = struct.unpack("<I", data)
        return Reply(value=self._registers.get(address, 0))

    def _write_register(self, data: bytes) -> Reply:
        for address, value, mask, _delay in struct.iter_unpack("<IIII", data):
            old = self._registers.get(address, 0)
            self._registers[address] = old & ~mask | value & mask
        if self._registers.get(_SPI_CMD, 0) & _SPI_START:
            self._registers[_SPI_CMD] &= ~_SPI_START
            command = self._registers.get(_SPI_USR2, 0) & 0xFF
            self._registers[_SPI_W0] = self._flash_says.get(command, 0)
        return Reply()

    def _memory_begin(self, data: bytes) -> Reply:
        _size, _blocks, block, offset = struct.unpack("<IIII", data)
        self._segment = (offset, block)
        return Reply()

    def _memory_data(self, data: bytes) -> Reply:
        size, number = struct.unpack_from("<II", data)
        offset, block = self._segment
        assert size == len(data) - 16
        self._ram.update(range(offset + number * block, offset + number * block + size))
        return Reply()

    def _memory_end(self, data: bytes) -> Reply:
        _stay, entry = struct.unpack("<II", data)
        assert entry in self._ram
        self._start("helper")
        return Reply()

    def _write_begin(self, data: bytes, inflate: Callable[[bytes], bytes]) -> Reply:
        size, _blocks, _block, self._at, encrypt = struct.unpack("<IIIII", data)
        assert encrypt == 0
        assert self._at % _SECTOR == 0
        self._writing = _Writing(self._at + size, inflate)
        return Reply()

    def _write_data(self, data: bytes) -> Reply:
        plain = self._writing.inflate(data[16:])[: self._writing.end - self._at]
        while plain:
            if self._at % _SECTOR == 0:
                self.flash.erase(self._at, _SECTOR)
            now = plain[: _SECTOR - self._at % _SECTOR]
            self.flash.program(self._at, now)
            self._at += len(now)
            plain = plain[len(now) :]
        return Reply()

    def _erase(self, _data: bytes) -> Reply:
        self.flash.erase(0, len(self.flash.content))
        return Reply()

    def _md5(self, data: bytes) -> Reply:
        offset, size, _, _ = struct.unpack("<IIII", data)
        return Reply(data=_md5(self.flash.content[offset : offset + size]))

    def _read_flash(self, data: bytes) -> Reply:
        offset, size, packet, _in_flight = struct.unpack("<IIII", data)
        content = bytes(self.flash.content[offset : offset + size])
        packets = [content[at : at + packet] for at in range(0, size, packet)]
        self._reading = iter([*packets, _md5(content)])
        # The last acknowledgment gets the MD5, which gets none.
        self._packets_left = len(packets) + 1
        return Reply()

    def _send_next(self) -> None:
        assert self._reading is not None
        self._send(next(self._reading))
        self._packets_left -= 1
        if not self._packets_left:
            self._reading = None

    def _change_baud(self, data: bytes) -> Reply:
        self.baud = struct.unpack("<II", data)[0]
        return Reply()


def _md5(data: bytes | bytearray) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def started(flash: bytes | bytearray) -> bytes | None:
    """The program that an ESP32 starts from ``flash``, as far as it is covered by its hash; or
    None where the ROM finds no boot loader, or that no table or no program, as it should be.
    """
    table = flash[0x8000:0x9000]
    entries = table.find(b"\xeb\xeb")
    if _program(flash, 0x1000) is None or entries < 0:
        return None
    if table[entries + 16 : entries + 32] != _md5(table[:entries]):
        return None
    for at in range(0, entries, 32):
        kind, offset = struct.unpack_from("<2xBxI", table, at)
        if kind == 0:
            return _program(flash, offset)
    return None


def _program(flash: bytes | bytearray, start: int) -> bytes | None:
    """Header, segments, checksum and SHA-256, if all are right."""
    if flash[start] != 0xE9:
        return None
    at, checksum = start + 24, 0xEF
    for _ in range(flash[start + 1]):
        (size,) = struct.unpack_from("<4xI", flash, at)
        if at + size > len(flash):
            return None
        checksum = reduce(xor, flash[at + 8 : at + 8 + size], checksum)
        at += 8 + size
    end = start + (at - start) // 16 * 16 + 16
    program = bytes(flash[start:end])
    if program[-1] != checksum or flash[end : end + 32] != hashlib.sha256(program).digest():
        return None
    return program


class Socket:
    """The USB socket of the host, and the bridge: a pseudo-terminal with DTR and RTS.

    ``port``: the port of the board that is plugged in there, the same each time. ``environment``:
    what a process needs that is to set the lines.
    """

    def __init__(self, chip: Esp32, folder: Path) -> None:
        self._chip = chip
        self.port = str(folder / "ttyUSB0")
        self._lines_at = str(folder / "lines")
        self.environment = {
            "PYTHONPATH": str(Path(__file__).parent / "modem_lines"),
            "ROM_LOADER_LINES": self._lines_at,
        }
        self._lines = auto_reset.Lines(False, False)
        self._held = False
        self._out = bytearray()
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self.plug_in()

    def plug_in(self) -> None:
        """At first, and again after the chip's flash has made it go."""
        if self._thread.ident is not None:
            self._thread.join()
            self._thread = threading.Thread(target=self._serve)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        Path(self.port).symlink_to(os.ttyname(self._slave))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._lines_at)
        self._listener.listen()
        self._chip.reset(io0_low=False)
        self._thread.start()

    def close(self) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()

    def _serve(self) -> None:
        try:
            with suppress(Gone):
                while self._turn():
                    pass
        finally:
            self._out.clear()
            self._listener.close()
            for path in (self.port, self._lines_at):
                Path(path).unlink()
            os.close(self._slave)
            os.close(self._master)

    def _turn(self) -> bool:
        writers = [self._master] if self._out else []
        ready, writable, _ = select.select(
            [self._master, self._listener, self._stopped], writers, []
        )
        if self._master in ready:
            baud = _BAUDS[termios.tcgetattr(self._master)[4]]
            self._out += self._chip.receive(os.read(self._master, 1 << 16), baud)
        if self._listener in ready:
            connection, _ = self._listener.accept()
            with connection:
                request, argument = struct.unpack("=q4s", connection.recv(12))
                if request != termios.TIOCMGET:
                    self._set(self._lines.after(request, argument))
                connection.sendall(self._lines.packed())
        if self._master in writable:
            del self._out[: os.write(self._master, self._out)]
        return self._stopped not in ready

    def _set(self, lines: auto_reset.Lines) -> None:
        self._lines = lines
        # A capacitor holds EN low a little longer: for as long as it takes to change one line
        # after the other, with both of them asserted in between.
        self._held = self._held or lines.in_reset
        if self._held and not lines.in_reset and lines != (True, True):
            self._held = False
            self._chip.reset(io0_low=lines.io0_low)
            self._out += self._chip.receive(b"", _ROM_BAUD)


@contextmanager
def plugged_in(chip: Esp32) -> Iterator[Socket]:
    """The DevKitC with ``chip`` on a port of this host."""
    # Not pytest's folder: the path of a Unix socket ends at 104 bytes on macOS.
    with tempfile.TemporaryDirectory(prefix="hm-") as folder:
        usb = Socket(chip, Path(folder))
        try:
            yield usb
        finally:
            usb.close()
