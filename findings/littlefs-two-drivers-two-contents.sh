#!/usr/bin/env bash
# littlefs: after an upgrade of the disk format, old and new drivers see different files.
#
# Expected: littlefs 2.6 raised the disk format from 2.0 to 2.1. A newer driver upgrades a disk
#   at its first write, and its authors say that older drivers cannot mount the disk from then
#   on. So an older driver that meets such a disk reports an error, as it does with a disk that a
#   newer driver formatted.
# Instead: the older driver mounts the upgraded disk without an error and shows the files as they
#   were *before* the upgrade. The old driver does not understand the new half of the superblock
#   pair, takes it for a write that a power cut has torn, and falls back on the old half. It can
#   even write: its file is there when it mounts again, and the newer driver never sees that
#   file. Each driver now has a history of its own.
# Hurts: a board whose firmware was updated and then set back, or whose boot loader or host tool
#   has the other littlefs, silently misses all that was written in between: a journal, a key, a
#   counter. For a log that must show tampering, this innocent downgrade looks like a rollback by
#   an attacker.
# Remedy: a host tool writes with the disk version that the board has (`disk_version`).
# Source: micropython/micropython issue 16115, comment of 2024-11-13 (MicroPython 1.18 and 1.23);
#   littlefs-project/littlefs issue 825 and pull request 839 ("cannot mount").
# Run: littlefs-python 0.4.0 (littlefs 2.4, disk 2.0) and 0.19.0 (littlefs 2.11, disk 2.1) from
#   PyPI, 2026-11-30.
# Needs: Python 3.11 with venv (0.4.0 has no built package for later versions).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
for version in 0.4.0 0.19.0; do
  python3 -m venv "$version"
  "$version/bin/pip" install -qq --disable-pip-version-check "littlefs-python==$version"
done

cat >disk.py <<'PYTHON'
"""disk.py IMAGE [format] [NAME=TEXT ...]: mounts, writes, and prints all files as JSON."""
import json
import sys
from pathlib import Path

from littlefs import LittleFS, LittleFSError, lfs
from littlefs.context import UserContext

image, *todo = sys.argv[1:]
BLOCK, BLOCKS = 4096, 64
SIZES = {"read_size": 32, "prog_size": 256}  # as MicroPython mounts the flash of a Pico
context = UserContext(BLOCK * BLOCKS)
fresh = todo[:1] == ["format"]
if not fresh:
    context.buffer = bytearray(Path(image).read_bytes())
disk = LittleFS(context=context, block_size=BLOCK, block_count=BLOCKS, mount=False, **SIZES)
try:
    if fresh:
        disk.format()
    disk.mount()
    for entry in todo[fresh:]:
        name, text = entry.split("=")
        with disk.open(name, "w") as file:
            file.write(text)
    found = {name: disk.open(name).read() for name in sorted(disk.listdir("/"))}
    lfs.unmount(disk.fs)
except LittleFSError as error:
    print(f"error {error.code}")
else:
    Path(image).write_bytes(bytes(context.buffer))
    print(json.dumps(found))
PYTHON

# step OUTPUT VERSION IMAGE ...: one run of disk.py, which has to print this.
step() {
  local wanted=$1 version=$2 seen
  shift 2
  seen=$("$version/bin/python" disk.py "$@")
  printf '%-7s %-38s %s\n' "$version" "$*" "$seen"
  [[ $seen == "$wanted" ]] || { echo "not as described; expected: $wanted"; exit 1; }
}

old=0.4.0 new=0.19.0
for version in $old $new; do
  "$version/bin/python" - "$version" <<'PYTHON'
import sys

from littlefs import lfs

print(sys.argv[1], "littlefs", lfs.__LFS_VERSION__, "disk format", lfs.__LFS_DISK_VERSION__)
PYTHON
done
echo "== formatted by the newer driver: the older one refuses (-84: LFS_ERR_CORRUPT)"
step '{"journal": "first"}' $new new.img format journal=first
step 'error -84' $old new.img
echo "== formatted by the older driver, then written by the newer one: two contents"
step '{"journal": "first"}' $old up.img format journal=first
step '{"journal": "first, second", "key": "k"}' $new up.img "journal=first, second" key=k
step '{"journal": "first"}' $old up.img
step '{"journal": "first", "note": "n"}' $old up.img note=n
step '{"journal": "first, second", "key": "k"}' $new up.img
step '{"journal": "first", "note": "n"}' $old up.img
echo "As described."
