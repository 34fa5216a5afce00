#!/usr/bin/env bash
# SQLite: a closed connection leaves its file descriptor open, in WAL mode as long as another
# connection of the process lives.
#
# Expected: close() returns without an error, so the connection's files are closed. A program that
#   opens a connection for each request, and closes it, needs one descriptor.
# Instead: POSIX drops all locks of a process on a file as soon as the process closes any descriptor
#   of that file. So SQLite keeps the descriptor for later while another connection of the process
#   holds a lock on the file. In WAL mode each connection holds a lock from its first read until its
#   close. There the process keeps as many descriptors as it had connections at its busiest moment,
#   and read-only connections count apart, since SQLite uses a kept descriptor again only for the
#   same mode.
# Hurts: a service that keeps one connection for writing and opens others to answer requests. One
#   burst of requests takes descriptors for the life of the service, up to "Too many open files".
#   A test that counts descriptors to find a leak finds one where every connection has been closed.
#   If the file is deleted or replaced, its disk space stays in use.
# Remedy: bound the number of connections at a time, and use one mode for all of them.
# Source: sqlite.org, "How To Corrupt An SQLite Database File", section 2.2 (POSIX locks);
#   src/os_unix.c, setPendingFd and findReusableFd; mattn/go-sqlite3 issue 236. The page of
#   sqlite3_close() names no such delay.
# Run: SQLite 3.51.1 of pysqlite3-binary 0.5.4.post2 (from PyPI), Linux, 2026-11-30. (The same with
#   SQLite 3.40.1.)
# Needs: Linux (amd64), python3 with venv (run with 3.11).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check pysqlite3-binary==0.5.4.post2

cat >run.py <<'PYTHON'
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite3

BURST = 20


def descriptors(file):
    """How many descriptors of this process are open for the file."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        # The descriptor of the listing itself is gone by now.
        with suppress(FileNotFoundError):
            count += entry.readlink() == file
    return count


def burst(file, mode):
    """Open connections at the same time, read with each, close all."""
    connections = [sqlite3.connect(f"file:{file}?mode={mode}", uri=True) for _ in range(BURST)]
    for connection in connections:
        connection.execute("SELECT * FROM event").fetchall()
    for connection in connections:
        connection.close()


def measure(journal):
    """Open descriptors after each step, in the given journal mode."""
    file = Path(f"{journal}.db").resolve()
    kept = sqlite3.connect(str(file), isolation_level=None)
    kept.execute(f"PRAGMA journal_mode={journal}")
    kept.execute("CREATE TABLE event (text)")
    seen = {"one connection": descriptors(file)}
    burst(file, "rw")
    seen[f"{BURST} more, closed"] = descriptors(file)
    burst(file, "rw")
    seen["the same again"] = descriptors(file)
    burst(file, "ro")
    seen[f"{BURST} read-only, closed"] = descriptors(file)
    kept.execute("BEGIN IMMEDIATE")
    burst(file, "rw")
    seen[f"{BURST} in a transaction of the first, closed"] = descriptors(file)
    kept.execute("COMMIT")
    seen["end of the transaction"] = descriptors(file)
    kept.close()
    seen["the first closed"] = descriptors(file)
    return seen


print("SQLite", sqlite3.sqlite_version, "pysqlite3-binary", version("pysqlite3-binary"))
rollback, wal = measure("delete"), measure("wal")
print(f"{'open descriptors of the database':45} rollback journal   WAL")
for step, count in rollback.items():
    print(f"{step:45} {count:16} {wal[step]:5}")
assert list(rollback.values()) == [1, 1, 1, 1, 1 + BURST, 1, 0], rollback
assert list(wal.values()) == [1, *[1 + BURST] * 2, *[1 + 2 * BURST] * 3, 0], wal
PYTHON
venv/bin/python run.py
echo "As described."
