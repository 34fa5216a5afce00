#!/usr/bin/env bash
# MicroPython for WebAssembly: binascii.a2b_base64() takes bytes, and no text.
#
# Expected: a2b_base64("AAEC") gives three bytes. CPython's documentation says that these functions
#   accept ASCII-only strings, and MicroPython's own module in C does, on its other ports.
# Instead: TypeError: can't convert str to int. The PyScript variant has a module in Python in
#   the place of the one in C. unhexlify() there does take text.
# Hurts: a program that was tested on MicroPython for another port, and decodes text out of JSON,
#   stops here with an error that names neither base64 nor text.
# Source: CPython's library reference, "binascii"; MicroPython's, "binascii", which refers to it.
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
import binascii, sys
print(sys.version)
print("from bytes:", binascii.a2b_base64(b"AAEC"))
print("from hex digits as text:", binascii.unhexlify("000102"))
try:
    print("from text:", binascii.a2b_base64("AAEC"))
    raise SystemExit("It takes text now.")
except TypeError as error:
    print("from text: TypeError:", error)
`);
JS
node run.mjs
echo "As described."
