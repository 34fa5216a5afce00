"""Figures of the emulated Pico, beside those of what most hobby mute buttons do.

All but `idle_cost` is in emulated time: the same on any machine. The firmware's figures are of the
very files that are flashed; the two naive programs stand for a polling loop and for an interrupt
in Python. The image is the official one; the locked image is built from Debian's source.
"""

from __future__ import annotations

import functools
import random
import statistics
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from rp2040py.execute_batch import execute_batch
from rp2040py.gpio_pin import GPIOPinState
from tests.emulator.workbench import Bench, Heap, Repl, locked_image

from bench.figure import Figure
from hardmute.flash import runtime
from hardmute.sim.rp2040 import chip, files, silicon
from muteboard import attest, config, journal, wire

LIMITS = (
    "The emulated Pico shows neither misses of the flash cache, nor code that waits while the"
    " flash is written, nor USB suspend, nor the two cycles by which a PIO sees an edge late, nor"
    " how a relay and a button really move: its times are lower bounds, and the PIO's are"
    " told to 0.03 µs, so that 0 is less than that. Press -> pin on silicon"
    ' takes a scope: firmware/README.md, "To measure". From power-on until it is driven low, the'
    " relay's pin is an input with its pull-down on. The emulated times are the same on every"
    " machine."
)

_SEED = 20_26
_PRESSES = 40
_CUTS = 20
_ANSWERS = 12
_HUNG_US = 200_000
_PASSES = 200
_STEP_US = 20
_NOT_YET_US = 3_000_000
_CYCLES_PER_US = silicon.FREQUENCY // 1_000_000
# What is claimed for the PIO, and so what it counts as in a ratio: see `LIMITS`.
_PIO_CLAIM_US = 1.0

# The naive design: a loop that looks at the button each 5 ms, and tells the host what it did.
POLLED = f"""
import time
from machine import Pin

button = Pin({chip.BUTTON}, Pin.IN, Pin.PULL_UP)
relay = Pin({chip.RELAY}, Pin.OUT, value=0)
was_down = False
while True:
    down = not button.value()
    if down and not was_down:
        relay.toggle()
        print("live" if relay.value() else "muted")
    was_down = down
    time.sleep_ms(5)
"""

# A better one: the button's interrupt cuts, in Python. It connects by itself, to be cut again.
INTERRUPT = f"""
import time
from machine import Pin

button = Pin({chip.BUTTON}, Pin.IN, Pin.PULL_UP)
relay = Pin({chip.RELAY}, Pin.OUT, value=0)

def cut(_pin):
    relay.off()

button.irq(cut, Pin.IRQ_FALLING, hard=True)
while True:
    time.sleep_ms(5)
    if button.value():
        relay.on()
"""

# The same, while the program does nothing but send waveforms to the lamp.
INTERRUPT_AND_LAMP = INTERRUPT.replace(
    "    time.sleep_ms(5)\n", "    machine.bitstream(lamp, 0, (400, 850, 800, 450), b'abc')\n"
).replace("import time\n", f"import machine\nlamp = machine.Pin({chip.LAMP}, machine.Pin.OUT)\n")

# An answer as large as that of `attest` (docs/protocol.md), with MACs of zeros.
_LARGE = {
    "state": "muted",
    "command": "cut",
    "sense": [0],
    "boot": 999_999,
    "seq": 999_999_999,
    "head": "0" * 64,
    "uptime_ms": 999_999_999_999,
    "nonce": "0" * 32,
    "mac": "0" * 64,
    "journal_mac": "0" * 64,
}

_SETUP = (
    "from muteboard.app import App\nfrom muteboard.boards.rp2040 import Board\nboard = Board()"
)

_REPORT = "import gc, micropython\ngc.collect()\nmicropython.mem_info()"

# Passes one after another, without the pauses between them, muted and then, after a press, live.
# The watchdog starts with the first of them, so the program then goes on; its `hello` is the large
# answer.
_PASSES_AND_ON = f"""
import time

def microseconds():
    next(passes)
    start = time.ticks_us()
    for _ in range({_PASSES}):
        next(passes)
    return time.ticks_diff(time.ticks_us(), start) / {_PASSES}

def settle():
    for _ in range(20):
        board.idle(next(passes))

settle()
muted = microseconds()
while app.controller.state != "live":
    board.idle(next(passes))
settle()
print(muted, microseconds())
LARGE = {_LARGE!r}
app.hello = lambda: dict(LARGE)
for ms in passes:
    board.idle(ms)
"""


def image() -> Path:
    """MicroPython for the Pico. Raises `HardmuteError` where there is none."""
    return runtime.find(None)


def images() -> tuple[Path, Path]:
    """That, and the locked image. Raises `HardmuteError` where one is missing."""
    return image(), locked_image()


