"""A board file on fakes of its own, for tests of any of them."""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from fakes.chip import Chip
from fakes.circuitpython_port import Modules as CircuitPython
from fakes.micropython_port import Modules as MicroPython
from fakes.rp2_pio import make_rp2

from muteboard import app, boards, journal

FIRMWARE = Path(app.__file__).parent.parent
# Files of the firmware as they were, to update from and to go back to. `keystore_1`: until
# November 2026, without a version in its header.
RELEASED = Path(__file__).parent / "released"
RP2040 = ("rp2040", "rp2040_interlock")
ESP32 = ("esp32", "esp32_interlock")
PORTS = (*RP2040, *ESP32, "circuitpython")
PINS: dict[str, tuple[Any, Any, tuple[Any, ...], Any]] = {
    "rp2040": (18, 20, (19,), 21),
    "rp2040_interlock": (18, 20, (28, 22), 21),
    "esp32": (21, 19, (18,), 23),
    "esp32_interlock": (21, 19, (18, 22), 23),
    "circuitpython": ("GP18", "GP20", ("GP19",), "GP21"),
}
# What MicroPython calls the machine.
MACHINES = {
    "rp2040": "Raspberry Pi Pico with RP2040",
    "rp2040_interlock": "Raspberry Pi Pico with RP2040",
    "esp32": "Generic ESP32 module with ESP32",
    "esp32_interlock": "Generic ESP32 module with ESP32",
}
# CLEAR, and the latch.
INTERLOCK = {"rp2040_interlock": (17, 26), "esp32_interlock": (25, 34)}


def _load(name: str) -> types.ModuleType:
    """A file of `muteboard.boards`, executed anew with the modules that stand in `sys.modules`."""
    return _execute(FIRMWARE / "muteboard" / "boards" / f"{name}.py", name)


def _execute(path: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"board_under_test_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Port:
    """One board file, loaded with its own modules around its own chip.

    ``settings``: the pins as `Chip` takes them; and what the port's `Modules` take.
    """

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, **settings: Any):
        self.name = name
        self._monkeypatch = monkeypatch
        pins = settings.pop("pins", PINS[name])
        self.chip = Chip(*pins)
        if name in INTERLOCK:
            self.chip.interlock = INTERLOCK[name]
            # GPIO34 has no pull: a resistor does it.
            self.chip.latch_pull = "down" if name in RP2040 else None
            Path("board.txt").write_text(name + "\n")
        if name == "circuitpython":
            self.cp = CircuitPython(self.chip, **settings)
            fakes: Any = self.cp
            modules = (
                "alarm", "board", "digitalio", "keypad", "microcontroller", "micropython",
                "neopixel", "storage", "supervisor", "usb_cdc", "usb_hid", "usb_midi", "watchdog",
            )  # fmt: skip
            replaced = ("time",)
        else:
            self.mp = MicroPython(self.chip, "rp2" if name in RP2040 else "esp32", **settings)
            fakes = self.mp
            modules = ("machine", "micropython", "vfs", *(("esp32",) if name in ESP32 else ()))
            replaced = ("gc", "time", "select", "sys", "os", "open")
        self.fakes = {module: getattr(fakes, module) for module in modules}
        if name in RP2040:
            self.state_machines: list[Any] = []
            self.fakes["rp2"] = make_rp2(self.mp, self.state_machines)
        with monkeypatch.context() as patch:
            for module, fake in self.fakes.items():
                patch.setitem(sys.modules, module, fake)
            patch.setattr(sys, "implementation", self._implementation())
            loaded: list[types.ModuleType] = []
            if name != "circuitpython":
                # What the MicroPython boards are made of, on these fakes and no others.
                parts = ["keystore", "micropython_board"]
                parts += ["rp2040_sampler"] if name in RP2040 else ["esp32_cut"]
                parts += ["interlock", name.partition("_")[0]] if name in INTERLOCK else []
                for file in parts:
                    loaded.append(_load(file))
                    patch.setitem(sys.modules, f"muteboard.boards.{file}", loaded[-1])
                    patch.setattr(boards, file, loaded[-1], raising=False)
            self.module = _load(name)
            loaded.append(self.module)
        # The file that reads and writes files.
        self.storage: Any = loaded[0 if name == "circuitpython" else 1]
        for file in loaded:
            for module in replaced:
                setattr(file, module, getattr(fakes, module))
        if name != "circuitpython":
            self.keystore: Any = loaded[0]
            self.released_keystore: Any = _execute(RELEASED / "keystore_1.py", "keystore_1")
            for module in ("os", "open"):
                setattr(self.released_keystore, module, getattr(fakes, module))

    def go_back(self) -> None:
        """The board's keys are kept by `released_keystore` from its next start on."""

        def key_store(device: Any, entropy: Any, _name: str) -> Any:
            return self.released_keystore.KeyStore(device, entropy, journal.KEYS_SIZE)

        self.storage.keystore = types.SimpleNamespace(KeyStore=key_store)

    def update(self) -> None:
        """They are kept by the firmware of today."""
        self.storage.keystore = self.keystore

    def _implementation(self) -> types.SimpleNamespace:
        said = {"_machine": MACHINES.get(self.name)}
        return types.SimpleNamespace(**vars(sys.implementation), **said)

    def set_reset_cause(self, cold: bool) -> None:
        if self.name == "circuitpython":
            reasons = self.cp.microcontroller.ResetReason
            reason = reasons.POWER_ON if cold else reasons.WATCHDOG
            self.cp.microcontroller.cpu.reset_reason = reason
        else:
            self.mp.reset_cause = 1 if cold else 3

    def start(self) -> Any:
        return self.module.Board()

    def connect(self, board: Any, cut_level: bool) -> None:
        """What the contract's `connect` does once a press has set the interlock's latch."""
        self.chip.latch = self.chip.interlock is not None
        assert board.connect(cut_level) is True

    def soft_irqs(self) -> None:
        """What runs by itself between two lines of the program, or at its next call."""
        if self.name in ESP32:
            self.mp.run_soft_irqs()

    def run_entry_point(self, file: str, *, complete: bool = True) -> dict[str, Any]:
        """Run main.py, boot.py or code.py, with this port's modules as they would find them."""
        boards = types.ModuleType("muteboard.boards")
        if complete:
            setattr(boards, self.name, self.module)
        source = compile((FIRMWARE / file).read_text(), file, "exec")
        namespace: dict[str, Any] = {"__name__": "__main__"}
        if self.name == "circuitpython":
            self.cp.before_program(boot=file == "boot.py")
        with self._monkeypatch.context() as patch:
            for module, fake in self.fakes.items():
                patch.setitem(sys.modules, module, fake)
            patch.setitem(sys.modules, "muteboard.boards", boards)
            patch.setattr(sys, "implementation", self._implementation())
            exec(source, namespace)  # noqa: S102 - our own file
        return namespace
