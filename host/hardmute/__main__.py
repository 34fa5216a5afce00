"""The one exit point of the command line: every error becomes one sentence and an exit code."""

from __future__ import annotations

import os
import sys

from hardmute import cli, errors


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns its exit code (`hardmute.errors`)."""
    args = cli.parse(arguments)
    try:
        return cli.resolve(args.run)(args)
    except errors.HardmuteError as error:
        if args.verbose:
            raise
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone. Nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.LOCAL
    except Exception as error:  # the last line of defence: a sentence, not a traceback
        if args.verbose:
            raise
        print(
            f"hardmute failed inside ({type(error).__name__}: {error}); "
            "run it again with -v and report what it prints.",
            file=sys.stderr,
        )
        return errors.LOCAL


if __name__ == "__main__":
    sys.exit(main())
