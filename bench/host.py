"""Figures of the host tool, beside a simulated board in another process."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from itertools import accumulate
from operator import truediv
from pathlib import Path

from bench.figure import Figure
from hardmute.cli.main import main
from hardmute.device import client
from hardmute.evidence.entries import GENESIS, Entry, canonical, encoded, entry_hash, nonce
from hardmute.evidence.observation import Observation
from hardmute.evidence.receipt import LARGEST
from hardmute.model.clock import iso_time
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.store import keys, readers
from hardmute.store.log import Log
from muteboard import attest, journal

_BOARD = "be9c4be9c4"
_STARTS = 30
_ROUND_TRIPS = 200
_ROWS = 1_000_000
_RECORDS = 50_000
_APPENDS = 300
# What verifying a record took of bare HMAC over the same bytes, and of time on a quiet machine, at
# commit 2909e05, which had a second path for records that are as those before.
_BEFORE_RATIO = 0.36
_BEFORE_US = 3.3
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_MONTH_MS = 30 * 24 * _HOUR_MS
_PRESSES_AN_HOUR = 14


# The start of any command; without `micropython`, a package for tests that takes long.
START = (
    "import sys; sys.modules['micropython'] = None;"
    " from hardmute.cli.main import main; sys.exit(main())"
)


def cold_start() -> list[Figure]:
    """User CPU time of `hardmute status --json`, beside `python -c "import serial"`."""
    floor = "import argparse, hashlib, json, serial, sqlite3"
    with _simulated_board() as device:
        figures = ratios({f'python -c "{floor}"': (floor,), "--version": (START, "--version")})
        port = (START, "-d", device, "status", "--json")
        figures += ratios({"hardmute status --json of a port, not paired": port}, "≤ 2.0")
        for words in (["power-off"], ["power-on", "--hold", "3.3"]):
            _quiet("world", _BOARD, *words)
        _quiet("-d", _BOARD, "pair", "--verify-key", f"{os.environ['HARDMUTE_HOME']}/key.json")
        for words in (["power-off"], ["power-on"]):
            _quiet("world", _BOARD, *words)
        _quiet("-d", _BOARD, "name", "Desk")
        label = (START, "-d", "Desk", "status", "--json")
        figures += ratios({"hardmute status --json of a label, paired": label}, "≤ 2.8")
    return figures


def ratios(programs: dict[str, tuple[str, ...]], aim: str | None = None) -> list[Figure]:
    """The user CPU time of each, and how many times that of `import serial` it is."""
    runs = [("import serial",), *programs.values()]
    # The first round compiles.
    rounds = [list(map(_user_cpu, runs)) for _ in range(_STARTS + 1)][1:]
    bare, *taken = zip(*rounds, strict=True)
    figures = [Figure('python -c "import serial"', 1000 * min(bare), "ms, user CPU")]
    for name, times in zip(programs, taken, strict=True):
        ratio = statistics.median(map(truediv, times, bare))
        figures.append(Figure(name, 1000 * min(times), "ms, user CPU"))
        figures.append(Figure("  ratio, median", ratio, "×", aim))
    return figures


def _user_cpu(program: Sequence[str]) -> float:
    """What a Python with this program and these words takes, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    _spawn(sys.executable, "-c", *program)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def round_trip() -> list[Figure]:
    """Round trip of a status request, the session being open."""
    with _simulated_board() as device, client.connect(device, 3.0) as (session, _):
        times = []
        for _ in range(_ROUND_TRIPS):
            start = time.perf_counter()
            session.status()
            times.append(time.perf_counter() - start)
    return [
        Figure("status round trip, median", 1000 * statistics.median(times), "ms"),
        Figure("status round trip, worst of 200", 1000 * max(times), "ms"),
    ]


def muting() -> list[Figure]:
    """`hardmute mute`, a process each time: alone, and while `watch` has the port."""
    command = [str(Path(sys.executable).with_name("hardmute")), "-d", _BOARD]
    with _simulated_board():
        alone = _median(lambda: _spawn(*command, "mute"))
        with subprocess.Popen([*command, "watch"], stdout=subprocess.PIPE) as watcher:
            assert watcher.stdout is not None
            watcher.stdout.readline()
            watched = _median(lambda: _spawn(*command, "mute"))
            watcher.terminate()
    return [
        Figure("hardmute mute, median", 1000 * alone, "ms"),
        Figure("  while `watch` has the port", 1000 * watched, "ms"),
        Figure("  what the handover takes", 1000 * (watched - alone), "ms", "< 200"),
    ]


