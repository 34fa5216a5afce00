"""`hardmute list`: the boards that are there."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from hardmute.cli import console
from hardmute.device import discovery
from hardmute.model import errors, words
from hardmute.model.answers import NOT_ATTESTED
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import begin_contact, record_seen, record_unseen


def list_boards(args: Namespace) -> int:
    """`hardmute list`: real boards by USB ids and handshake, then simulated ones."""
    from hardmute.device import simulators

    recorder = Recorder()
    devices = [port.device for port in discovery.serial_ports(bridges=args.probe)]
    simulated = [entry.device for entry in simulators.running()]
    devices = list(dict.fromkeys(devices + simulated))
    # So that those that do not answer take one time-out in all.
    silent = discovery.silent(devices, args.timeout)
    rows: list[dict[str, Any]] = []
    met: dict[str, str] = {}
    for device in devices:
        board = recorder.log.board_last_at(device) if recorder.log else None
        row: dict[str, Any] = {"device": device, "board": board, "firmware": None}
        try:
            if device in silent:
                raise silent[device]
            with discovery.open_board(device, args.timeout, recorder.log) as (session, identity):
                row["board"] = identity.board
                # Neither of two with one id is to speak for the other in the log.
                discovery.check_alone(identity.board, device, met.get(identity.board))
                contact = begin_contact(recorder, identity, session, "list")
                observation = record_seen(recorder, contact.meet(), identity, session, "list")
                met[identity.board] = device
                contact.finish()
                row |= {
                    "firmware": identity.firmware,
                    "simulated": identity.simulated,
                    "verdict": observation.verdict,
                    "reason": observation.reason,
                    "state": observation.state,
                    "unsigned": observation.unsigned,
                }
        except errors.UnreachableError as error:
            row |= {"simulated": device in simulated, "verdict": "unknown", "reason": str(error)}
            row |= {"state": None, "unsigned": None}
            if board is not None:
                # A port that never was a board's is no board that cannot be reached.
                record_unseen(recorder, device, error, "list")
        row["label"] = recorder.log.label(row["board"]) if recorder.log and row["board"] else None
        rows.append(row)
    if args.json:
        print(json.dumps({"boards": rows}))
    elif rows:
        _print_boards(rows)
    else:
        print("No board is connected. `hardmute sim` starts a simulated one.")
        if not args.probe:
            print("`hardmute list --probe` also looks behind CP210x and CH340 bridges.")
    return recorder.exit_code


def _print_boards(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        parts = [row["label"], row["board"] or "no board answers"]
        if row["simulated"]:
            parts.append("(simulated)")
        if row["firmware"]:
            parts.append(f"firmware {row['firmware']}")
        console.headline(row["verdict"], "  ".join(filter(None, parts)))
        # Alone and whole, to be copied.
        print(f"         {row['device']}")
        if row["reason"] == NOT_ATTESTED:
            console.detail(words.claimed(row["unsigned"]))
        elif row["reason"]:
            console.detail(row["reason"])
