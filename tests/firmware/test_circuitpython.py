"""The CircuitPython board and the whole firmware on Adafruit's `digitalio` and `neopixel`.

What a power-on runs, in its order: boot.py, code.py, and safemode.py after a watchdog reset.
Beneath the libraries is the chip of `fakes.chip`; where fakes stand in for modules that only a
microcontroller has, the stubs of CircuitPython say what they must look like.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import blinka
from fakes.chip import Chip, ChipReset
from fakes.circuitpython_port import Modules
from test_boards import PINS, Port, press, request, run

import press_storm
from muteboard import app, boards, lamp, wire

TICKS = 1 << 29


@pytest.fixture
def make_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Port]:
    monkeypatch.chdir(tmp_path)

    def make(**settings: Any) -> Port:
        return Port("circuitpython", monkeypatch, **settings)

    return make


@pytest.fixture
def port(make_port: Callable[..., Port]) -> Port:
    return make_port()


# What is real, and what the fakes are held against.


def test_adafruits_libraries_have_the_versions_of_the_type_check(
    port: Port,
) -> None:
    for name in blinka.OFFERED:
        assert "site-packages" in port.fakes[name].__file__, name
    path = Path(__file__).parents[2] / "tools" / "check_types.py"
    spec = importlib.util.spec_from_file_location("check_types", path)
    assert spec is not None
    assert spec.loader is not None
    check_types = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check_types)
    for pin in check_types.PINS["circuitpython"]:
        distribution, version = pin.split("==")
        if distribution != "adafruit-circuitpython-typing":
            assert importlib.metadata.version(distribution) == version


def test_nothing_of_blinka_is_left_behind() -> None:
    modules, environment = dict(sys.modules), dict(os.environ)
    Modules(Chip(*PINS["circuitpython"]))
    Modules(Chip(*PINS["circuitpython"]))
    left = {name for name in sys.modules if modules.get(name) is not sys.modules[name]}
    # Of the standard library, and what packaging tools share.
    assert not {name for name in left if "adafruit" in name or name in blinka.OFFERED}
    assert not {"keypad", "neopixel_write"} & left
    assert modules.keys() <= sys.modules.keys()
    assert dict(os.environ) == environment


Parameter = tuple[str, str, bool, object]
_KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "any",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
}
# A value that is no literal, such as an enumeration's.
_SOME = object()


def stub_body(module: str) -> list[ast.stmt]:
    return ast.parse((blinka.stub_folder(module + "-stubs") / "__init__.pyi").read_text()).body


def stub_class(module: str, name: str) -> list[ast.stmt]:
    (found,) = [
        node for node in stub_body(module) if isinstance(node, ast.ClassDef) and node.name == name
    ]
    return found.body


def stub_names(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """What a module or class of the stubs has, and its definitions (several if overloaded)."""
    names: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.setdefault(node.target.id, []).append(node)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.setdefault(node.name, []).append(node)
    return names


def stub_parameters(function: ast.FunctionDef) -> list[Parameter]:
    def value(default: ast.expr | None) -> object:
        try:
            return ast.literal_eval(default) if default is not None else _SOME
        except ValueError:
            return _SOME

    arguments = function.args
    assert not arguments.posonlyargs
    assert arguments.vararg is None
    assert arguments.kwarg is None
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    told = [
        (argument.arg, "any", default is not None, value(default))
        for argument, default in zip(arguments.args, defaults, strict=True)
    ]
    return told + [
        (argument.arg, "keyword", default is not None, value(default))
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]


def parameters(function: Any) -> list[Parameter]:
    told: list[Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        has_default = parameter.default is not parameter.empty
        literal = parameter.default is None or isinstance(parameter.default, (int, float, str))
        value = parameter.default if has_default and literal else _SOME
        told.append((parameter.name, _KINDS[parameter.kind], has_default, value))
    return told


def strangers(fake: Any, body: list[ast.stmt], only: set[str] | None = None) -> list[str]:
    """What ``fake``, a module or class, offers and the stub does not, or not like that.

    ``only``: compare no other names.
    """
    if isinstance(fake, type):
        content: dict[str, Any] = {}
        for base in reversed(fake.__mro__[:-1]):
            content.update(vars(base))
        names = {name for name in content if not name.startswith("_")}
        # What the language asks for by itself; `__init__` is called by everybody.
        names |= {
            name for name in content if inspect.isfunction(content[name]) and name[:2] == "__"
        }
    else:
        content = vars(fake)
        names = {name for name in content if not name.startswith("_")}
    known = stub_names(body)
    wrong: list[str] = []
    for name in sorted(names if only is None else names & only):
        value = content[name]
        if name not in known:
            if name != "__init__" or parameters(value) != [("self", "any", False, _SOME)]:
                wrong.append(name)
        elif inspect.isfunction(value):
            functions = [node for node in known[name] if isinstance(node, ast.FunctionDef)]
            if parameters(value) not in [stub_parameters(function) for function in functions]:
                wrong.append(f"{name}{inspect.signature(value)}")
        elif isinstance(value, type):
            (definition,) = known[name]
            assert isinstance(definition, ast.ClassDef)
            wrong += [f"{name}.{inner}" for inner in strangers(value, definition.body)]
        elif not all(isinstance(node, ast.AnnAssign) for node in known[name]):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize(
    "module",
    ["alarm", "keypad", "storage", "supervisor", "usb_cdc", "usb_hid", "usb_midi", "watchdog"],
)
def test_fakes_are_as_the_stubs_say(port: Port, module: str) -> None:
    assert strangers(port.fakes[module], stub_body(module)) == []


def test_what_blinka_leaves_to_us_is_as_the_stubs_say(port: Port) -> None:
    ours = set(port.cp._on_chip)
    assert len(ours) > 5
    assert strangers(port.cp.microcontroller, stub_body("microcontroller"), ours) == []
    assert strangers(type(port.cp.microcontroller.nvm), stub_class("nvm", "ByteArray")) == []


def test_attributes_of_the_fakes_are_as_the_stubs_say(port: Port) -> None:
    cp = port.cp
    board = port.start()
    for module, thing in (
        ("alarm", cp.alarm.sleep_memory),
        ("keypad", board._keys),
        ("keypad", board._keys.events),
        ("keypad", board._event),
        ("microcontroller", cp.microcontroller.cpu),
        ("supervisor", cp.supervisor.runtime),
        ("usb_cdc", cp.usb_cdc.data),
        ("watchdog", cp.microcontroller.watchdog),
    ):
        known = stub_names(stub_class(module, type(thing).__name__))
        assert {name for name in vars(thing) if not name.startswith("_")} <= known.keys(), module


def test_adafruits_libraries_are_as_the_stubs_say(port: Port) -> None:
    """What the board file and `neopixel` call is in C there, and must take the same words."""
    assert [
        stranger
        for stranger in strangers(
            port.cp.digitalio.DigitalInOut, stub_class("digitalio", "DigitalInOut")
        )
        # Context managers: we use none.
        if "__exit__" not in stranger
    ] == []
    pixels = port.cp.neopixel.NeoPixel.__mro__[1]
    stub = stub_class("adafruit_pixelbuf", "PixelBuf")
    assert strangers(pixels, stub, {"show", "fill"}) == []
    (init,) = stub_names(stub)["__init__"]
    assert isinstance(init, ast.FunctionDef)
    # Their defaults differ.
    assert [told[:3] for told in parameters(pixels.__init__)] == [
        told[:3] for told in stub_parameters(init)
    ]


def test_a_fake_that_is_not_like_the_stub_is_found_out() -> None:
    class Serial:
        def read(self, count: int = -1) -> bytes: ...

        def write(self, buf: bytes, timeout: int = 0) -> int: ...

        def readinto(self, *, buf: bytes) -> int: ...

        def readline(self, size: int = 0) -> bytes: ...

        def send(self) -> None: ...

        def flush(self) -> None: ...

        connected = True
        out_of_waiting = 0

    wrong = strangers(Serial, stub_class("usb_cdc", "Serial"))
    assert [name.split("(")[0] for name in wrong] == [
        "out_of_waiting", "read", "readinto", "readline", "send", "write",
    ]  # fmt: skip


def test_the_pins_exist_on_every_board_that_is_supported(port: Port) -> None:
    for board in (*boards.PICOS, *boards.DEVKITS):
        port.cp.board.board_id = board
        button, relay, senses, lamp_pin = port.module.pins()
        assert {button, relay, *senses, lamp_pin} <= blinka.pin_names(board), board


def test_P1_another_board_keeps_its_console_and_no_pin_changes(port: Port) -> None:
    others = set(blinka.board_ids()) - {*boards.PICOS, *boards.DEVKITS}
    assert len(others) > 600
    assert {"raspberry_pi_pico2", "raspberry_pi_pico2_w"} < others
    for board in others:
        port.cp.board.board_id = board
        for file in ("boot.py", "code.py"):
            with pytest.raises(ImportError, match="Raspberry Pi Pico and Pico W") as refusal:
                port.run_entry_point(file)
            assert repr(board) in str(refusal.value)
    assert port.chip.log == []
    assert port.cp.calls == []
    assert port.cp.gadgets == {"usb_hid", "usb_midi"}


def test_a_pin_is_taken_once(port: Port) -> None:
    port.start()
    with pytest.raises(ValueError, match="GP20 in use"):
        port.start()


# The lamp, byte for byte.


def test_P7_the_lamp_gets_green_first(port: Port) -> None:
    board = port.start()
    board.show((1, 2, 3))
    board.show((255, 0, 128))
    assert port.cp.pins.sent == [b"\x02\x01\x03", b"\x00\xff\x80"]
    assert port.chip.shown == [(1, 2, 3), (255, 0, 128)]


def test_P7_the_lamp_of_each_state_at_its_pin(port: Port) -> None:
    chip, sent = port.chip, port.cp.pins.sent
    program = app.App(port.start())
    run(port, program, 500)
    red, green, blue = lamp.colour(lamp.MUTED, 0, lamp.PALETTES[0], 50)
    # Steady: sent once, and kept by the lamp.
    assert sent == [bytes((green, red, blue))]
    assert red > 0 == green == blue

    sent.clear()
    press(port, program)
    run(port, program, 4000)
    assert all(green > 0 == red == blue for green, red, blue in sent)
    assert len(set(sent)) > 10

    chip.stuck_closed.add(chip.senses[0])
    press(port, program)
    run(port, program, 100)
    sent.clear()
    run(port, program, 2000)
    assert len(set(sent)) == 2
    assert 14 <= len(sent) <= 18
    (dark, bright) = sorted(set(sent))
    assert dark[0] == dark[2] == 0 < dark[1]
    assert min(bright) > 0


# The whole firmware.


def watch_relay(chip: Chip) -> list[tuple[int, int]]:
    """Every change of the relay's pin from now on, as (time in ms, level)."""
    changes: list[tuple[int, int]] = []

    def record(pin: object, level: int) -> None:
        if pin == chip.relay and level != chip.driven.get(pin, 0):
            changes.append((chip.now, level))

    chip.before_drive = record
    return changes