def _median(action: Callable[[], object]) -> float:
    return statistics.median(_best(action, 1) for _ in range(_STARTS))


def log_rows() -> list[Figure]:
    """The log at a million rows: append, open, and a day out of two years."""
    with own_home() as home:
        file = home / "log.sqlite3"
        now_ms = time.time_ns() // 1_000_000
        _fill(file, now_ms)
        opened = _best(lambda: Log(file).close())
        log = Log(file)
        start = time.perf_counter()
        for index in range(_APPENDS):
            log.add(_observation(now_ms + index))
        appended = (time.perf_counter() - start) / _APPENDS
        log.close()
        day = _best(lambda: _quiet("log", "--since", "1d", "--json"), 5)
        size = file.stat().st_size / _ROWS
    return [
        Figure("open a log of 1 million rows", 1000 * opened, "ms", "O(1)"),
        Figure("append one row, durably", 1000 * appended, "ms"),
        Figure("log --since 1d, of 1 million rows", day, "s", "< 0.2"),
        Figure("log size", size, "bytes/row"),
    ]


# In a process of its own: time and CPU time to verify a log, and the memory of all processes.
_VERIFY = """
import json, re, resource, sys, time
from pathlib import Path
from hardmute.store import readers
from hardmute.store.keys import load_verify_keys
from hardmute.store.log import Log
file, key, most = sys.argv[1:]
readers.MOST = int(most)
secrets, log = load_verify_keys([Path(key)]), Log(Path(file))
start, used = time.perf_counter(), time.process_time()
report = readers.verified(log, secrets).report()
taken, used = time.perf_counter() - start, time.process_time() - used
assert not report.findings and report.branches[0].macs == report.entries
others = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
memory = int(peak[1]) + (min(readers.processors(), readers.MOST) - 1) * others.ru_maxrss
print(taken, used + others.ru_utime + others.ru_stime, memory / 1024)
"""
_ROUNDS = 3


def verification() -> list[Figure]:
    """A log of a million records of a paired board, verified with its key: wall and CPU time."""
    with own_home() as home:
        secrets, records = _records(_ROWS)
        key, key_file = secrets[_BOARD, 1], home / "key.json"
        keys.save_verify_key(key_file, _BOARD, 1, key)
        log = Log(home / "log.sqlite3")
        hashed = _fill_records(log, records)
        log.close()
        few = hashed[:_RECORDS]
        # Of bare HMAC: time, and CPU time.
        bare: list[list[float]] = []
        told: dict[int, list[list[float]]] = {1: [], readers.MOST: []}
        for _ in range(_ROUNDS):
            for most, runs in told.items():
                used = time.process_time()
                taken = _best(lambda: [hmac.new(key, data, "sha256").digest() for data in few], 1)
                bare.append([taken, time.process_time() - used])
                command = [sys.executable, "-c", _VERIFY, str(log.file), str(key_file), str(most)]
                ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                runs.append(list(map(float, ran.stdout.split())))
    count = len(records)
    bare_us, bare_cpu_us = (min(one) / len(few) * 1e6 for one in zip(*bare, strict=True))
    alone, together = (list(map(min, zip(*told[most], strict=True))) for most in told)
    wall_us, cpu_us = (seconds / count * 1e6 for seconds in together[:2])
    ratio = bare_us / wall_us
    # As if each processor had nothing else to do.
    cpu_ratio = bare_cpu_us / cpu_us * min(readers.processors(), readers.MOST)
    return [
        Figure("verify a million records with the key", together[0], "s"),
        Figure("  processors", readers.processors(), ""),
        Figure("  one record", wall_us, "µs"),
        Figure("    CPU time, of all processes", cpu_us, "µs"),
        Figure("    CPU time in one process", alone[1] / count * 1e6, "µs"),
        Figure("    before there was one path, on a quiet machine", _BEFORE_US, "µs"),
        Figure("  ratio to bare hmac over the same bytes", ratio, "×", "≥ 0.72"),
        Figure("    before there was one path", _BEFORE_RATIO, "×"),
        Figure("    times what it was before", ratio / _BEFORE_RATIO, "×", "≥ 2"),
        Figure("    the same by CPU time", cpu_ratio / _BEFORE_RATIO, "×", "≥ 2"),
        Figure("  memory, of all processes", together[2], "MB", "≤ 200"),
    ]


