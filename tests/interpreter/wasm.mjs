// Runs a program on MicroPython for WebAssembly, with this repository's files in the place of a
// disk: node wasm.mjs MICROPYTHON.mjs PROGRAM ARGUMENT ...
//
// Paths are from the root of the repository on. Exits as the program does.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const ROOT = path.resolve(import.meta.dirname, "../..");
const FOLDERS = ["firmware", "tests"];
const HEAP = 16 * 1024 * 1024;
const [interpreter, ...argv] = process.argv.slice(2);

const { loadMicroPython } = await import(pathToFileURL(path.resolve(interpreter)));
const micropython = await loadMicroPython({ heapsize: HEAP, stdout: (line) => console.log(line) });

const copy = (at) => {
  micropython.FS.mkdirTree("/" + at);
  for (const entry of fs.readdirSync(path.join(ROOT, at), { withFileTypes: true })) {
    const inside = at + "/" + entry.name;
    if (entry.isDirectory()) copy(inside);
    else if (entry.isFile()) {
      micropython.FS.writeFile("/" + inside, fs.readFileSync(path.join(ROOT, inside)));
    }
  }
};
FOLDERS.forEach(copy);

const program = `
import os, sys
os.chdir("/")
sys.argv[:] = ${JSON.stringify(argv)}
code = 1
try:
    exec(open(sys.argv[0]).read(), {"__name__": "__main__", "__file__": sys.argv[0]})
    code = 0
except SystemExit as end:
    code = end.args[0] if end.args else 0
`;
micropython.runPython(program);
process.exitCode = micropython.globals.get("code");
