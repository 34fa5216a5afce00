"""Height of each part over the board, for a case: ``/usr/bin/python3 heights.py BOARD.kicad_pcb``.

Writes CSV: part, its rectangle in mm from the board's upper left corner, height in mm. For KiCad's
own Python, which has ``pcbnew``. A footprint that is not in the table below is an error.
"""

# pcbnew has no types, and is KiCad's own Python's.
# pyright: reportMissingImports=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

import csv
import re
import sys

import pcbnew

# Recalled from the makers' drawings; the first that matches the footprint's name. The Pico stands
# on sockets of 8.5 mm, and its USB connector is the highest.
_HEIGHTS = (
    (r"RaspberryPi_Pico", 13.5),
    (r"Relay_DPDT_Omron_G6K", 5.4),
    (r"Jack_3.5mm_PJ320D", 5.0),
    (r"LED_D5.0mm", 9.0),
    (r"SW_PUSH_6mm_H9.5mm", 9.5),
    (r"SW_PUSH_6mm_H5mm", 5.0),
    (r"USB_B_OST", 11.0),
    (r"USB_A_Molex_67643", 7.0),
    (r"JST_PH_B2B", 6.0),
    (r"PinHeader_1x02", 8.5),
    (r"WS2812B", 1.6),
    (r"SO-4_4.4", 2.1),
    (r"[RCLD]_\d{4}|LED_0603|Fuse_\d{4}|SOT|SSOP|D_SOD", 1.4),
    # A loop of wire; a screw's head.
    (r"TestPoint", 4.0),
    (r"MountingHole", 3.0),
    (r"Fiducial", 0.0),
)


def main() -> int:
    board = pcbnew.LoadBoard(sys.argv[1])
    edge = board.GetBoardEdgesBoundingBox()
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["part", "left", "top", "right", "bottom", "height"])
    for part in sorted(board.GetFootprints(), key=lambda part: part.GetReference()):
        name = part.GetFPID().GetLibItemName().c_str()
        found = [height for pattern, height in _HEIGHTS if re.search(pattern, name)]
        if not found:
            print(f"{part.GetReference()}: no height is known of {name}.", file=sys.stderr)
            return 1
        yard = part.GetCourtyard(pcbnew.F_CrtYd)
        box = yard.BBox() if yard.OutlineCount() else part.GetBoundingBox(False)
        corners = (
            box.GetLeft() - edge.GetLeft(),
            box.GetTop() - edge.GetTop(),
            box.GetRight() - edge.GetLeft(),
            box.GetBottom() - edge.GetTop(),
        )
        out.writerow([part.GetReference(), *(f"{pcbnew.ToMM(x):.1f}" for x in corners), found[0]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