def storing() -> list[Figure]:
    """A log of 50,000 records of a paired board: store, prune."""
    with own_home() as home:
        _, records = _records(_RECORDS)
        log = Log(home / "log.sqlite3")
        start = time.perf_counter()
        with log.transaction():
            for record in records:
                log.append("record", _BOARD, {"branch": 1, "record": encoded(record)})
        stored = time.perf_counter() - start
        # Closing folds the write-ahead log in.
        log.close()
        size = log.file.stat().st_size / len(records)
        log = Log(log.file)
        start = time.perf_counter()
        log.prune(time.time_ns())
        pruned = time.perf_counter() - start
        log.close()
    return [
        Figure("store records of a journal", len(records) / stored, "records/s"),
        Figure("log size, records", size, "bytes/row"),
        Figure("prune them", pruned, "s"),
    ]


def _fill_records(log: Log, records: list[bytes]) -> list[bytes]:
    """Store them by SQL. Returns for each of the first, in one piece, all that a verifier of the
    log must hash.

    The entry's hash covers the hash before it and the entry's text, the link the record's 64
    bytes, and the MAC 48 of them; not in it is what HMAC itself adds.
    """
    hashed: list[bytes] = []
    before = GENESIS
    now_ms = time.time_ns() // 1_000_000
    database = sqlite3.connect(log.file)
    with database:
        for row, record in enumerate(records, 1):
            text = canonical({"branch": 1, "record": encoded(record)})
            digest = entry_hash(before, row, now_ms + row, "record", _BOARD, text)
            values = row, now_ms + row, "record", _BOARD, text, digest
            database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", values)
            if row <= _RECORDS:
                entry = Entry(*values[:4], json.loads(text), digest)
                fields = entry._asdict()
                del fields["hash"]
                signed = record[: -attest.MAC]
                hashed.append(before + canonical(fields).encode() + record + signed)
            before = digest
    database.close()
    return hashed


def proving() -> list[Figure]:
    """`hardmute prove` over a month with 10,000 presses, in a log of 1 million entries."""
    with own_home() as home:
        file = home / "log.sqlite3"
        now_ms = time.time_ns() // 1_000_000
        start_ms = now_ms - _MONTH_MS
        _fill(file, start_ms)
        key_file = home / "key.json"
        secret = _fill_month(file, start_ms)
        keys.save_verify_key(key_file, _BOARD, 1, secret)
        words = ["prove", "--from", iso_time(start_ms + _MINUTE_MS), "--to", iso_time(now_ms)]
        words += ["-d", _BOARD]
        told = json.loads(_quiet(*words, "--key", str(key_file), "--json"))
        assert told["verdict"] == "live"
        assert told["signatures_checked"] == told["signatures"] > 20_000
        unsigned = _best(lambda: _quiet(*words), 5)
        signed = _best(lambda: _quiet(*words, "--key", str(key_file)), 5)
        log = Log(file)
        rows, _ = log.head()
        log.close()
    return [
        Figure("entries in the log", rows, "entries"),
        Figure("prove a month of 20,000 records", unsigned, "s", "< 1"),
        Figure("  with the verify key", signed, "s", "< 1"),
    ]


_FILLERS = {
    "lists": b"[],",
    "objects": b'{"a":1},',
    "digits": b"123456789,",
    "long numbers": b"9" * 4300 + b",",
    "strings": b'"a",',
    "escapes": b'"\\u0000\\\\",',
}
_ENTRY = {
    "at_ms": 1_764_000_017_004,
    "board": _BOARD,
    "body": {"branch": 1, "record": encoded(bytes(journal.SIZE))},
    "hash": "00" * 32,
    "kind": "record",
}
# In a process of its own: what it took to read a file and refuse it, beyond what Python takes.
_REFUSE = """
import contextlib, re, sys, time
from pathlib import Path
from hardmute.evidence import receipt
from hardmute.model import errors
from hardmute.store import receipts
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before, start = peak(), time.process_time()
with contextlib.suppress(errors.EvidenceError):
    receipt.check_receipt(receipts.read_receipt(Path(sys.argv[1])), {})
print(time.process_time() - start, peak() - before)
"""