def chip_figures() -> list[Figure]:
    """The firmware on an emulated Pico, and naive programs on another."""
    chance = random.Random(_SEED)
    polled, polled_line, polled_defined = _polled(chance)
    interrupt = _interrupt(INTERRUPT, chance)
    lamp, _ = _interrupt(INTERRUPT_AND_LAMP, chance)
    (pio, pio_hung), firmware = _firmware(
        chance, Bench(image(), files.firmware(config.dump(config.DEFAULTS)))
    )
    (locked_pio, locked_hung), locked = _firmware(chance, Bench(locked_image(), {}))
    prompt = _prompt(chance)
    ratios = {
        "p50": statistics.median(polled[0]) / max(_PIO_CLAIM_US, statistics.median(pio)),
        "max": max(polled[0]) / max(_PIO_CLAIM_US, max(pio)),
    }
    return [
        *_latencies("PIO (ours)", pio, pio_hung, "< 1"),
        *_latencies("PIO (ours), locked image", locked_pio, locked_hung, "< 1"),
        *_latencies("IRQ in Python", *interrupt),
        Figure(f"edge → pin, IRQ, lamp at work, max of {len(lamp)}", max(lamp), "µs"),
        *_latencies("polled each 5 ms (naive)", *polled),
        *(
            Figure(f"  ratio polled : PIO (counted as 1 µs), {name}", ratio, "×")
            for name, ratio in ratios.items()
        ),
        Figure("press → sensed `muted` on USB, median", firmware["event"], "ms"),
        Figure("press → sensed `muted` on USB, locked image, median", locked["event"], "ms"),
        Figure("press → line on USB, polled (naive), median", polled_line, "ms"),
        Figure("  ratio ours : naive, which does not sense", firmware["event"] / polled_line, "×"),
        Figure("status, asked → answered, median", firmware["status"], "ms"),
        Figure("status, asked → answered, locked image, median", locked["status"], "ms"),
        *prompt,
        Figure("power-on → relay pin low, polled (naive)", polled_defined, "ms"),
        *_starts("", firmware),
        *_starts(", locked image", locked),
        *_sizes(),
    ]


def _starts(which: str, found: dict[str, float]) -> Iterator[Figure]:
    yield Figure(f"power-on → relay pin driven low{which}", found["defined"], "ms")
    yield Figure(f"power-on → button watched{which}", found["watched"], "ms")
    yield Figure(f"power-on → first answer{which}", found["answer"], "ms")
    yield Figure(f"heap free then, garbage not counted{which}", found["heap"], "kB")


def _latencies(
    name: str, latencies: list[float], hung: float | None, aim: str | None = None
) -> Iterator[Figure]:
    yield Figure(f"edge → pin, {name}, p50", statistics.median(latencies), "µs", aim)
    yield Figure(f"edge → pin, {name}, max of {len(latencies)}", max(latencies), "µs", aim)
    yield Figure(f"edge → pin, {name}, CPU hung", hung, "µs", aim)


# The naive programs.


def _polled(chance: random.Random) -> tuple[tuple[list[float], float | None], float, float]:
    """Edge -> pin in us, also of a hung CPU; press -> line on USB in ms; power-on -> pin in ms."""
    bench = _alone(POLLED)
    defined_ms = _drives_low_ms(bench)
    bench.run_ms(100)
    latencies: list[float] = []
    lines: list[float] = []
    for _ in range(_PRESSES):
        _touch(bench, chance)
        assert bench.coil
        bench.heard()
        edge_us = _touch(bench, chance, wait=False)
        bench.run_until(lambda: b"muted" in bench.pico.usb.to_host, 20_000, _STEP_US)
        lines.append((bench.now_us - edge_us) / 1000)
        latencies.append(bench.cut_times()[-1] - edge_us)
        bench.run_ms(30)
    _touch(bench, chance)
    return (latencies, _hung(bench)), statistics.median(lines), defined_ms


def _interrupt(program: str, chance: random.Random) -> tuple[list[float], float | None]:
    bench = _alone(program)
    bench.run_ms(100)
    latencies: list[float] = []
    for _ in range(_PRESSES):
        assert bench.coil
        edge_us = _touch(bench, chance)
        latencies.append(bench.cut_times()[-1] - edge_us)
    return latencies, _hung(bench)


def _alone(program: str) -> Bench:
    """A Pico that runs ``program`` and nothing of ours."""
    bench = Bench(image(), {"main.py": program.encode()})
    bench.pico.power_on()
    bench.pico.plug()
    return bench


