#!/usr/bin/env bash
# MicroPython for WebAssembly: gc.collect() collects nothing as long as Python runs.
#
# Expected: gc.collect() "runs a garbage collection", so that gc.mem_alloc() is small again once
#   nothing refers to the objects any more. So it is on MicroPython's other ports.
# Instead: in the PyScript variant gc.collect() returns and frees nothing. The heap grows, by a
#   megabyte here. Only when runPython() has returned to JavaScript is it collected.
# Hurts: a loop that makes garbage runs out of memory in a program that never returns; and a
#   test that looks at gc.mem_alloc() for leaks finds one in everything.
# Source: MicroPython's library reference, "gc": gc.collect().
# Run: @micropython/micropython-webassembly-pyscript 1.29.0-6 (npm), node 20.20, 2026-11-30.
# Needs: node and npm.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent @micropython/micropython-webassembly-pyscript@1.29.0-6
tar xzf ./*.tgz

cat >run.mjs <<'JS'
import { loadMicroPython } from "./package/micropython.mjs";

const micropython = await loadMicroPython({ stdout: (line) => console.log(line) });
micropython.runPython(`
import gc, sys
print(sys.version)
before = gc.mem_alloc()
for _ in range(1000):
    bytearray(1000)
gc.collect()
grown = gc.mem_alloc() - before
print("in use after 1000 bytearrays of garbage and gc.collect():", grown, "bytes more")
assert grown > 900000
`);
micropython.runPython(`
left = gc.mem_alloc() - before
print("in the next runPython():", left, "bytes more")
assert left < 100000
`);
JS
node run.mjs
echo "As described."
