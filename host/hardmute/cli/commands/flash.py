"""`hardmute flash`: find the board, say what will be done, ask, do it, wait for it, verify it."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import muteboard
from hardmute import SYSTEM, Host, Identity, errors
from hardmute.cli import console, micropython, service_mode
from hardmute.cli.commands import asking, flash_esp32
from hardmute.device import client, discovery
from hardmute.flash import (
    bootsel,
    circuitpy,
    drives,
    image,
    prompt,
    releases,
    targets,
    tree,
    uf2,
)
from muteboard import boards

# How long a board may take to come back: by itself, and with somebody's hands. In seconds.
_RESTART_S = 60.0
_REPLUG_S = 300.0
# What is typed to have a journal erased; no option says "yes" to that in passing.
_WORD = "erase"
_ERASES = (
    "This overwrites the whole flash: the settings, the keys and the journal of a board that has "
    "run hardmute before. Nothing of that can be read in BOOTSEL, so whether there is any is not "
    f"known, and a typed word ({_WORD!r}) confirms it. To keep it, plug the board in without "
    "BOOTSEL and run this again: then only its files are updated."
)

# How often a board that is to come back is looked for, in seconds.
_POLL_S = 0.3

Progress = Callable[[int, int], None]


class Job(NamedTuple):
    """What is to be done to one board. ``found`` and ``steps``: for a person, before it is asked.

    ``erases``: a journal may be lost. ``run``: does it. ``by_hand``: somebody has to unplug the
    board and plug it in again afterwards. ``board``: the id with which it must come back;
    ``port``: where it was last.
    """

    found: str
    steps: list[str]
    run: Callable[[Progress], None]
    erases: bool = False
    by_hand: bool = True
    board: str | None = None
    port: str | None = None
    warnings: tuple[str, ...] = ()


def flash(args: Namespace) -> int:
    """`hardmute flash`."""
    if args.verify:
        from hardmute.cli.commands import flash_verify

        return flash_verify.verify(args)
    host = Host()
    kinds = (targets.RUNNING, targets.PROMPT) if args.files_only else None
    target = targets.find(args.device, args.timeout, host.log, args.board, kinds)
    job = _JOBS[target.kind](args, target, host)
    console.say(f"Found: {job.found}.")
    for number, step in enumerate(job.steps, 1):
        console.say(f"{number}. {step}")
    # Before what stderr says to it.
    sys.stdout.flush()
    for warning in job.warnings:
        console.complain(f"Warning: {warning}")
    erases = job.erases and not args.erase_journal
    if erases:
        console.complain(_ERASES)
    if args.dry_run:
        print("Nothing was done (--dry-run).")
        return errors.OK
    _confirm(args, erases=erases)
    before = {port.device for port in discovery.serial_ports(bridges=False)}
    with _progress() as progress:
        job.run(progress)
    device = _await_board(args, job, before)
    return asking.verify_one(device, args.timeout)


def whole_uf2(runtime_image: image.Image, board: str | None) -> tuple[bytes, dict[str, bytes]]:
    """The UF2 for an empty board: MicroPython and our files; and these."""
    files = {**tree.program(), **tree.fresh(board)}
    return uf2.write(image.join(runtime_image, files)), files


# What is done to each kind of target.


def _bootsel_job(args: Namespace, target: targets.Target, _host: Host) -> Job:
    drive = Path(target.place)
    given = _image(args)
    if given.locked or given.has_files:
        # A release: as it is, but in the order that makes an interruption harmless.
        pages = given.pages
        content = uf2.write(pages)
        what = f"{given.name}, in which the firmware is frozen"
        if not given.has_files:
            what += "; settings, keys and journal stay"
    else:
        content, files = whole_uf2(given, targets.word(args.board))
        compiled = "compiled" if "muteboard/app.mpy" in files else "as sources"
        what = (
            f"MicroPython {given.version} from {given.name}, and a new file system with "
            f"{len(files)} files of hardmute {muteboard.__version__}, {compiled}"
            + (f", for the board {args.board}" if args.board else "")
        )
    return Job(
        found=str(target),
        steps=[f"write {len(content) // 2048} KiB: {what}", "wait for the board, and verify it"],
        run=partial(bootsel.write, drive, content),
        erases=given.has_files or not given.locked,
        by_hand=False,
        warnings=releases.doubt(releases.numbers(given.version)),
    )


def _running_job(args: Namespace, target: targets.Target, host: Host) -> Job:
    identity = target.identity
    assert identity is not None
    found = f"{target}, firmware {identity.firmware}"
    if identity.port == targets.PORTS["circuitpython"]:
        return _running_circuitpy_job(args, target, host, found)
    _refuse_image(args)

    def run(progress: Progress) -> None:
        named = _named(args, target)
        device = service_mode.wait_for("maintenance", named, args.timeout, host)
        with prompt.opened(device, args.timeout) as board:
            _install(args, board, progress)

    return Job(
        found=found,
        steps=["wait until somebody opens maintenance with the board's button", *_FILE_STEPS],
        run=run,
        board=identity.board,
        port=target.place,
        warnings=_downgrade(identity.firmware),
    )


def _prompt_job(args: Namespace, target: targets.Target, _host: Host) -> Job:
    _refuse_image(args)
    with prompt.opened(target.place, args.timeout) as board:
        about = board.about()
    _check_board(args, about)
    release = ".".join(map(str, about.release))
    found = f"{target}, MicroPython {release} on {about.machine}"
    if about.firmware is not None:
        found += f", firmware {about.firmware}"

    def run(progress: Progress) -> None:
        with prompt.opened(target.place, args.timeout) as board:
            _install(args, board, progress)

    return Job(
        found=found,
        steps=[*_FILE_STEPS],
        run=run,
        board=target.board,
        port=target.place,
        warnings=releases.doubt(about.release) + _downgrade(about.firmware),
    )


_FILE_STEPS = [
    f"write the files of hardmute {muteboard.__version__}; settings, keys and journal stay",
    "compare their hashes",
    "wait until the board has been unplugged and plugged in again, and verify it",
]


def _install(args: Namespace, board: prompt.Prompt, progress: Progress) -> None:
    about = board.about()
    _check_board(args, about)
    files = tree.program(compiled=about.takes_compiled)
    word = targets.word(args.board)
    if tree.is_fresh(board.paths()):
        files |= tree.fresh(word)
    elif word is not None:
        files |= tree.named(word)
    board.install(files, progress)
    wrong = [path for path in files if board.sha256(path) != sha256(files[path]).digest()]
    if wrong:
        raise errors.LocalError(
            f"What was written reads back otherwise ({', '.join(wrong)}): run this again, and if "
            "that does not help, the board's flash is worn out."
        )


def _circuitpy_job(args: Namespace, target: targets.Target, _host: Host) -> Job:
    _refuse_image(args)
    drive = Path(target.place)
    board = circuitpy.describe(drive)
    content = circuitpy.files()
    return Job(
        found=f"{target}: {board}",
        steps=_circuitpy_steps(content),
        run=partial(circuitpy.install, drive, content),
        board=target.board,
    )


def _running_circuitpy_job(args: Namespace, target: targets.Target, host: Host, found: str) -> Job:
    _refuse_image(args)
    content = circuitpy.files()

    def look(identity: Identity) -> str | None:
        for drive in circuitpy.find(drives.mounted()):
            if circuitpy.board_id(drive) == identity.board:
                return str(drive)
        return None

    def run(progress: Progress) -> None:
        named = _named(args, target)
        drive = Path(service_mode.wait_for("maintenance", named, args.timeout, host, look))
        circuitpy.describe(drive)
        circuitpy.install(drive, content, progress)

    assert target.identity is not None
    return Job(
        found=found,
        steps=[
            "wait until somebody opens maintenance with the board's button",
            *_circuitpy_steps(content),
        ],
        run=run,
        board=target.board,
        port=target.place,
        warnings=_downgrade(target.identity.firmware),
    )


def _circuitpy_steps(content: dict[str, bytes]) -> list[str]:
    size = sum(map(len, content.values()))
    return [
        (
            f"copy hardmute {muteboard.__version__} and two of Adafruit's libraries "
            f"({len(content)} files, {size // 1024} KiB); what else is on the drive stays"
        ),
        "wait until the board has been ejected, unplugged and plugged in again, and verify it",
    ]


def _serial_job(args: Namespace, target: targets.Target, _host: Host) -> Job:
    from hardmute.flash import esp32

    given = flash_esp32.esp32_image(args)
    console.complain(f"Asking the chip at {target.place} what it is; that restarts it.")
    chip = esp32.identify(target.place)
    esp32.check(chip, given)
    held = esp32.stored(chip, lambda _name, _done, _total: None) or {}
    keeps = not tree.is_fresh(held) and not args.erase_journal
    word = targets.word(args.board)
    if keeps and word is not None and not tree.is_named(held, word):
        raise errors.UsageError(
            f"The board at {target.place} has settings of another board than {args.board}: change "
            "its files in maintenance, with --files-only, or erase them with --erase-journal."
        )

    def run(progress: Progress) -> None:
        def say(_name: str, done: int, total: int) -> None:
            progress(done, total)

        if keeps:
            esp32.update(chip, given, say)
        else:
            esp32.write(chip, given, flash_esp32.esp32_files(word), say)

    if keeps:
        what = (
            f"write MicroPython {given.version} ({given.name}) and nothing else: this board has "
            "settings or a journal; its files are updated in maintenance, with --files-only"
        )
    else:
        what = (
            f"erase the flash, and write MicroPython {given.version} ({given.name}) and a new "
            f"file system with hardmute {muteboard.__version__}, for the board {args.board}"
        )
    return Job(
        found=f"{target}: {chip.model}, {chip.flash_size >> 20} MiB of flash ({chip.board})",
        steps=[what, "wait for the board, and verify it"],
        run=run,
        by_hand=False,
        board=chip.board,
        port=target.place,
        warnings=releases.doubt(releases.numbers(given.version)),
    )


_JOBS: dict[str, Callable[[Namespace, targets.Target, Host], Job]] = {
    targets.BOOTSEL: _bootsel_job,
    targets.RUNNING: _running_job,
    targets.PROMPT: _prompt_job,
    targets.CIRCUITPY: _circuitpy_job,
    targets.SERIAL: _serial_job,
}


def _image(args: Namespace) -> image.Image:
    return image.load(micropython.find(args.image, download=args.download))


def _check_board(args: Namespace, about: prompt.Prompted) -> None:
    """Raise `UsageError` unless the machine can be the board that was named."""
    if args.board is not None:
        word = targets.PORTS[args.board].encode()
        if word not in boards.MACHINES[about.machine]:
            raise errors.UsageError(
                f"The board is {about.machine!r}, which cannot be {args.board}: name another "
                "--board, or none."
            )


def _refuse_image(args: Namespace) -> None:
    if args.image is not None:
        raise errors.UsageError(
            "An image goes to a board in its loader (a Pico: hold BOOTSEL while you plug it in); "
            "this one gets files, and needs none."
        )


def _named(args: Namespace, target: targets.Target) -> str:
    """How the board is found again after it was unplugged."""
    by_port = args.device is not None and discovery.is_port(args.device)
    return target.place if by_port or target.board is None else target.board


def _downgrade(firmware: str | None) -> tuple[str, ...]:
    if firmware is None or _numbers(firmware) <= _numbers(muteboard.__version__):
        return ()
    return (
        (
            f"the board has firmware {firmware}, and this hardmute carries the older "
            f"{muteboard.__version__}: update hardmute instead, unless you mean it."
        ),
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".") if number.isdecimal()]


# Asking, doing, waiting.


def _confirm(args: Namespace, *, erases: bool) -> None:
    terminal = sys.stdin.isatty()
    if erases:
        if not terminal:
            raise errors.UsageError(
                "Nobody is there to confirm that: --erase-journal does. Nothing was changed."
            )
        if console.answer(f"Type {_WORD} to go on: ") != _WORD:
            raise errors.UsageError("Nothing was changed.")
        return
    if args.yes:
        return
    if not terminal:
        raise errors.UsageError("Nobody is there to be asked: --yes answers. Nothing was changed.")
    if console.answer("Go on? [y/N] ").lower() not in ("y", "yes"):
        raise errors.UsageError("Nothing was changed.")


@contextmanager
def _progress() -> Generator[Progress]:
    """What is told how much is done, of how much: a bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    bar = Bar(console=Console(stderr=True))
    task = bar.add_task("writing", total=None)

    def show(done: int, total: int) -> None:
        # While somebody's hand is waited for nothing is written yet.
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


