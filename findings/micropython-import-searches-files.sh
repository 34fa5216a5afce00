#!/usr/bin/env bash
# MicroPython: `import hashlib` inside a function searches the file system at every call.
#
# Expected: `hashlib` is built into the interpreter. The first import finds it there, and later
#   imports are one look-up in sys.modules, as on CPython. So an import inside a function (to
#   save memory at start) costs next to nothing.
# Instead: a built-in module that may be extended by a file (hashlib, json, struct, re, random
#   ...) is never put into sys.modules. Each import statement that runs asks the file system
#   three times for each file-system folder of sys.path (NAME, NAME.py, NAME.mpy), finds nothing,
#   and only then takes the built-in module. Modules that may not be extended (micropython, gc)
#   ask nothing.
# Hurts: a function that runs often, or under a watchdog, reads the flash at every call: each of
#   these questions makes littlefs search a directory. The cost grows with the files on the board
#   and with the length of sys.path. A test on a host with a fast disk does not show it.
# Remedy: import at the top of the module. The script shows that a stored reference asks nothing.
# Source: py/builtinimport.c (process_import_at_level) and py/objmodule.c (mp_module_get_builtin)
#   of MicroPython; the documentation ("Extending built-in libraries from Python") says that a
#   file is preferred, and not that each import searches for it again.
# Run: npm package @micropython/micropython-webassembly-pyscript 1.27.0 (official build of the
#   WebAssembly port), 2026-11-30.
# Needs: node 20.6 or later, npm, python3.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache" npm_config_cache="$work/cache"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work" \
  @micropython/micropython-webassembly-pyscript@1.27.0

cat >program.py <<'PYTHON'
import sys
import vfs

looked = []


class EmptyFiles:
    """A file system without a file. It notes each path that it is asked for."""

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def chdir(self, path):
        pass

    def stat(self, path):
        looked.append(path)
        raise OSError(2)  # ENOENT


vfs.umount("/")
vfs.mount(EmptyFiles(), "/")


def imports_inside():
    import hashlib

    return hashlib.sha256


def asked(function):
    looked.clear()
    function()
    return list(looked)


print(sys.version)
print("sys.path", sys.path)
calls = [asked(imports_inside) for _ in range(3)]
for number, paths in enumerate(calls):
    print("call", number + 1, "asks for", paths)
print("'hashlib' in sys.modules:", "hashlib" in sys.modules)

sys.path.append("/plugins")
longer = asked(imports_inside)
sys.path.pop()
print("one more folder in sys.path:", len(longer), "questions")


def import_of(name):
    return len(asked(lambda: __import__(name)))


names = ("json", "struct", "re", "random", "micropython", "gc")
others = {name: import_of(name) for name in names}
print("questions at a later import:", others)

import hashlib


def imported_outside():
    return hashlib.sha256


stored = len(asked(imported_outside))
print("import at the top of the module:", stored, "questions for each call")

assert calls[0] == calls[1] == calls[2] and len(calls[0]) == 6, calls
assert "hashlib" not in sys.modules
assert len(longer) == 9
assert others["json"] and others["struct"] and not others["micropython"] and not others["gc"]
assert stored == 0
PYTHON

cat >run.mjs <<'NODE'
import { readFileSync } from "node:fs";
import { loadMicroPython } from "@micropython/micropython-webassembly-pyscript";
const wasm = "@micropython/micropython-webassembly-pyscript/micropython.wasm";
const python = await loadMicroPython({
  url: new URL(import.meta.resolve(wasm)).pathname,
  stdout: (line) => console.log(line),
  linebuffer: true,
});
python.runPython(readFileSync("program.py", "utf8"));
NODE

echo "== MicroPython"
node run.mjs

echo "== CPython, for comparison"
python3 - <<'PYTHON'
import sys

searches = []


class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        searches.append(name)


def imports_inside():
    import hashlib

    return hashlib.sha256


imports_inside()
sys.meta_path.insert(0, Watch)
imports_inside()
print(sys.version.split()[0], "searches at a later import:", len(searches))
assert not searches
PYTHON
echo "As described."
