"""Storms of random button presses, and an oracle that says what each must do to the line.

For any engine: a storm is a list of edges in microseconds, the expectation a list of intervals in
which the relay's coil has to be energised. Nothing here is, or uses, the firmware's own code: the
oracle reads "The press" of docs/design.md, in exact time, where the firmware debounces in passes
of its superloop. Presses that docs/design.md leaves open to that are not generated, and refused by
the oracle:

* a stable contact, or a stable release, of 30 ms give or take `MARGIN_US`: the debounce;
* a press of 1.5 s give or take `MARGIN_US`: the longest that toggles.

An engine must therefore see an edge, and decide, within half of `MARGIN_US`.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

TOGGLE = "toggle"
PUSH_TO_TALK = "push_to_talk"

STABLE_US = 30_000
PRESS_MAX_US = 1_500_000
BOUNCE_MAX_US = 20_000
GAP_MIN_US = 40_000
MARGIN_US = 6_000
# What the generator keeps away, so that edges may be put on a grid.
_CLEAR_US = 8_000
GRID_MAX_US = 1_000

# How often each kind of press comes. A tap is shorter than the debounce, a hold longer than what
# toggles; the contact of a stumble opens for a moment in the middle.
KINDS = {"tap": 20, "press": 60, "stumble": 15, "hold": 5}


class Edge(NamedTuple):
    """The button's electrical level becomes ``down`` at ``time_us``."""

    time_us: int
    down: bool


class Connection(NamedTuple):
    """The coil is energised at ``from_us`` or as soon after as the engine comes by, and released
    at ``until_us``: at that very moment, because it is an edge of the button. None: not at all.
    """

    from_us: int
    until_us: int | None


class Storm(NamedTuple):
    """``edges``, alternating and starting with a down; all is quiet again at ``end_us``.

    ``kinds``: what was meant, press by press, for counting only.
    """

    mode: str
    edges: list[Edge]
    kinds: list[str]
    end_us: int


def storm(
    mode: str,
    count: int,
    random: Random,
    start_us: int = 0,
    grid_us: int = 1,
) -> Storm:
    """``count`` presses in a row, from ``start_us`` on.

    ``grid_us``: for an engine whose time is that coarse, every edge is at a multiple of it.
    Chatter that is finer is lost, and so may be a tap.
    """
    assert 1 <= grid_us <= GRID_MAX_US
    edges: list[Edge] = []
    kinds = random.choices(list(KINDS), list(KINDS.values()), k=count)
    now_us = start_us
    for kind in kinds:
        now_us += _gap_us(random)
        now_us -= now_us % grid_us
        times = _distinct([time_us - time_us % grid_us for time_us in _press(kind, random)])
        edges += [Edge(now_us + time_us, index % 2 == 0) for index, time_us in enumerate(times)]
        now_us += times[-1] if times else 0
    return Storm(mode, edges, kinds, now_us + 2 * STABLE_US)


def _gap_us(random: Random) -> int:
    """Most gaps are about as short as they may be."""
    if random.random() < 0.8:
        return random.randint(GAP_MIN_US, 2 * GAP_MIN_US)
    return random.randint(2 * GAP_MIN_US, 600_000)


def _press(kind: str, random: Random) -> list[int]:
    """When the contact toggles in one press, from its first edge (0) on: an even number of times,
    in order; two at one moment cancel each other.
    """
    if kind == "tap":
        length_us = random.randint(1, STABLE_US - _CLEAR_US)
        return [0, *_chatter(0, length_us, random), length_us]
    times = [0, *_chatter(0, random.randint(0, BOUNCE_MAX_US), random)]
    if kind == "stumble":
        times.append(times[-1] + _solid_us(random.randint(0, 300_000)))
        # Edges that cancel each other may join the two.
        open_us = random.randint(1, STABLE_US - _CLEAR_US)
        bounce_us = random.randint(0, min(BOUNCE_MAX_US, STABLE_US - _CLEAR_US - open_us))
        times.append(times[-1] + open_us)
        times += _chatter(times[-1], bounce_us, random)
    if kind == "hold":
        times.append(times[-1] + random.randint(PRESS_MAX_US + _CLEAR_US, 2 * PRESS_MAX_US))
    else:
        longest_us = 1_000_000 if random.random() < 0.05 else 150_000
        times.append(times[-1] + _solid_us(random.randint(0, longest_us)))
    times += _chatter(times[-1], random.randint(0, BOUNCE_MAX_US), random)
    return times