def _await_board(args: Namespace, job: Job, before: set[str]) -> str:
    """Wait until the board answers as hardmute does. Returns its port."""
    patience = _REPLUG_S if job.by_hand else _RESTART_S
    if job.by_hand:
        console.complain(
            "Written. Unplug the board and plug it in again, without holding anything (a restart "
            "by software is no cold start): waiting ..."
        )
    else:
        console.complain("Written. Waiting for the board to start ...")

    def ask(place: str, is_over: Callable[[], bool]) -> tuple[str, str] | None:
        try:
            with client.connect(place, args.timeout, "usual", is_over) as (_, identity):
                return (place, identity.board) if job.board in (None, identity.board) else None
        except errors.UnreachableError:
            # Not there yet, or somebody else's.
            return None

    deadline = SYSTEM.now_s() + patience
    while True:
        places = [port.device for port in discovery.serial_ports(bridges=False)]
        if job.board is None:
            # Whatever was there before is another board.
            places = [place for place in places if place not in before]
        if job.port is not None:
            places.insert(0, job.port)
        with closing(discovery.at_once(list(dict.fromkeys(places)), ask)) as answers:
            for place, board in filter(None, answers):
                console.complain(f"Board {board} is back. Verifying it ...")
                return place
        if SYSTEM.now_s() >= deadline:
            raise errors.UnreachableError(
                f"The board was written, and did not answer within {patience:.0f} s. Unplug it and"
                " plug it in again; `hardmute verify` then says whether it works. Where its lamp"
                " stays dark, run `hardmute flash` again.",
                "no_answer",
            )
        time.sleep(_POLL_S)
