#!/usr/bin/env bash
# rp2040py: a shift by a register that holds 0 changes the carry flag.
#
# Expected: LSRS, ASRS and RORS with the count in a register leave the carry flag as it is if the
#   count is 0. The manual of the architecture has that in its pseudo-code: these instructions use
#   Shift_C, and Shift_C gives back the carry that it got if the amount is 0.
# Instead: in the emulator rp2040py the carry flag is another one afterwards. LSLS, which has the
#   same rule, keeps it.
# Hurts: a test of firmware on the emulator takes another way than the chip. Code that adds numbers
#   of 64 bits shifts by variable counts between ADDS and ADCS, and so do the compiler's routines
#   for soft floats. A wrong carry there is a sum that is off by one, on the emulator only; or a
#   mistake on the chip that the emulator hides.
# Source: ARMv6-M Architecture Reference Manual (ARM DDI 0419), the instructions LSR (register),
#   ASR (register), ROR (register) and LSL (register), and the function Shift_C().
# Run: rp2040py 0.3.6, 2026-11-30. No RP2040 was at hand: the expectation is the manual's.
# Needs: python3 with venv (run with 3.11).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check -qq install rp2040py==0.3.6

cat >run.py <<'PYTHON'
from rp2040py.rp2040 import RP2040

RAM = 0x20000000
# The value is in R0, the count, which is 0, in R1.
SHIFTS = {"LSLS": 0x4088, "LSRS": 0x40C8, "ASRS": 0x4108, "RORS": 0x41C8}


def carry_after(code, carry, value):
    chip = RP2040()
    core = chip.core
    chip.sram[0x100:0x102] = code.to_bytes(2, "little")
    core.registers[0], core.registers[1] = value, 0
    core.pc = RAM + 0x100
    core.c = carry
    core.execute_instruction()
    assert core.registers[0] == value
    return bool(core.c)


changes = set()
for name, code in SHIFTS.items():
    for carry in (False, True):
        for value in (0x00000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            if carry_after(code, carry, value) != carry:
                print(f"{name} of {value:#010x} by 0: carry {carry:d} becomes {not carry:d}")
                changes.add(name)
print("changed by:", ", ".join(sorted(changes)))
assert changes == {"LSRS", "ASRS", "RORS"}
PYTHON
venv/bin/python run.py
echo "As described."
