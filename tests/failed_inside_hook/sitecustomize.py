"""Python imports this before anything else where `failed_inside` has put it on the path."""

import os
import sys


def _hear(event, arguments):
    if event == "hardmute.failed_inside":
        from pathlib import Path

        with Path(os.environ["HARDMUTE_TEST_FAILURES"]).open("a", encoding="utf-8") as stream:
            stream.write(f"{arguments[0]}\n")


sys.addaudithook(_hear)