def test_P4_a_weld_is_a_fault_until_it_opens_and_a_press_follows(port: Port) -> None:
    chip = port.chip
    program = app.App(port.start())
    run(port, program, 100)
    press(port, program)
    chip.stuck_closed.add(chip.senses[0])
    press(port, program)
    run(port, program, 100)
    assert request(port, program, "status")["faults"] == ["closed:1"]
    press(port, program)
    assert request(port, program, "status")["state"] == "fault"
    chip.stuck_closed.clear()
    run(port, program, 1500)
    assert request(port, program, "status")["state"] == "fault"
    press(port, program)
    assert request(port, program, "status")["state"] == "muted"
    assert ("drive", chip.relay, 1) not in chip.log[-20:]
    assert not chip.relay_on
    press(port, program)
    assert request(port, program, "status")["state"] == "live"


def test_P2_P3_a_host_mute_cuts_and_the_next_press_stays_cut(
    port: Port,
) -> None:
    program = app.App(port.start())
    run(port, program, 100)
    press(port, program)
    assert port.chip.relay_on
    assert request(port, program, "mute")["changed"] is True
    assert not port.chip.relay_on
    press(port, program)
    assert not port.chip.relay_on
    run(port, program, 1000)
    assert request(port, program, "status")["cause"] == "host"
    press(port, program)
    assert port.chip.relay_on