def _touch(bench: Bench, chance: random.Random, *, wait: bool = True) -> int:
    """A press of 15 ms at a moment that is chance; when its edge comes."""
    edge_us = bench.now_us + chance.randint(1, 20_000)
    bench.watch_relay()
    bench.press_at(edge_us, hold_ms=15)
    bench.run_us(edge_us - bench.now_us)
    if wait:
        bench.run_ms(45)
    return edge_us


def _press_now(bench: Bench) -> int:
    """A press between two instructions of the CPU: then the PIO's time is told to a few cycles."""
    bench.physics.press(60, 0)
    return bench.now_us


def _hung(bench: Bench) -> float | None:
    """Edge -> pin in us of a live board whose CPU hangs. None: it did not, in all that time."""
    assert bench.coil
    bench.pico.hang()
    bench.watch_relay()
    bench.run_ms(10)
    edge_us = _press_now(bench)
    bench.run_us(_HUNG_US)
    cuts = bench.cut_times()
    return cuts[0] - edge_us if cuts else None


# The firmware.


def _firmware(
    chance: random.Random, bench: Bench
) -> tuple[tuple[list[float], float | None], dict[str, float]]:
    """Edge -> pin in us, also of a hung CPU; and times in ms, by name."""
    found = _start(bench)
    found["status"] = statistics.median(_answers(bench, "status", chance))
    bench.ask("watch")
    latencies: list[float] = []
    events: list[float] = []
    for _ in range(_CUTS):
        bench.press(hold_ms=60)
        bench.run_us(chance.randint(1, 20_000))
        assert bench.connected
        bench.watch_relay()
        bench.heard()
        edge_us = _press_now(bench)
        bench.run_until(lambda: _says(bench, "muted"), 100_000, _STEP_US)
        latencies.append(bench.cut_times()[-1] - edge_us)
        events.append((bench.now_us - edge_us) / 1000)
        bench.run_ms(100)
    found["event"] = statistics.median(events)
    bench.press(hold_ms=60)
    return (latencies, _hung(bench)), found


def _start(bench: Bench) -> dict[str, float]:
    """Power it on; what happened when, in ms from then, and the heap that is left, in kB."""
    bench.pico.power_on()
    bench.pico.plug()
    assert bench.pico.mcu.gpio[chip.RELAY].value == GPIOPinState.INPUT_PULL_DOWN
    found: dict[str, float] = {"defined": _drives_low_ms(bench)}
    button = bench.pico.mcu.gpio[chip.BUTTON]
    bench.run_until(lambda: bool(button.irq_enable_mask), _NOT_YET_US, _STEP_US)
    found["watched"] = bench.now_us / 1000
    bench.timed("status")
    found["answer"] = bench.now_us / 1000
    found["heap"] = bench.heap().free / 1000
    bench.run_ms(100)
    return found


def _drives_low_ms(bench: Bench) -> float:
    """Let it run from power-on until the relay's pin is an output at low level; when that was."""
    low = GPIOPinState.LOW
    bench.run_until(lambda: any(level == low for _, level in bench.relay), _NOT_YET_US)
    assert not bench.connect_times()
    return next(now for now, level in bench.relay if level == low) / 1000


def _says(bench: Bench, state: str) -> bool:
    """Whether the last whole frame that came is an event of this state."""
    *lines, _ = bytes(bench.pico.usb.to_host).split(b"\n")
    try:
        return bool(lines) and wire.unframe(lines[-1].rstrip(b"\r"), True).get("state") == state
    except wire.WireError:
        # The rest of one that was under way.
        return False


def _answers(bench: Bench, op: str, chance: random.Random) -> list[float]:
    """How long each answer took, in ms, when asked at moments that are chance."""
    times: list[float] = []
    for _ in range(_ANSWERS):
        bench.run_us(chance.randint(1, 20_000))
        times.append(bench.timed(op)[1] / 1000)
    return times


def _prompt(chance: random.Random) -> list[Figure]:
    """What is measured from the prompt: the large answer, passes, heap."""
    repl = Repl(image()).start()
    repl.run(_SETUP)
    repl.run("app = App(board)\npasses = app.passes()")
    heap = Heap.parse(repl.run(_REPORT))
    repl.press_at(repl.now_us + 600_000, hold_ms=40)
    repl.begin(_PASSES_AND_ON)
    printed = repl.pico.usb.to_host
    repl.run_until(lambda: b"\n" in printed, _NOT_YET_US)
    muted, live = (float(us) for us in repl.heard().split())
    repl.press(hold_ms=40)
    large_ms = statistics.median(_answers(repl, "hello", chance))
    size = len(wire.frame({**_LARGE, "id": 1, "ok": True}))
    return [
        Figure(f"an answer of {size} bytes, as `attest`, no MACs", large_ms, "ms"),
        Figure("a pass, muted and idle", muted * _CYCLES_PER_US, "cycles"),
        Figure("a pass, live and idle", live * _CYCLES_PER_US, "cycles"),
        Figure("heap used after start", heap.used / 1000, "kB"),
        Figure("heap free", heap.free / 1000, "kB"),
        Figure("heap, largest free block", heap.largest / 1000, "kB"),
    ]


