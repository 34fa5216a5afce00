"""The host's end of the emulated chip's USB cable: one CDC serial port.

rp2040py's own host answers each transfer that the chip offers at once: with an empty packet when
there is nothing to send, so that the chip never sleeps; and it takes all that the chip sends. A
real host does neither, so here an offered transfer stays open until there is data (OUT), or until
the host reads (IN).
"""

# This file stands in for parts of rp2040py, so it knows how that does them.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from rp2040py.peripherals.usb import USB_BUF_CTRL_AVAILABLE
from rp2040py.rp2040 import RP2040
from rp2040py.usb.cdc import USBCDC

from hardmute.sim.rp2040.silicon import UsbController

# A full-speed host polls a bulk endpoint many times in a frame; USB 2.0, 5.8.4, promises nothing.
_LATENCY_NS = 50_000
# USB 2.0, 7.1.7.6: a device suspends after 3 ms of an idle bus.
_SUSPEND_NS = 3_000_000
# Buffer control registers in the DPRAM: eight bytes an endpoint, IN first (RP2040 datasheet,
# "USB", DPSRAM layout).
_BUFFER_CONTROL = 0x80


class UsbHost:
    """``to_chip``, ``to_host``: bytes on their way. ``room``: the most that waits in `to_host`."""

    def __init__(self, mcu: RP2040, controller: UsbController, room: int) -> None:
        self.to_chip = bytearray()
        self.to_host = bytearray()
        self.room = room
        # The chip has been enumerated and its port opened.
        self.connected = False
        self._plugged = False
        # The chip has pulled D+ up.
        self._enabled = False
        self._mcu = mcu
        self._usb = usb = controller
        self._cdc = USBCDC(usb)
        self._cdc.on_serial_data = self.to_host.extend
        self._cdc.on_device_connected = self._on_connected
        self._finish_out = usb.on_endpoint_read
        usb.on_endpoint_read = self._on_out_offered
        usb.on_offer = self._on_offer
        usb.on_usb_enabled = self._on_enabled
        self._clear_host = usb.on_reset
        usb.on_reset = self._on_reset
        # Endpoint and size of the OUT transfer that waits for data; register of the IN transfer
        # that waits for the host to read.
        self._out_waits: tuple[int, int] | None = None
        self._in_waits: int | None = None
        self._kick = mcu.clock.create_alarm(self._send)
        self._suspend = mcu.clock.create_alarm(usb.suspend)

    def service(self) -> None:
        """To be called after `to_chip` or `to_host` was changed from outside."""
        if self._out_waits is not None and self.to_chip:
            self._kick.schedule(_LATENCY_NS)
        if self._in_waits is not None and len(self.to_host) < self.room:
            register, self._in_waits = self._in_waits, None
            value = int.from_bytes(self._mcu.usb_dpram[register : register + 4], "little")
            if value & USB_BUF_CTRL_AVAILABLE:
                self._usb.dpram_updated(register, value)

    def plug(self) -> None:
        self._plugged = True
        # What the chip has offered meanwhile is gone with the bus reset.
        self._forget()
        self._suspend.cancel()
        self._usb.activate(True)
        if self._enabled:
            self._usb.reset_device()

    def unplug(self) -> None:
        self._plugged = False
        self._usb.activate(False)
        self._forget()
        self._suspend.schedule(_SUSPEND_NS)

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """As a host sets them when a program opens or closes the port."""
        self._cdc.set_control_lines(dtr=dtr, rts=rts)

    def set_baud_rate(self, baud_rate: int) -> None:
        self._cdc.set_line_coding(baud_rate)

    # What the chip does.

    def _on_enabled(self) -> None:
        self._enabled = True
        if self._plugged:
            self._usb.reset_device()

    def _on_connected(self) -> None:
        self.connected = True

    def _on_reset(self) -> None:
        self._enabled = False
        self._suspend.cancel()
        self._forget()

    def _forget(self) -> None:
        if self._clear_host is not None:
            self._clear_host()
        self.connected = False
        self.to_chip.clear()
        self._out_waits = self._in_waits = None
        self._kick.cancel()

    def _on_out_offered(self, endpoint: int, size: int) -> None:
        if endpoint == self._cdc._out_endpoint:  # noqa: SLF001 - only it knows the descriptors
            self._out_waits = (endpoint, size)
            self.service()
        elif self._finish_out is not None:
            self._finish_out(endpoint, size)

    def _send(self) -> None:
        if self._out_waits is None or not self.to_chip:
            return
        (endpoint, size), self._out_waits = self._out_waits, None
        packet = self.to_chip[:size]
        del self.to_chip[:size]
        self._usb.endpoint_read_done(endpoint, packet)

    def _on_offer(self, register: int, value: int) -> bool:
        """Whether the transfer that the chip offers waits: the host does not read now."""
        endpoint = self._cdc._in_endpoint  # noqa: SLF001 - only it knows the descriptors
        if endpoint <= 0 or register != _BUFFER_CONTROL + 8 * endpoint:
            return False
        waits = not self._plugged or len(self.to_host) >= self.room
        self._in_waits = register if waits and value & USB_BUF_CTRL_AVAILABLE else None
        return self._in_waits is not None
