"""The simulated board itself: its physics, its world, its cable, and its process."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import serial
from pico_image_maker import uf2_file

from conftest import Cli, Sim, StartSim, VirtualBoard
from hardmute.device import simulators
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.sim.server import Simulator
from hardmute.sim.world import colour_name
from muteboard import wire


def board() -> SimulatedBoard:
    return SimulatedBoard(Physics(1, Random(0)), b"\x5e\xed", None)


class Bare:
    """Physics with no board, and the edges of its button as (time in us, down)."""

    def __init__(self, contacts: int = 1, seed: int = 0) -> None:
        self.physics = Physics(contacts, Random(seed))
        self.physics.power_on()
        self.edges: list[tuple[int, bool]] = []
        self.physics.on_button = lambda down: self.edges.append((self.physics.now_us, down))

    def closed_at(self, *times_us: int) -> list[bool]:
        """Whether contact 1 is closed at these moments."""
        closed: list[bool] = []
        for time_us in times_us:
            self.physics.advance(time_us)
            closed.append(self.physics.closed(0))
        return closed


# Physics: the relay.


def test_a_relay_operates_late_and_bounces() -> None:
    bare = Bare()
    bare.physics.drive(coil=True)
    seen = bare.closed_at(0, 2_999, 3_000, 3_332, 3_333, 3_665, 3_666, 100_000)
    assert seen == [False, False, True, True, False, False, True, True]


def test_a_relay_releases_late() -> None:
    bare = Bare()
    bare.physics.drive(coil=True)
    bare.physics.advance(10_000)
    bare.physics.drive(coil=False)
    assert bare.closed_at(10_000, 12_999, 13_000, 50_000) == [True, True, False, False]


def test_a_coil_released_in_time_never_closes_the_contact() -> None:
    bare = Bare()
    bare.physics.drive(coil=True)
    bare.physics.advance(2_000)
    bare.physics.drive(coil=False)
    assert bare.closed_at(*range(2_000, 20_000, 100)) == [False] * 180


@pytest.mark.parametrize("coil", [False, True])
def test_a_welded_contact_stays_closed_until_it_is_broken_open(coil: bool) -> None:
    bare = Bare()
    bare.physics.drive(coil=coil)
    bare.physics.advance(10_000)
    bare.physics.weld(0)
    for energised in (not coil, coil, False, coil):
        bare.physics.drive(coil=energised)
        bare.physics.advance(bare.physics.now_us + 3_500)
        assert bare.physics.closed(0)
        bare.physics.advance(bare.physics.now_us + 6_500)
        assert bare.physics.closed(0)
    bare.physics.unweld(0)
    assert bare.physics.closed(0) is coil


def test_the_line_needs_every_contact() -> None:
    bare = Bare(contacts=3)
    for index in range(3):
        assert not bare.physics.connected
        bare.physics.weld(index)
    assert bare.physics.connected


# Physics: the button.


@pytest.mark.parametrize("bounce_ms", [0, 1, 5, 20])
def test_a_press_bounces_at_both_ends_and_no_longer(bounce_ms: int) -> None:
    for seed in range(50):
        bare = Bare(seed=seed)
        end_us = bare.physics.press(hold_ms=100, bounce_ms=bounce_ms)
        bare.physics.advance(end_us)
        assert end_us == 100_000 + 1_000 * bounce_ms
        levels = [down for _, down in bare.edges]
        assert levels[0] is True
        assert levels[-1] is False
        assert all(one is not other for one, other in pairwise(levels))
        for at_us, _ in bare.edges:
            assert min(at_us, abs(at_us - 100_000)) <= 1_000 * bounce_ms
        assert (0, True) in bare.edges
        assert (100_000, False) in bare.edges
        if not bounce_ms:
            assert len(levels) == 2


def test_a_press_shorter_than_its_bounce_still_ends_released() -> None:
    for seed in range(50):
        bare = Bare(seed=seed)
        bare.physics.advance(bare.physics.press(hold_ms=0.5, bounce_ms=20))
        assert not bare.physics.button_down


def test_chance_comes_from_the_seed_alone() -> None:
    runs: list[list[tuple[int, bool]]] = []
    for seed in (1, 1, 2):
        bare = Bare(seed=seed)
        bare.physics.advance(bare.physics.press(bounce_ms=20))
        runs.append(bare.edges)
    assert runs[0] == runs[1] != runs[2]


def test_a_stuck_button_ignores_the_finger() -> None:
    bare = Bare()
    bare.physics.stick()
    bare.physics.advance(bare.physics.press(hold_ms=100, bounce_ms=0) + 1)
    assert bare.edges == [(0, True)]
    bare.physics.unstick()
    assert bare.edges == [(0, True), (100_001, False)]


def test_unsticking_under_a_finger_leaves_it_down() -> None:
    bare = Bare()
    bare.physics.press(hold_ms=100, bounce_ms=0)
    bare.physics.advance(10_000)
    bare.physics.stick()
    bare.physics.unstick()
    bare.physics.advance(200_000)
    assert bare.edges == [(0, True), (100_000, False)]


def test_time_only_goes_on_and_events_keep_their_order() -> None:
    bare = Bare()
    done: list[tuple[str, int]] = []
    for name, at_us in (("b", 20), ("c", 20), ("a", 10), ("d", 30)):
        bare.physics.at(at_us, lambda name=name: done.append((name, bare.physics.now_us)))
    bare.physics.advance(25)
    bare.physics.at(5, lambda: done.append(("late", bare.physics.now_us)))
    bare.physics.advance(12)
    assert bare.physics.now_us == 25
    bare.physics.advance(40)
    assert done == [("a", 10), ("b", 20), ("c", 20), ("late", 25), ("d", 30)]


# The board on its physics.


def test_supply_loss_drops_everything_but_the_files() -> None:
    board = VirtualBoard(max_live_s=20)
    board.press()
    boot = board.status()["boot"]
    board.board.received += b"half a li"
    board.board.power_off()
    board.run_ms(10)
    assert board.look() == {
        "button": "up",
        "coil": "released",
        "contacts": ["open"],
        "sense": [0],
        "line": "cut",
        "lamp": {"rgb": [0, 0, 0], "colour": "off"},
        "power": "off",
    }
    assert board.board.receive_space() == 0
    board.board.power_on()
    board.run_ms(100)
    told = board.status()
    assert (told["boot"], told["state"], told["changes"]) == (boot + 1, "muted", 0)
    assert board.request("config")["config"]["max_live_s"] == 20


def test_power_on_twice_is_power_on_once() -> None:
    board = VirtualBoard()
    board.press()
    board.board.power_on()
    assert board.status()["state"] == "live"


def test_a_stuck_button_is_a_warning_after_ten_seconds() -> None:
    board = VirtualBoard()
    board.press()
    board.physics.stick()
    board.run_ms(9_900)
    assert (board.status()["state"], board.status()["warnings"]) == ("muted", [])
    board.run_ms(200)
    told = board.status()
    assert (told["state"], told["cause"], told["warnings"]) == ("muted", "stuck", ["stuck"])
    board.physics.unstick()
    board.run_ms(100)
    assert board.status()["warnings"] == []
    assert board.look()["line"] == "cut", "coming free is no press"
    board.press()
    assert board.look()["line"] == "connected"


def test_a_flood_with_unread_answers_stays_in_two_small_buffers() -> None:
    board = VirtualBoard()
    requests = b'{"id":1,"op":"status"}\n' * 100
    taken = 0
    for _ in range(3_000):
        room = board.board.receive_space()
        board.board.received += (requests * 2)[:room]
        taken += room
        board.run_ms(1)
        assert len(board.board.received) <= 256
        assert len(board.board.sending) <= 256
    assert taken < 1_000, "a host that does not read is not read from"
    board.press()
    assert board.look()["line"] == "connected"


def test_memory_is_flat_under_a_flood() -> None:
    board = VirtualBoard()
    flood = Random(3).randbytes(20_000) + b"A" * 20_000 + b'{"id":1,"op":"status"}\n' * 500

    def in_use_after(floods: int) -> int:
        for _ in range(floods):
            board.send(flood)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = in_use_after(1)
        assert abs(in_use_after(3) - before) < 4_096
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "off"),
        ((10, 0, 0), "red"),
        ((127, 55, 0), "amber"),
        ((0, 50, 0), "green"),
        ((0, 0, 255), "blue"),
        ((20, 75, 127), "blue"),
        ((255, 255, 255), "white"),
    ],
)
def test_colour_names(rgb: tuple[int, int, int], name: str) -> None:
    assert colour_name(rgb) == name


# The world, through the command line.


WRONG_WORDS = [
    ("", "Say what happens in the world:"),
    ("jump", "The world knows no 'jump'; it knows:"),
    ("press jump", "The world knows no 'jump'"),
    ("hold", "Give a number: hold SECONDS."),
    ("hold long", "Give a number: hold SECONDS."),
    ("hold -1", "out of range"),
    ("hold nan", "out of range"),
    ("bounce", "Give a number: bounce MS."),
    ("weld 2", "This board has 1 contact(s); 2 is none of them."),
    ("unweld 0", "0 is none of them"),
    ("power-on --hold", "Give a number: power-on --hold SECONDS."),
]


def test_world_of_a_wrong_word_is_a_usage_error(sim: Sim, cli: Cli) -> None:
    for words, says in WRONG_WORDS:
        told = cli("world", sim.world, *words.split())
        assert (told.code, told.out) == (2, ""), words
        assert says in told.err
    # The world goes on, with what was acted out before the wrong word.
    assert cli("world", sim.world, "look").json["line"] == "connected"


@pytest.mark.parametrize("name", ["none.world", "a" * 300, "file"])
def test_world_of_a_dead_address_is_unreachable(cli: Cli, home: Path, name: str) -> None:
    (home / "file").write_text("")
    told = cli("world", home / name, "look")
    assert told.code == 3
    assert told.err.startswith("No simulated board listens at ")
    assert told.err.count("\n") == 1


def test_world_of_a_board_that_was_killed_is_unreachable(sim: Sim, cli: Cli) -> None:
    sim.kill()
    assert cli("world", sim.world, "look").code == 3
    assert cli("-d", sim.board, "status").code == 3


def test_world_look_is_the_truth_as_one_json_object(sim: Sim, cli: Cli) -> None:
    told = cli("world", sim.world, "press", "look")
    assert told.code == 0
    seen = told.json
    assert seen.pop("lamp")["colour"] == "green"
    assert seen == {
        "button": "up",
        "coil": "energised",
        "contacts": ["closed"],
        "sense": [1],
        "line": "connected",
        "power": "on",
    }
    # Without a look there is nothing to say.
    assert cli("world", sim.world, "press").out == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("press", "connected"),
        ("press press", "cut"),
        ("press press press", "connected"),
        ("bounce 20 press", "connected"),
        ("bounce 20 press press", "cut"),
        ("bounce 0 hold 0.01", "cut"),
        ("hold 1", "connected"),
        ("hold 1.6", "cut"),
        ("unplug press", "connected"),
        ("press power-off", "cut"),
        ("press power-off power-on", "cut"),
        ("press power-off power-on press", "connected"),
        ("press weld press", "connected"),
        ("press weld press unweld", "cut"),
        ("stick", "cut"),
        ("press stick", "cut"),
        ("press stick unstick", "cut"),
    ],
)
def test_world_acts_out_its_words_in_order(words: str, line: str) -> None:
    assert VirtualBoard().act(*words.split(), "look")["line"] == line


@pytest.mark.parametrize(("hold", "colour"), [(0.5, "red"), (3.2, "blue")])
def test_world_power_on_with_the_button_held(sim: Sim, cli: Cli, hold: float, colour: str) -> None:
    told = cli("world", sim.world, "power-off", "power-on", "--hold", hold, "look")
    assert (told.json["lamp"]["colour"], told.json["line"]) == (colour, "cut")
    service = cli("-d", sim.board, "status", "--json").json["service"]
    assert service == ("setup" if hold > 3 else "none")


# The cable and the process.


@pytest.mark.parametrize("tcp", [False, True])
def test_replugging_keeps_the_path_and_the_boot(start_sim: StartSim, cli: Cli, tcp: bool) -> None:
    sim = start_sim("--tcp", 0) if tcp else start_sim()
    before = cli("-d", sim.device, "status", "--json").json
    for _ in range(3):
        sim.act("unplug", "replug")
        after = cli("-d", sim.device, "status", "--json").json
        assert (after["device"], after["boot"]) == (sim.device, before["boot"])
        assert after["uptime_ms"] > before["uptime_ms"]


def test_two_boards_at_once_do_not_know_of_each_other(start_sim: StartSim, cli: Cli) -> None:
    one, other = start_sim(), start_sim("--tcp", 0, "--contacts", 2)
    assert {entry.board for entry in simulators.running()} == {one.board, other.board}
    one.act("press")
    assert (one.look()["line"], other.look()["contacts"]) == ("connected", ["open", "open"])
    assert cli("-d", one.board, "status").code == 1
    assert cli("-d", other.board, "status").code == 0
    other.act("power-off")
    assert cli("-d", one.board, "status").code == 1
    assert cli("-d", other.board, "status").code == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_board_that_ends_leaves_nothing_behind(
    sim: Sim, home: Path, number: signal.Signals, code: int
) -> None:
    folder = home / "run" / "simulated"
    assert len(list(folder.iterdir())) == 4
    sim.process.send_signal(number)
    assert sim.process.wait(60) == code
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--id", "xyz"], "A board id is"),
        (["--id", "ab"], "A board id is"),
        (["--id", "ab" * 33], "A board id is"),
        (["--contacts", "0"], "invalid choice"),
        (["--contacts", "9"], "invalid choice"),
        (["--set", "max_live_s=5"], "max_live_s must be 10 to 28800"),
        (["--set", "colour=pink"], "A board has no setting 'colour'"),
        (["--tcp", "99999"], "TCP port 99999 cannot be used"),
        (["--tcp", "x"], "invalid int value"),
        (["--image", "x.uf2"], "--image and --download are for --engine rp2040."),
        (["--download"], "--image and --download are for --engine rp2040."),
    ],
)
def test_sim_of_a_wrong_option_is_a_usage_error(cli: Cli, options: list[str], says: str) -> None:
    told = cli("sim", *options)
    assert (told.code, told.out) == (2, "")
    assert says in told.err


def test_the_world_is_there_by_the_id_of_its_board(sim: Sim, cli: Cli) -> None:
    assert cli("world", sim.board, "press").code == 0
    assert cli("world", sim.board, "look").json["line"] == "connected"
    gone = cli("world", "5eed9999", "look")
    assert (gone.code, gone.out) == (3, "")
    assert gone.err == "No simulated board 5eed9999 runs: `hardmute list` shows those that do.\n"


@pytest.mark.parametrize("missing", ["rp2040py", "littlefs"])
def test_sim_says_what_the_emulated_chip_needs(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    image = uf2_file(tmp_path / "image.uf2")
    # What an earlier test has loaded of either.
    loaded = ("hardmute.sim.rp2040", "hardmute.flash.littlefs_image", f"{missing}.")
    for module in [name for name in sys.modules if name.startswith(loaded)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    told = cli("sim", "--engine", "rp2040", "--image", image)
    assert (told.code, told.out) == (6, "")
    assert told.err == (
        "The emulated chip needs packages that are not here:"
        " run `pip install -e '.[emulator]'` in your clone of hardmute.\n"
    )


def test_sim_says_when_its_name_or_port_is_taken(start_sim: StartSim, cli: Cli) -> None:
    sim = start_sim("--tcp", 0)
    taken = cli("sim", "--id", sim.board)
    assert taken.code == 2
    assert f"Process {sim.process.pid} simulates a board {sim.board} already." in taken.err
    port = sim.device.rpartition(":")[2]
    taken = cli("sim", "--tcp", port)
    assert taken.code == 2
    assert f"TCP port {port} cannot be used" in taken.err
    assert cli("-d", sim.board, "status").code == 0


def test_sim_starts_with_its_settings(start_sim: StartSim, cli: Cli) -> None:
    sim = start_sim("--set", "mode=push_to_talk", "brightness=100", "--contacts", 3)
    told = cli("-d", sim.board, "config", "get", "--json").json["config"]
    assert (told["mode"], told["brightness"], told["max_live_s"]) == ("push_to_talk", 100, 3600)
    assert cli("-d", sim.board, "status", "--json").json["sense"] == [0, 0, 0]


def test_a_world_without_somebody_who_waits_goes_on(sim: Sim) -> None:
    """A client that goes away in the middle of its words takes nothing down."""
    from multiprocessing.connection import Client

    for data in (b"", b"no json", b"[", b"1", b'{"a":1}', b"[[1]]", b'["hold", "0.1"]'):
        with Client(sim.world) as connection:
            connection.send_bytes(data)
    assert sim.look()["power"] == "on"


def test_time_that_the_host_slept_does_not_pass_for_the_board(home: Path) -> None:
    assert home
    now_s = [1000.0]
    simulator = Simulator(board(), "5eed", tcp_port=None, clock=lambda: now_s[0])
    try:
        start_us = simulator.board.physics.now_us
        for elapsed_s, board_us in ((0.01, 10_000), (0.2, 210_000), (3_600, 5_210_000)):
            now_s[0] += elapsed_s
            simulator.step()
            assert abs(simulator.board.physics.now_us - start_us - board_us) <= 2_000
    finally:
        simulator.close()


def test_P5_an_answer_after_a_stall_has_the_time_of_the_answer(home: Path) -> None:
    """A simulator that got no core for a while; `verify` finds what it says fresh all the same."""
    assert home
    now_s = [1000.0]
    simulator = Simulator(board(), "5eed", tcp_port=None, clock=lambda: now_s[0])
    uptimes_ms: list[int] = []
    try:
        with serial.serial_for_url(simulator.entry.device) as port:
            for elapsed_s in (0.01, 2.0):
                now_s[0] += elapsed_s
                port.write(wire.frame({"id": 1, "op": "status"}))
                heard = b""
                while not heard.endswith(b"\n"):
                    simulator.step()
                    now_s[0] += 0.001
                    heard += port.read(port.in_waiting)
                uptimes_ms.append(wire.unframe(heard.rstrip(b"\n"), need_crc=True)["uptime_ms"])
    finally:
        simulator.close()
    assert 2_000 <= uptimes_ms[1] - uptimes_ms[0] <= 2_100


def test_registry_ignores_what_is_no_entry(home: Path) -> None:
    folder = home / "run" / "simulated"
    assert simulators.running() == []
    for name, content in (
        ("a.json", ""),
        ("b.json", "[]"),
        ("c.json", '{"board":"c"}'),
        ("d.json", '{"board":"d","device":"x","world":"y","pid":"no"}'),
    ):
        (folder / name).write_text(content)
    assert simulators.running() == []
    entry = simulators.SimulatedEntry("5eed", "device", "world", os.getpid())
    simulators.register(entry)
    assert simulators.running() == [entry]


def test_a_home_with_a_long_path_still_has_a_world(home: Path, monkeypatch: pytest.MonkeyPatch):
    """The path of a Unix socket is short; the world then lives elsewhere, and goes with it."""
    deep = home / ("deep" * 30)
    monkeypatch.setenv("HARDMUTE_HOME", str(deep))
    simulator = Simulator(board(), "5eed", tcp_port=0)
    world = Path(simulator.entry.world)
    assert world.exists()
    assert not world.is_relative_to(deep)
    simulator.close()
    assert not world.parent.exists()
