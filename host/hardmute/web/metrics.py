"""Metrics of all boards for Prometheus: docs/metrics.md. The state `muted` alone means "off"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hardmute.evidence.interval import GRAVEST
from hardmute.evidence.observation import Observation
from hardmute.model.answers import VERDICTS, Cause, Verdict
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.words import printable
from hardmute.monitor.feed import Told
from hardmute.monitor.monitor import Monitor

# All boards are looked at so often, in seconds.
LOOK_S = 5.0
# What was so at two looks further apart, of which no board says more, was not known between them:
# a board is unknown 3 s after it was heard.
_GAP_US = 8_000_000
# A port or an address may be as long as it likes.
_LONGEST_NAME = 64


class _Family(NamedTuple):
    name: str
    what: str
    labels: tuple[str, ...] = ("board",)
    is_counter: bool = False

    def metric(self, samples: Sequence[_Sample] = ()) -> Metric:
        made = (CounterMetricFamily if self.is_counter else GaugeMetricFamily)(
            self.name, self.what, labels=self.labels
        )
        for labels, value in samples:
            made.add_metric(labels, value)
        return made


# The labels' values, and the number.
_Sample = tuple[tuple[str, ...], float]
FAMILIES = (
    _Family("hardmute_timestamp_seconds", "When the monitor said all of this, in Unix time.", ()),
    _Family("hardmute_board_info", "1. What the board is called.", ("board", "name", "simulated")),
    _Family("hardmute_state", "1 for what the board is, 0 for the others.", ("board", "state")),
    _Family("hardmute_observed_timestamp_seconds", "When the board was heard, in Unix time."),
    _Family("hardmute_proof_age_seconds", "How old the proof of it is.", ("board", "proof")),
    _Family("hardmute_live_seconds", "How long it was live.", ("board", "cause"), True),
    _Family("hardmute_fault_seconds", "How long it was at fault.", is_counter=True),
    _Family("hardmute_unknown_seconds", "How long its state was unknown.", is_counter=True),
    _Family("hardmute_incidents", "How often its evidence did not hold.", is_counter=True),
)


class _Given(Collector):
    """These metrics."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


class _Tally:
    """How long one board was in which state. ``mark_us``: up to when, by the clock nobody sets."""

    def __init__(self) -> None:
        self.mark_us: int | None = None
        self.verdict: Verdict = "unknown"
        self.cause: Cause | None = None
        # So that each increase is one of a series that is there: only the button connects.
        self.live_s: dict[Cause, float] = {"button": 0.0}
        self.fault_s = 0.0
        self.unknown_s = 0.0
        self.heard_ms: int | None = None
        self.incidents = 0
        self._incident: str | None = None

    def note(self, known: Observation | None, incident: str | None, now_us: int) -> None:
        """What is known at ``now_us``; None: nobody has asked the board yet."""
        if incident not in (None, self._incident):
            self.incidents += 1
        self._incident = incident
        if known is None or known.verdict == "unknown":
            # Since it was heard last.
            self._reach(now_us)
            self.verdict, self.cause = "unknown", None
            return
        heard_us = known.run_us or 0
        passed_us = max(0, heard_us - (heard_us if self.mark_us is None else self.mark_us))
        since_us = min(passed_us, 1000 * (known.since_ms or 0))
        before = self.verdict if passed_us - since_us <= _GAP_US else "unknown"
        self._reach(heard_us - since_us, before)
        self.verdict, self.cause, self.heard_ms = known.verdict, known.cause, known.at_ms
        self._reach(heard_us, known.verdict)

    def _reach(self, until_us: int, verdict: Verdict = "unknown") -> None:
        """Up to ``until_us`` it was so."""
        if self.mark_us is None:
            self.mark_us = until_us
        passed_s = max(0, until_us - self.mark_us) / 1e6
        self.mark_us = max(until_us, self.mark_us)
        if verdict == "live":
            cause = self.cause or "button"
            self.live_s[cause] = self.live_s.get(cause, 0.0) + passed_s
        elif verdict == "fault":
            self.fault_s += passed_s
        elif verdict == "unknown":
            self.unknown_s += passed_s


class _Now(NamedTuple):
    """What is known of one board now."""

    name: str
    known: Observation | None
    incident: str | None


