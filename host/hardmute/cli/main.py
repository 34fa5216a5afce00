"""The one exit point of the command line: every error becomes one sentence and an exit code.

No exception ends in Python's own exit code for one, which is 1: that means "live".
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys

from hardmute import errors, notices
from hardmute.model.typed import TextIO

# Objects that a process makes before the collector looks for garbage among them.
_MANY = 50_000


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns its exit code (`hardmute.model.errors`)."""
    _open_streams()
    if arguments is None:
        # What a command loads is no garbage: it need not be looked for in that all the time.
        gc.set_threshold(_MANY)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(words)
    except KeyboardInterrupt:
        code = errors.INTERRUPTED
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the last line of defence: a sentence, not a traceback)
        code = errors.LOCAL
        # Output that cannot be written is no fault of ours, and is told below.
        if not isinstance(error, OSError) or _is_written(sys.stdout, "\n"):
            _fail_inside(error, verbose="-v" in words or "--verbose" in words)
    # Both, for Python would try once more at its end, and end with 120.
    written = _is_written(sys.stdout), _is_written(sys.stderr)
    if arguments is None:
        # Nor at the end, when all of it goes.
        gc.freeze()
    return errors.LOCAL if code == errors.OK and not all(written) else code


def _run(words: list[str]) -> int:
    if "status" in words and "--json" in words:
        from hardmute.cli import shortcut

        if (code := shortcut.status(words)) is not None:
            return code
    from hardmute.cli import parser

    try:
        args = parser.parse(words)
    except SystemExit as end:
        # --help, --version, and usage errors, which argparse has told.
        return errors.OK if end.code is None else int(end.code)
    notices.show_by(_complain)
    from hardmute.cli.whose_clock import clock_for

    try:
        with clock_for(args):
            return parser.resolve(args.run)(args)
    except errors.HardmuteError as error:
        if args.verbose:
            _print_traceback()
        _complain(error)
        return error.exit_code


def _complain(said: object) -> None:
    from hardmute.cli import console

    console.complain(said)


def _fail_inside(error: BaseException, *, verbose: bool) -> None:
    # For the tests, none of which is to overlook it.
    sys.audit("hardmute.failed_inside", repr(error))
    if verbose:
        _print_traceback()
    # No import here: it may be imports that fail.
    said = "".join(char if char.isprintable() else "?" for char in str(error))
    with contextlib.suppress(OSError):
        print(
            f"hardmute failed inside ({type(error).__name__}: {said}); "
            "run it again with -v and report what it prints.",
            file=sys.stderr,
        )


def _open_streams() -> None:
    """Have all three standard streams there, able to take any character.

    One that was closed at the start is the null device from now on. In this order, so that the
    null device, and not the log, gets the number of a closed one.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 (for good)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A code page lacks most characters; and a file name may be no text at all.
            stream.reconfigure(errors="backslashreplace")


def _is_written(stream: TextIO, more: str = "") -> bool:
    """Whether all that was printed to ``stream``, and ``more``, is out. If not, that is told."""
    try:
        # Where nothing is buffered, only more output shows it.
        stream.write(more)
        stream.flush()
    except OSError as error:
        if stream is sys.stdout:
            from hardmute.cli import console

            console.complain_of_output(error)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return False
    return True


def _print_traceback() -> None:
    import traceback

    with contextlib.suppress(OSError):
        traceback.print_exc()