def receipts() -> list[Figure]:
    """Receipts as long as they may be, which somebody has filled with what takes long to read."""
    with own_home() as home:
        file = home / "receipt.json"
        taken = {}
        for name, unit in _FILLERS.items():
            file.write_bytes(_receipt_of([unit] * (LARGEST // len(unit))))
            taken[name] = _refused(file)
        entries = (canonical({**_ENTRY, "row": row}) for row in range(1, LARGEST // 262))
        file.write_bytes(_receipt_of([f"{entry},".encode() for entry in entries]))
        dense = _refused(file)
    seconds, memory = (max(taken.values(), key=lambda one: one[at])[at] for at in (0, 1))
    return [
        Figure("refuse a receipt of 24 MiB, worst of six", 1000 * seconds, "ms/MB", "≤ 60"),
        Figure("  memory", memory, "× the file", "≤ 4"),
        Figure("  of entries like honest ones", 1000 * dense[0], "ms/MB"),
        Figure("    memory", dense[1], "× the file", "≤ 4"),
    ]


def _receipt_of(entries: list[bytes]) -> bytes:
    """A receipt of the largest size, in the right form, with as many of these ``entries`` as fit,
    each with a comma after it.
    """
    fields = {
        "board": _BOARD,
        "counted": [],
        "entries": [0],
        "from_ms": 1_764_000_000_000,
        "hardmute": "receipt",
        "hashes": {},
        "intervals": [],
        "key_ids": {},
        "label": None,
        "macs": {},
        "made_by": "",
        "made_ms": 0,
        "simulated": False,
        "title": None,
        "to_ms": 1_764_000_060_000,
        "verdict": "muted",
        "version": 2,
    }
    body = canonical(fields).encode()
    room = LARGEST - len(body) - len(canonical({"sha256": "00" * 32})) - 1
    count = sum(end <= room for end in accumulate(map(len, entries)))
    body = body.replace(b"[0]", b"[%s]" % b"".join(entries[:count]).removesuffix(b","), 1)
    digest = hashlib.sha256(body).hexdigest().encode()
    before, after = body.split(b',"simulated"')
    return b'%s,"sha256":"%s","simulated"%s' % (before, digest, after)


def _refused(file: Path) -> tuple[float, float]:
    """What it takes to refuse ``file``: seconds a MB, and its size in memory as a multiple."""
    command = [sys.executable, "-c", _REFUSE, str(file)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, kib = map(float, told.split())
    size = file.stat().st_size
    return seconds / size * 1e6, kib * 1024 / size


def _fill_month(file: Path, start_ms: int) -> bytes:
    """A month of a paired board: a contact an hour, and 14 times live between two."""
    now = {"ms": 0}
    board = SimulatedBoard(Physics(1, random.Random(1)), bytes.fromhex(_BOARD), None)
    kept = journal.Journal(board)
    theirs = bytes(attest.KEY)
    kept.boot = 1
    ours = kept.pair(0, theirs)
    assert ours is not None
    log = Log(file, clock=lambda: start_ms + now["ms"])
    log.add(_observation(start_ms))
    hours = _MONTH_MS // _HOUR_MS
    stored = 0
    with log.transaction():
        for hour in range(hours + 1):
            for index in range(2 * _PRESSES_AN_HOUR if hour else 0):
                live = index % 2 == 0
                at_ms = (hour - 1) * _HOUR_MS + (index + 1) * _MINUTE_MS
                state = 1 | journal.COMMANDED if live else 0
                event = journal.UNMUTE if live else journal.MUTED
                kept.expire(at_ms)
                assert kept.record(at_ms, event, 0, index, 1, state, 0)
                assert kept.flush(at_ms)
            now["ms"] = hour * _HOUR_MS
            stored = _contact(log, kept, stored, now["ms"], start_ms + now["ms"])
    log.close()
    return attest.secret(theirs, ours, board.unique_id())


def _contact(log: Log, kept: journal.Journal, stored: int, uptime_ms: int, at_ms: int) -> int:
    """Store what is new, and an attestation. Returns how many records are stored."""
    while kept.seq > stored:
        _, data = kept.page(stored + 1)
        for at in range(0, len(data), journal.SIZE):
            record = encoded(data[at : at + journal.SIZE])
            log.append("record", _BOARD, {"branch": 1, "record": record})
            stored += 1
    row, log_hash = log.head()
    salt = bytes(attest.MAC)
    statement = {
        "board": _BOARD,
        "boot": 1,
        "cause": "button",
        "changes": kept.seq,
        "command": "cut",
        "epoch": kept.epoch,
        "head": kept.head.hex(),
        "live_ms": 0,
        "nonce": nonce(log_hash, salt).hex(),
        "pairing": kept.pairing,
        "sense": [0],
        "seq": kept.seq,
        "service": "none",
        "since_ms": 0,
        "state": "muted",
        "uptime_ms": uptime_ms,
    }
    mac, journal_mac = kept.sign(canonical(statement).encode())
    body = {
        "branch": 1,
        "statement": statement,
        "mac": mac.hex(),
        "journal_mac": journal_mac.hex(),
        "salt": salt.hex(),
        "log_row": row,
        "sent_ms": at_ms,
        "received_ms": at_ms,
        "elapsed_us": 0,
        "anchor_us": uptime_ms * 1000,
        "host_boot": "one boot",
        "checked": True,
    }
    log.append("attestation", _BOARD, body)
    return stored


def _records(count: int) -> tuple[dict[tuple[str, int], bytes], list[bytes]]:
    """A journal of so many records, fetched before the board drops the first, and its key."""
    board = SimulatedBoard(Physics(1, random.Random(1)), bytes.fromhex(_BOARD), None)
    kept = journal.Journal(board)
    theirs = bytes(attest.KEY)
    ours = kept.pair(0, theirs)
    assert ours is not None
    secret = attest.secret(theirs, ours, board.unique_id())
    records: list[bytes] = []
    while len(records) < count:
        for event in (journal.UNMUTE, journal.MUTED) * 500:
            kept.record(kept.seq, event, 0, 0, 1, 0, 0)
            assert kept.flush(kept.seq)
        while kept.seq > len(records):
            _, data = kept.page(len(records) + 1)
            records += [data[at : at + journal.SIZE] for at in range(0, len(data), journal.SIZE)]
    return {(_BOARD, 1): secret}, records


def _observation(at_ms: int) -> Observation:
    return Observation(
        at_ms=at_ms,
        board=_BOARD,
        device="/dev/ttyACM0",
        simulated=False,
        source="watch",
        verdict="muted",
        proof="sensed",
        reason=None,
        state="muted",
        command="cut",
        sense=(0,),
        cause="button",
        since_ms=1000,
        uptime_ms=at_ms % 1_000_000_000,
        boot=1,
        changes=1,
        live_ms=0,
        faults=(),
        warnings=(),
        service="none",
    )


def _fill(file: Path, now_ms: int) -> None:
    """A row a minute until now, by SQL: this is the log's own schema, not its own speed."""
    log = Log(file)
    log.add(_observation(now_ms - (_ROWS + 1) * _MINUTE_MS))
    log.close()
    columns = "kind, board, body, hash"
    database = sqlite3.connect(file)
    with database:
        database.execute(
            f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {_ROWS})"
            f" INSERT INTO entry (at_ms, {columns})"
            f" SELECT at_ms + i * {_MINUTE_MS}, {columns} FROM n, entry WHERE row = 1"
        )
    database.close()


def _best(action: Callable[[], object], times: int = _STARTS) -> float:
    """The shortest of several runs, in seconds: what the machine can do when left alone."""
    runs = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        runs.append(time.perf_counter() - start)
    return min(runs)


def _spawn(*command: str) -> None:
    # Users have compiled modules; so does this, even where the environment forbids writing them.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def _quiet(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as told:
        main(list(arguments))
    return told.getvalue()


@contextlib.contextmanager
def own_home() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="hardmute-bench-") as home:
        os.environ["HARDMUTE_HOME"] = home
        yield Path(home)


@contextlib.contextmanager
def _simulated_board() -> Generator[str]:
    with own_home():
        process = subprocess.Popen(
            [sys.executable, "-m", "hardmute", "sim", "--id", _BOARD],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["device"]
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
