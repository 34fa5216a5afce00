"""The one exit point of the command line: every error becomes one sentence and an exit code."""

from __future__ import annotations

import os
import sys

from hardmute import cli, errors


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns its exit code (`hardmute.errors`)."""
    args = cli.parse(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.resolve(args.run)(args)
    except errors.HardmuteError as error:
        if args.verbose:
            _print_traceback()
        from hardmute import text

        text.complain(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = errors.INTERRUPTED
    except BrokenPipeError:
        code = errors.LOCAL
    except Exception as error:  # noqa: BLE001 (the last line of defence: a sentence, not a traceback)
        from hardmute import text

        if args.verbose:
            _print_traceback()
        text.complain(
            f"hardmute failed inside ({type(error).__name__}: {text.printable(str(error))}); "
            "run it again with -v and report what it prints."
        )
        code = errors.LOCAL
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            # Whoever read our output has not gone; it was never written.
            print(f"Standard output cannot be written: {error.strerror}.", file=sys.stderr)
        # Python would try once more, and complain, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == errors.OK:
            code = errors.LOCAL
    return code


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main())