_IDLE_S = 3


def idle_cost() -> list[Figure]:
    """CPU time of this machine for a second of the emulated Pico, muted and idle."""
    bench = Bench.with_firmware(image()).start()
    bench.run_ms(1_000)
    ours = min(_idle_ms(bench) for _ in range(_IDLE_S))
    # The same chip goes on without thumb.c.
    simulator = bench.pico._simulator  # noqa: SLF001
    bench.pico._run = functools.partial(execute_batch, simulator, 1)  # noqa: SLF001
    alone = min(_idle_ms(bench) for _ in range(_IDLE_S))
    return [
        Figure("CPU for an idle emulated second, thumb.c (ours)", ours, "ms"),
        Figure("CPU for an idle emulated second, rp2040py alone", alone, "ms"),
        Figure("  ratio ours : rp2040py alone", ours / alone, "×", "≤ 0.5"),
    ]


def _idle_ms(bench: Bench) -> float:
    """In steps of a millisecond, as `hardmute sim` takes them."""
    start = time.process_time()
    for _ in range(1_000):
        bench.run_ms(1)
    return 1000 * (time.process_time() - start)


# What the board writes for a record; `board` is there (`_SETUP`).
_JOURNAL = f"""
import time
from muteboard import attest, journal

def each(action, times):
    took = []
    for _ in range(times):
        start = time.ticks_us()
        action()
        took.append(time.ticks_diff(time.ticks_us(), start))
    return took

log = journal.Journal(board)
log.boot = 1

def append():
    log.record(1000, journal.MUTED, 0, 1, 1, 0, 0)
    assert log.flush(1000)

key, signed = bytes(attest.KEY), bytes({journal.SIZE} - attest.MAC)
"""
_APPENDS = 40
_PAGES = 20


def journal_figures() -> list[Figure]:
    """The journal on the emulated Pico: what a record costs, and how fast a host fetches."""
    repl = Repl(image()).start()
    repl.run(_SETUP)
    repl.run(_JOURNAL)
    mac_us = repl.evaluate("each(lambda: attest.mac(key, signed), 50)")
    append_us = repl.evaluate(f"each(append, {_APPENDS})", limit_us=120_000_000)
    content = files.firmware(config.dump(config.DEFAULTS))
    content[f"journal/{1:08x}"] = _segment()
    bench = Bench(image(), content).start()
    bench.run_ms(1_000)
    start_us = bench.now_us
    for page in range(_PAGES):
        bench.ask("journal", **{"from": 1 + page * journal.PAGE})
    seconds = (bench.now_us - start_us) / 1e6
    return [
        Figure("MAC of a record (HMAC of 48 bytes), median", statistics.median(mac_us), "µs"),
        Figure("a record made durable, median", statistics.median(append_us) / 1000, "ms"),
        Figure(f"a record made durable, max of {_APPENDS}", max(append_us) / 1000, "ms"),
        Figure("records fetched, one page asked at a time", _PAGES * journal.PAGE / seconds, "/s"),
    ]


def _segment() -> bytes:
    """A full segment of a board that is not paired."""
    records = bytearray()
    link = bytes(attest.MAC)
    for seq in range(1, journal.SEGMENT + 1):
        fields = (seq, 1, seq * 1000, 0, 0, 0, seq, 0, journal.MUTED, 1, 0, 0)
        record = struct.pack("<IIIHHIIIBBBB", *fields) + link + bytes(attest.MAC)
        records += record
        link = journal.head_of(record)
    return bytes(records)


def _payload(uf2: bytes) -> int:
    """How many bytes of flash a UF2 fills: each block of 512 says how many of them it carries."""
    blocks = (uf2[at : at + 512] for at in range(0, len(uf2), 512))
    return sum(int.from_bytes(block[16:20], "little") for block in blocks)


def _sizes() -> list[Figure]:
    """What takes up the flash."""
    sizes = [
        sum(map(len, files.firmware(compiled=compiled).values())) / 1000
        for compiled in (False, True)
    ]
    return [
        Figure("MicroPython's image", _payload(image().read_bytes()) / 1000, "kB"),
        Figure("our files", sizes[0], "kB"),
        Figure("our files, compiled by mpy-cross", sizes[1], "kB"),
        Figure(
            "locked image: no compiler, our files frozen",
            _payload(locked_image().read_bytes()) / 1000,
            "kB",
        ),
    ]