class Metrics(Collector):
    """What Prometheus is told of the boards of ``monitor``. It asks the monitor at each scrape.

    It belongs to the monitor's event loop. Who serves it calls `look` each `LOOK_S`, and `note` at
    each change.
    """

    def __init__(self, monitor: Monitor, clock: HostClock = SYSTEM) -> None:
        self._monitor = monitor
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}
        # The beginning of each line, for it takes the most time to make.
        self._heads: dict[tuple[int, tuple[str, ...]], str] = {}
        self._titles = [generate_latest(_Given([one.metric()])).decode() for one in FAMILIES]

    def note(self, told: Told) -> None:
        """What the feed tells of one board."""
        if not told.is_gone:
            self._note(_bounded(told.board), told.observation, told.incident)

    def look(self) -> None:
        """Look at all boards, so that their times are reckoned up to now."""
        self._boards()

    def collect(self) -> Iterator[Metric]:
        return (
            one.metric(samples) for one, samples in zip(FAMILIES, self._samples(), strict=True)
        )

    def text(self, *, is_over: bool = False) -> bytes:
        """What `generate_latest` makes of it, in a fifth of its time.

        ``is_over``: the monitor ends, and so the state of each board is unknown.
        """
        found = self._samples(is_over=is_over)
        fresh = [
            [one for one in samples if (at, one[0]) not in self._heads]
            for at, samples in enumerate(found)
        ]
        if any(fresh):
            made = [one.metric(samples) for one, samples in zip(FAMILIES, fresh, strict=True)]
            lines = generate_latest(_Given(made)).decode().split("\n")
            heads = [line.rpartition(" ")[0] for line in lines if line and line[0] != "#"]
            keys = [(at, one[0]) for at, samples in enumerate(fresh) for one in samples]
            self._heads |= dict(zip(keys, heads, strict=True))
        # Those of boards that are gone are not kept.
        heads_now: dict[tuple[int, tuple[str, ...]], str] = {}
        said: list[str] = []
        for at, samples in enumerate(found):
            said.append(self._titles[at])
            for labels, value in samples:
                key = (at, labels)
                head = heads_now[key] = self._heads[key]
                said.append(f"{head} {value!r}\n")
        self._heads = heads_now
        return "".join(said).encode()

    def _note(self, board: str, known: Observation | None, incident: str | None) -> _Tally:
        tally = self._tallies.setdefault(board, _Tally())
        tally.note(known, incident, self._clock.run_us())
        return tally

    def _boards(self) -> dict[str, _Now]:
        """What is known of each board, by its id; by how it was named before it was met."""
        found: dict[str, _Now] = {}
        for station in self._monitor.stations:
            board = _bounded(station.board or station.named)
            now = _Now(_bounded(station.label or ""), station.known, station.incident)
            # Of one board by two names the worse counts.
            if board not in found or _rank(now) < _rank(found[board]):
                found[board] = now
        for board, now in found.items():
            self._note(board, now.known, now.incident)
        self._tallies = {board: self._tallies[board] for board in found}
        return found

    def _samples(self, *, is_over: bool = False) -> list[list[_Sample]]:
        """Those of each of `FAMILIES`, in their order."""
        boards = self._boards()
        now = self._clock.now()
        stamp, info, states, observed, proofs, live, fault, unknown, incidents = (
            list[_Sample]() for _ in FAMILIES
        )
        stamp.append(((), now.wall_ms / 1000))
        for board, (name, known, _) in boards.items():
            tally, only = self._tallies[board], (board,)
            verdict = "unknown" if known is None or is_over else known.verdict
            simulated = str(known is not None and known.simulated).lower()
            info.append(((board, name, simulated), 1.0))
            states += [((board, state), float(state == verdict)) for state in VERDICTS]
            if tally.heard_ms is not None:
                observed.append((only, tally.heard_ms / 1000))
            if known is not None and verdict != "unknown" and known.proof is not None:
                age_s = max(0, now.run_us - (known.run_us or 0)) / 1e6
                proofs.append(((board, known.proof), age_s))
            live += [((board, cause), seconds) for cause, seconds in tally.live_s.items()]
            fault.append((only, tally.fault_s))
            unknown.append((only, tally.unknown_s))
            incidents.append((only, float(tally.incidents)))
        return [stamp, info, states, observed, proofs, live, fault, unknown, incidents]


def _bounded(name: str) -> str:
    return printable(name[:_LONGEST_NAME])


def _rank(now: _Now) -> int:
    return GRAVEST.index("unknown" if now.known is None else now.known.verdict)