def _solid_us(extra_us: int) -> int:
    """The length of a contact that is stable beyond doubt."""
    return STABLE_US + _CLEAR_US + extra_us


def _chatter(start_us: int, length_us: int, random: Random) -> list[int]:
    """Up to ten edges, in pairs, within ``length_us`` after the one at ``start_us``."""
    pairs = min(random.randint(0, 5), length_us // 2)
    return sorted(start_us + random.randint(1, length_us) for _ in range(2 * pairs))


def _distinct(times: list[int]) -> list[int]:
    """No two edges at one moment: those that meet cancel each other."""
    kept: list[int] = []
    for time_us in times:
        if kept and kept[-1] == time_us:
            kept.pop()
        else:
            kept.append(time_us)
    return kept


class _Press(NamedTuple):
    """From the first edge down to the last edge up."""

    first_us: int
    last_us: int
    # The first stretch of contact that is stable; None if there is none.
    stable_us: tuple[int, int] | None


def expected(mode: str, edges: list[Edge]) -> list[Connection]:
    """What the line must do on a muted board without a fault: the oracle."""
    connections: list[Connection] = []
    live_since: int | None = None
    for press in _presses(edges):
        if mode == PUSH_TO_TALK:
            if press.stable_us is not None:
                down_us, up_us = press.stable_us
                connections.append(Connection(down_us + STABLE_US, up_us))
        elif live_since is not None:
            connections.append(Connection(live_since, press.first_us))
            live_since = None
        elif press.stable_us is not None and not _longer(
            press.last_us - press.first_us, PRESS_MAX_US
        ):
            live_since = press.last_us + STABLE_US
    if live_since is not None:
        connections.append(Connection(live_since, None))
    return connections


def _presses(edges: list[Edge]) -> Iterator[_Press]:
    """Cut the edges apart where the button was stably up."""
    first_us: int | None = None
    stable_us: tuple[int, int] | None = None
    for down, up, following in zip(edges[::2], edges[1::2], [*edges[2::2], None], strict=True):
        assert down.down, "a press starts with the contact closing"
        assert not up.down, "and ends with it open"
        if first_us is None:
            first_us, stable_us = down.time_us, None
        if _longer(up.time_us - down.time_us, STABLE_US) and stable_us is None:
            stable_us = (down.time_us, up.time_us)
        if following is None or _longer(following.time_us - up.time_us, STABLE_US):
            yield _Press(first_us, up.time_us, stable_us)
            first_us = None


def _longer(duration_us: int, than_us: int) -> bool:
    assert abs(duration_us - than_us) >= MARGIN_US, f"{duration_us} us is ambiguous"
    return duration_us > than_us


def disagreements(
    connections: list[Connection],
    coil: list[tuple[int, bool]],
    late_us: int,
    cut_late_us: int = 0,
    early_us: int = 0,
) -> list[str]:
    """What the coil did (each change, as time and energised) other than it had to.

    ``late_us``: how long the engine may take to see an edge and to decide, when it connects;
    ``cut_late_us``: how long to cut; ``early_us``: how much sooner it may connect, if its clock
    counts whole milliseconds.
    """
    seen = list(coil)
    for connection in connections:
        until_us = connection.until_us
        latest_us = connection.from_us + late_us
        if until_us is not None and until_us <= latest_us:
            # The next press may have come before the engine could connect, and then it does not.
            if not seen or seen[0][0] > until_us:
                continue
            latest_us = until_us
        wanted = [(True, connection.from_us - early_us, latest_us)]
        if until_us is not None:
            wanted.append((False, until_us, until_us + cut_late_us))
        for energised, first_us, last_us in wanted:
            want = f"{'connect' if energised else 'cut'} from {first_us} to {last_us} us"
            if not seen:
                return [f"{want}, but nothing"]
            at_us, was_energised = seen.pop(0)
            if was_energised != energised or not first_us <= at_us <= last_us:
                # What follows is shifted: one cause, one line.
                return [f"{want}, but {'connect' if was_energised else 'cut'} at {at_us} us"]
    return [f"{len(seen)} changes more than wanted"] if seen else []
