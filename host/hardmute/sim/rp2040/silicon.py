"""The emulated RP2040 of rp2040py, with what it lacks of the real chip. Version 0.3.6, exactly:

* SYSINFO says B2 silicon, as on every Pico sold since 2021. rp2040py says B0/B1, for which the SDK
  borrows GPIO15 for a millisecond during USB enumeration (erratum RP2040-E5).
* The ring oscillator has random bits, from a seeded generator, and so `os.urandom` varies.
* USB can be suspended, and the software that clears that status does clear it. The number of the
  last start of frame counts on while a host sends them.
* The flash chip has a unique id, and takes its time: typical values of the W25Q16JV datasheet,
  "AC Electrical Characteristics": 45 ms to erase a sector, 0.4 ms to program a page.
"""

# This file stands in for parts of rp2040py, so it knows how that does them.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from random import Random

from rp2040py.peripherals.peripheral import BasePeripheral
from rp2040py.peripherals.ssi import RPSSI
from rp2040py.peripherals.sysinfo import RP2040SysInfo
from rp2040py.peripherals.usb import SIE_STATUS, SIE_SUSPENDED, SOF_RD, RPUSBController
from rp2040py.rp2040 import RP2040

ERASE_US = 45_000
PROGRAM_US = 400

_SYSINFO = 0x40000
_ROSC = 0x40060
_SSI = 0x18000
_USBCTRL = 0x50110
# SYSINFO CHIP_ID (RP2040 datasheet, "SYSINFO"): revision 2, part 2, manufacturer 0x927.
_CHIP_ID_B2 = 0x20002927
_ROSC_STATUS = 0x18
_ROSC_RANDOMBIT = 0x1C
_ROSC_STABLE_ENABLED = 1 << 31 | 1 << 12

# One start of frame each ms, numbered with 11 bits (USB 2.0, 8.4.3).
_FRAME_NS = 1_000_000
_FRAME_NUMBERS = 0x7FF

# The system clock, in Hz.
FREQUENCY = 125_000_000
CYCLE_NS = 1e9 / FREQUENCY

# An alarm must come between two instructions, not within one.
_BEFORE_ALARM_NS = 1_000

_READ_UNIQUE_ID = 0x4B
# The command and four dummy bytes come before the id.
_UNIQUE_ID_AT = 5
_READ_STATUS = 0x05
_BUSY = 0x01
_ERASES = (0x20, 0xD8)
_PROGRAM = 0x02


class _SysInfo(RP2040SysInfo):
    def read_uint32(self, offset: int) -> int:
        return _CHIP_ID_B2 if offset == 0 else super().read_uint32(offset)


class _RingOscillator(BasePeripheral):
    def __init__(self, mcu: RP2040, random: Random) -> None:
        super().__init__(mcu, "ROSC_BASE")
        self._random = random
        self._registers: dict[int, int] = {}

    def read_uint32(self, offset: int) -> int:
        if offset == _ROSC_RANDOMBIT:
            return self._random.getrandbits(1)
        if offset == _ROSC_STATUS:
            return _ROSC_STABLE_ENABLED
        return self._registers.get(offset, 0)

    def write_uint32(self, offset: int, value: int) -> None:
        self._registers[offset] = value