def test_P3_a_press_of_two_milliseconds_cuts_within_two_passes(port: Port) -> None:
    """As fast as it gets without interrupts: the scanner's next tick, then the program's call."""
    program = app.App(port.start())
    run(port, program, 100)
    for length in range(2, 12):
        press(port, program)
        assert port.chip.relay_on
        port.chip.press(True)
        run(port, program, 2)
        assert not port.chip.relay_on
        run(port, program, length - 2)
        port.chip.press(False)
        run(port, program, 200)
        assert not port.chip.relay_on


@pytest.mark.parametrize("mode", [press_storm.TOGGLE, press_storm.PUSH_TO_TALK])
def test_P2_P3_no_press_of_a_storm_is_lost_or_counted_twice(port: Port, mode: str) -> None:
    """400 presses with bounce, on a grid of 1 ms, which is as fine as `keypad` scans."""
    chip = port.chip
    relay = watch_relay(chip)
    board = port.start()
    board.store("config", json.dumps({"mode": mode}).encode())
    program = app.App(board)
    run(port, program, 100)
    storm = press_storm.storm(mode, 400, Random(mode), chip.now * 1000, grid_us=1000)
    levels = {edge.time_us // 1000: edge.down for edge in storm.edges}
    # Before the scanner of that millisecond.
    chip.on_ms.insert(0, lambda: chip.press(levels.get(chip.now, chip.down)))
    run(port, program, storm.end_us // 1000 - chip.now)
    connections = press_storm.expected(mode, storm.edges)
    assert len(connections) > 100
    coil = [(at * 1000, bool(level)) for at, level in relay]
    assert press_storm.disagreements(connections, coil, late_us=1000) == []


@pytest.mark.parametrize("wrap_ms", [300, *range(405, 416), 5_000, *range(10_405, 10_416), 10_500])
def test_P8_the_timer_is_right_while_the_ticks_wrap(port: Port, wrap_ms: int) -> None:
    """Before the live period, at its start, within it, at its end, or soon after."""
    chip = port.chip
    chip.ticks_start = TICKS - wrap_ms
    relay = watch_relay(chip)
    board = port.start()
    board.store("config", b'{"max_live_s":10}')
    program = app.App(board)
    run(port, program, 300 - chip.now)
    press(port, program)
    before = request(port, program, "status")
    assert before["state"] == "live"
    run(port, program, 9_000)
    after = request(port, program, "status")
    passed = after["uptime_ms"] - before["uptime_ms"]
    assert 9_000 <= passed < 9_100
    assert before["remute_in_ms"] - after["remute_in_ms"] == passed
    assert after["live_ms"] - before["live_ms"] == passed
    run(port, program, 1_200)
    ended = request(port, program, "status")
    assert (ended["state"], ended["cause"]) == ("muted", "timer")
    assert board.ticks_ms() < TICKS // 2
    (connected, _), (cut, _) = relay
    assert 408 <= connected <= 412
    assert cut == connected + 10_000


def test_P8_every_power_on_wraps_after_65_seconds(port: Port) -> None:
    """CircuitPython's ticks start there, so that nobody can overlook it: live across it."""
    chip = port.chip
    program = app.App(port.start())
    while chip.now < 64_200:
        program.step()
        chip.advance(100)
    press(port, program)
    before = port.cp.supervisor.ticks_ms()
    run(port, program, 1500)
    assert port.cp.supervisor.ticks_ms() < before
    status = request(port, program, "status")
    assert status["state"] == "live"
    assert 65_000 < status["uptime_ms"] < 67_000
    assert status["remute_in_ms"] > 3_590_000


# What a power-on runs.


class PowerOn:
    """Runs boot.py and code.py; what happens meanwhile is a script by the millisecond."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.chip = port.chip

    def boot(self, held_ms: int = 0) -> None:
        """boot.py, with the button held for ``held_ms`` from power-on."""
        start = self.chip.now
        self.chip.press(held_ms > 0)

        def let_go() -> None:
            if self.chip.now - start >= held_ms:
                self.chip.press(False)

        self.chip.on_ms.append(let_go)
        self.port.run_entry_point("boot.py")
        # What is left of the press: code.py starts with the button as it is.
        while self.chip.down:
            self.chip.advance(1)
        self.chip.on_ms.remove(let_go)

    def code(self, script: dict[int, Callable[[], None]], error: type[BaseException]) -> None:
        """code.py, until the script ends it; ``error`` is what then gets out of it."""
        start = self.chip.now

        def act() -> None:
            assert not self.chip.bitten
            action = script.get(self.chip.now - start)
            if action is not None:
                action()

        self.chip.on_ms.append(act)
        try:
            with pytest.raises(error):
                self.port.run_entry_point("code.py")
        finally:
            self.chip.on_ms.remove(act)

    def press(self, at: int) -> dict[int, Callable[[], None]]:
        return {
            at: lambda: self.chip.press(True),
            at + 80: lambda: self.chip.press(False),
        }

    def ask(self, at: int, check: Callable[[dict[str, Any]], None]) -> dict[int, Any]:
        """Ask for the status at ``at``; ``check`` gets it 60 ms later."""

        def send() -> None:
            self.chip.to_host = b""
            self.chip.to_chip += wire.frame({"id": 9, "op": "status"})

        def receive() -> None:
            check(wire.unframe(self.chip.to_host.splitlines()[-1], True))

        return {at: send, at + 60: receive}

    def relay(self, at: int, on: bool) -> dict[int, Callable[[], None]]:
        def check() -> None:
            assert self.chip.relay_on is on

        return {at: check}

    def interrupt(self) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def power_on(make_port: Callable[..., Port]) -> Callable[..., PowerOn]:
    def make(**settings: Any) -> PowerOn:
        return PowerOn(make_port(**settings))

    return make


def test_P1_P2_a_closed_start_goes_live_and_mutes_by_the_button(
    power_on: Callable[..., PowerOn],
) -> None:
    on = power_on()
    relay = watch_relay(on.chip)
    on.boot()
    assert on.port.cp.usb_cdc.console is None
    assert on.port.cp.usb_cdc.data is not None
    assert not on.port.cp.drive_visible
    assert on.port.cp.gadgets == set()
    assert relay == []

    def says(state: str, cause: str) -> Callable[[dict[str, Any]], None]:
        return lambda status: check(status, (state, cause))

    def check(status: dict[str, Any], wanted: tuple[str, str]) -> None:
        seen.append(wanted)
        assert (status["state"], status["cause"]) == wanted
        assert status["warnings"] == ["config_missing"]

    seen: list[tuple[str, str]] = []
    on.code(
        {
            **on.ask(100, says("muted", "boot")),
            **on.press(500),
            **on.relay(700, True),
            **on.ask(710, says("live", "button")),
            **on.press(1000),
            **on.relay(1002, False),
            **on.ask(1200, says("muted", "button")),
            **on.relay(1900, False),
            2000: on.interrupt,
        },
        ChipReset,
    )
    assert len(seen) == 3
    assert [level for _, level in relay] == [1, 0]
    assert on.chip.watchdog_ms == 1000


def test_P1_the_watchdog_cuts_a_hung_program_which_starts_muted(
    power_on: Callable[..., PowerOn],
) -> None:
    on = power_on()
    chip = on.chip
    on.boot()
    hung: list[int] = []

    def hang() -> None:
        hung.append(chip.now)
        assert chip.relay_on
        while not chip.bitten:
            chip.now += 1
        assert chip.relay_on
        hung.append(chip.now)
        raise ChipReset

    on.code({**on.press(500), 900: hang}, ChipReset)
    assert hung[1] - hung[0] <= 1002
    on.port.cp.restart("WATCHDOG")
    assert not chip.relay_on
    # CircuitPython's safe mode comes first.
    with pytest.raises(ChipReset):
        on.port.run_entry_point("safemode.py")
    on.port.cp.restart("SOFTWARE")
    # Held, it would open maintenance at a power-on; here nobody looks.
    before = chip.now
    chip.press(True)
    on.port.run_entry_point("boot.py")
    assert chip.now == before
    chip.press(False)
    assert on.port.cp.usb_cdc.console is None
    told: list[dict[str, Any]] = []
    on.code(
        {
            **on.ask(100, told.append),
            # Within a second: meant as "mute".
            **on.press(700),
            **on.relay(1000, False),
            **on.press(1500),
            **on.relay(1700, True),
            2000: on.interrupt,
        },
        ChipReset,
    )
    assert [(status["state"], status["cause"], status["boot"]) for status in told] == [
        ("muted", "watchdog", 2)
    ]


def test_P1_three_crashes_in_a_minute_stay_cut(power_on: Callable[..., PowerOn]) -> None:
    on = power_on()
    on.boot()
    for _ in range(3):
        on.code({3000: on.interrupt}, ChipReset)
        on.port.cp.restart("SOFTWARE")
        on.boot()
    told: list[dict[str, Any]] = []
    on.code(
        {
            **on.press(1500),
            **on.relay(1700, False),
            **on.ask(1800, told.append),
            2000: on.interrupt,
        },
        ChipReset,
    )
    assert "crash_loop" in told[0]["warnings"]


@pytest.mark.parametrize(("sleep_memory", "retains"), [(64, True), (64, False), (0, False)])
@pytest.mark.parametrize(("held_ms", "service"), [(4_000, "setup"), (11_000, "maintenance")])
def test_P1_after_a_service_mode_it_stays_cut_until_power_off(
    power_on: Callable[..., PowerOn],
    sleep_memory: int,
    retains: bool,
    held_ms: int,
    service: str,
) -> None:
    """Also on a chip whose sleep memory does not survive a reset."""
    on = power_on(sleep_memory=sleep_memory, retains=retains)
    cp, chip = on.port.cp, on.chip
    relay = watch_relay(chip)
    on.boot(held_ms)
    closed = service == "setup"
    assert (cp.usb_cdc.console is None) is closed
    assert cp.drive_visible is not closed
    assert cp.supervisor.runtime.autoreload is not closed
    assert cp.gadgets == set()
    told: list[dict[str, Any]] = []
    script = {**on.press(1500), 3000: on.interrupt}
    if closed:
        script |= on.ask(2000, told.append)
    # Ctrl-C gets to the prompt only where boot.py left the console open.
    on.code(script, ChipReset if closed else KeyboardInterrupt)
    assert [status["service"] for status in told] == ([service] if closed else [])
    blue = {colour for colour in chip.shown if colour != (0, 0, 0)}
    assert blue
    assert all(red == green == 0 for red, green, _ in blue)

    if not closed:
        # Ctrl-D, and files that change: maintenance goes on.
        cp.reload()
        on.code({**on.press(1500), 3000: on.interrupt}, KeyboardInterrupt)
    for _ in range(2):
        cp.restart("SOFTWARE")
        on.boot()
        assert cp.usb_cdc.console is None
        assert not cp.drive_visible
        told.clear()
        on.code({**on.press(1500), **on.ask(2000, told.append), 3000: on.interrupt}, ChipReset)
        (status,) = told
        assert (status["state"], status["command"], status["service"]) == ("muted", "cut", "none")
        assert "stays_cut" in status["warnings"]
    assert relay == []

    cp.restart("POWER_ON")
    on.boot()
    on.code({**on.press(1500), **on.relay(1700, True), 3000: on.interrupt}, ChipReset)


def test_P1_without_nvm_and_sleep_memory_the_mute_still_works(
    power_on: Callable[..., PowerOn], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = power_on(sleep_memory=0)
    monkeypatch.setattr(on.port.cp.microcontroller, "nvm", None)
    on.boot()
    told: list[dict[str, Any]] = []
    on.code(
        {
            **on.press(500),
            **on.relay(700, True),
            **on.press(1000),
            **on.relay(1002, False),
            **on.ask(1500, told.append),
            2000: on.interrupt,
        },
        ChipReset,
    )
    assert "boot_not_counted" in told[0]["warnings"]


@pytest.mark.parametrize("missing", ["usb_hid", "usb_midi"])
def test_a_circuitpython_without_hid_or_midi_starts(
    power_on: Callable[..., PowerOn], missing: str
) -> None:
    on = power_on()
    on.port.fakes[missing] = None
    on.boot()
    assert on.port.cp.gadgets == {missing}
    assert on.port.cp.usb_cdc.console is None
    assert not on.port.cp.drive_visible


def test_an_installation_cut_short_leaves_console_and_drive_open(
    power_on: Callable[..., PowerOn],
) -> None:
    on = power_on()
    with pytest.raises(ImportError):
        on.port.run_entry_point("boot.py", complete=False)
    assert on.port.cp.usb_cdc.console is not None
    assert on.port.cp.drive_visible
    assert not on.chip.relay_on
