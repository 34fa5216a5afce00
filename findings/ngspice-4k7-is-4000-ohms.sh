#!/usr/bin/env bash
# ngspice: a resistor of "4k7" has 4000 ohms, or 4700, depending on a compatibility mode.
#
# Expected: "4k7", the way of writing that stands on schematics, in parts lists and on the parts
#   (RKM code, IEC 60062), is either understood or refused. One netlist has one meaning.
# Instead: without a compatibility mode ngspice takes 4k, drops the 7 and simulates 4000 ohms,
#   with no error and no warning ("2R2" becomes 2 ohms). With ngbehavior=lt, as for LTspice
#   netlists, the same line has 4700 ohms; but the value of a voltage source on the next line
#   still has 4000. And "1M5" is 1.5 *milli*ohms there. For capacitors and inductors the default
#   mode drops the digit too, and prints a warning of a missing *model*, not of the value.
# Hurts: a design that is simulated before its parts are ordered. Values copied from a parts list
#   are up to 47 % wrong (1k9 against 1k), so that a divider, a time constant or a relay's hold
#   current looks safe in the simulation and is not. A front end that selects the mode, such as
#   KiCad's simulator, and ngspice on the command line or in CI give different results for one
#   netlist.
# Remedy: write 4.7k and 1.5Meg, and let CI refuse a letter between digits.
# Source: ngspice manual, "Some naming conventions" (letters behind a scale factor are ignored; of
#   digits behind it the page says nothing); examples/various/RKM-R-1.cir and
#   res-value-options.cir; src/spicelib/parser/inp2r.c.
# Run: libngspice0 39.3+ds-1 of Debian 12 (amd64), through its C interface, 2026-11-30. (The same
#   with 46+ds-1~bpo12+1 of its backports.)
# Needs: Debian 12, python3.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# Package lists of our own, so that those of the system stay as they are.
mkdir -p lists/partial cache
apt() {
  apt-get -qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" \
    -o APT::Sandbox::User=root "$@"
}
apt update
apt download libngspice0=39.3+ds-1
dpkg -x libngspice0_39.3+ds-1_*.deb .

cat >run.py <<'PYTHON'
import ctypes
import sys

NETLIST = """* values as on a schematic
R1 a 0 4k7
R2 a 0 2R2
R3 a 0 1M5
C1 a 0 4n7
L1 a b 4u7
R4 b 0 1
V1 a 0 4k7
.op
.end"""
ASKED = {
    "R1 4k7": "@r1[resistance]",
    "R2 2R2": "@r2[resistance]",
    "R3 1M5": "@r3[resistance]",
    "C1 4n7": "@c1[capacitance]",
    "L1 4u7": "@l1[inductance]",
    "V1 4k7": "v(a)",
}

ngspice = ctypes.CDLL(sys.argv[1])
printed = []
on_text = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)(
    lambda text, _id, _data: printed.append(text.decode()) or 0
)
on_exit = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_bool, ctypes.c_bool, ctypes.c_int, ctypes.c_void_p
)(lambda *_: 0)
ngspice.ngSpice_Init(on_text, None, on_exit, None, None, None, None)


def command(line):
    assert ngspice.ngSpice_Command(line.encode()) == 0, line


def simulate():
    printed.clear()
    lines = [line.encode() for line in NETLIST.splitlines()]
    assert ngspice.ngSpice_Circ((ctypes.c_char_p * (len(lines) + 1))(*lines, None)) == 0
    command("op")
    warnings = [line for line in printed if "warning" in line.lower() or "error" in line.lower()]
    values = {}
    for name, vector in ASKED.items():
        command(f"print {vector}")
        values[name] = float(printed[-1].split("=")[1])
    command("remcirc")
    return values, warnings


command("version")
print(next(line.split("stdout ")[1] for line in printed if "ngspice-" in line))
plain, warnings = simulate()
command("set ngbehavior=lt")
lt, lt_warnings = simulate()
print("value      no mode   ngbehavior=lt")
for name in ASKED:
    print(f"{name:8} {plain[name]:9.3g} {lt[name]:15.3g}")
for line in warnings:
    print("no mode:", line)
print("ngbehavior=lt: warnings", lt_warnings)


def near(values, *wanted):
    return all(abs(a / b - 1) < 1e-9 for a, b in zip(values.values(), wanted, strict=True))


assert near(plain, 4000, 2, 0.001, 4e-9, 4e-6, 4000), plain
assert near(lt, 4700, 2.2, 0.0015, 4.7e-9, 4.7e-6, 4000), lt
assert not lt_warnings
assert len(warnings) == 2 and all("find model" in line for line in warnings), warnings
PYTHON
python3 run.py usr/lib/*/libngspice.so.0
echo "As described."