class UsbController(RPUSBController):
    """The USB device controller. ``on_offer``: called with the buffer control register and its
    value when the chip offers a transfer; True if it must wait.
    """

    def __init__(self, mcu: RP2040) -> None:
        super().__init__(mcu, "USBCTRL_BASE")
        self.on_offer: Callable[[int, int], bool] | None = None
        # The host sends its starts of frame.
        self._active = False
        self._frame = 0

    def read_uint32(self, offset: int) -> int:
        return self._last_frame() if offset == SOF_RD else super().read_uint32(offset)

    def write_uint32(self, offset: int, value: int) -> None:
        if offset == SIE_STATUS:
            self._sie_status &= ~(self.raw_write_value & SIE_SUSPENDED)
        super().write_uint32(offset, value)

    def dpram_updated(self, offset: int, value: int) -> None:
        if self.on_offer is None or not self.on_offer(offset, value):
            super().dpram_updated(offset, value)

    def activate(self, active: bool) -> None:
        """Whether the host sends a start of frame each ms from now on."""
        self._frame = self._last_frame()
        self._active = active

    def _last_frame(self) -> int:
        if self._active:
            self._frame = int(self.rp2040.clock.nanos // _FRAME_NS) & _FRAME_NUMBERS
        return self._frame

    def suspend(self) -> None:
        """The bus has been idle for so long that the device suspends."""
        self._sie_status |= SIE_SUSPENDED
        self._sie_status_updated()


class Flash(RPSSI):
    """The flash chip behind the SSI. ``unique_id``: its 8 bytes, which are the board's."""

    def __init__(self, mcu: RP2040, unique_id: bytes) -> None:
        super().__init__(mcu, "SSI_BASE")
        # (time in us, command, address) of every erase and program.
        self.operations: list[tuple[float, str, int]] = []
        self._unique_id = unique_id
        self._busy_until_ns = 0.0

    @property
    def busy(self) -> bool:
        return self.rp2040.clock.nanos < self._busy_until_ns

    def _shift_byte(self, byte_out: int) -> int:
        answer = super()._shift_byte(byte_out)
        at = len(self._tx_buffer) - 1
        command = self._tx_buffer[0]
        if command == _READ_UNIQUE_ID and at >= _UNIQUE_ID_AT:
            return self._unique_id[(at - _UNIQUE_ID_AT) % len(self._unique_id)]
        if command == _READ_STATUS and at > 0 and self.busy:
            self._skip_waiting()
            return answer | _BUSY
        return answer

    def _skip_waiting(self) -> None:
        """Who asks only asks again, so time passes at once, until anything may happen."""
        clock = self.rp2040.clock
        left_ns = self._busy_until_ns - clock.nanos
        if clock.has_scheduled_alarm:
            left_ns = min(left_ns, clock.nanos_to_next_alarm - _BEFORE_ALARM_NS)
        while left_ns > 0:
            step_ns = min(left_ns, self._until_pio_ns())
            clock.tick(step_ns)
            for pio in self.rp2040.pio:
                pio.advance(round(step_ns / CYCLE_NS))
            left_ns -= step_ns

    def _until_pio_ns(self) -> float:
        """How long the state machines have nothing to do, or a microsecond."""
        # In 1/256 of a cycle.
        due = min(pio.next_due_fp - pio.cycle_fp for pio in self.rp2040.pio)
        return max(1000, due / 256 * CYCLE_NS)

    def _apply_command(self) -> None:
        command = bytes(self._tx_buffer[:4])
        writing = self._write_enabled
        super()._apply_command()
        if not writing or len(command) < 4:
            return
        if command[0] in _ERASES:
            self._start("erase", command, ERASE_US)
        elif command[0] == _PROGRAM:
            self._start("program", command, PROGRAM_US)

    def _start(self, name: str, command: bytes, takes_us: int) -> None:
        now_ns = self.rp2040.clock.nanos
        self.operations.append((now_ns / 1000, name, int.from_bytes(command[1:], "big")))
        self._busy_until_ns = now_ns + takes_us * 1000


def make(unique_id: bytes, random: Random) -> tuple[RP2040, UsbController, Flash]:
    """A chip that has not been powered yet, its USB controller, and its flash."""
    mcu = RP2040()
    mcu.peripherals[_SYSINFO] = _SysInfo(mcu, "SYSINFO_BASE")
    mcu.peripherals[_ROSC] = _RingOscillator(mcu, random)
    flash = Flash(mcu, unique_id)
    mcu.ssi = mcu.peripherals[_SSI] = flash
    usb = UsbController(mcu)
    mcu.usb_ctrl = mcu.peripherals[_USBCTRL] = usb
    return mcu, usb, flash
