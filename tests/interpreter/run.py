"""Runs portable test files on MicroPython (or on any Python, to test this runner).

    micropython run.py [--not-here FOLDER] FOLDER ...

Every ``test_*.py`` in each folder is imported and every test in it run, twice: the second time
the heap must be as it was before, or the test (or what it tests) leaks. Ends with a line of
counts. Exits with 1 when anything failed: a test, a leak, an import, a file without tests, a
test that is written but not found, a folder without files. A file with ``RUN_ONCE = True`` is not
looked at for leaks.

``--not-here FOLDER``: its tests need CPython; they are counted in the last line, and not run.
"""

import gc
import os
import sys

try:
    import micropython
except ImportError:
    micropython = None

HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
ROOT = HERE + "/../.."
SEARCH = (HERE + "/shim", ROOT + "/firmware", ROOT + "/tests/unit", ROOT + "/tests/firmware")

# The collector takes any word on the C stack for a pointer, so a block may outlive its use by
# chance. A leak grows in every repeat.
LEAK_REPEATS = 3
# MICROPY_SCHEDULER_DEPTH of the unix port.
SCHEDULER_DEPTH = 4


class Count:
    def __init__(self):
        self.passed = 0
        self.failed = 0


def show(error):
    """Print a traceback."""
    if hasattr(sys, "print_exception"):
        sys.print_exception(error)
    else:
        import traceback

        traceback.print_exception(error, file=sys.stdout)


def nothing(_argument):
    pass


def heap():
    """Bytes in use, or None where the interpreter cannot say."""
    # On WebAssembly the collector runs only once the program has ended.
    if not hasattr(gc, "mem_alloc") or sys.platform == "webassembly":
        return None
    # The queue of soft interrupts keeps what it called last, until something else takes its place.
    for _ in range(SCHEDULER_DEPTH):
        micropython.schedule(nothing, None)
    gc.collect()
    return gc.mem_alloc()


def written(path):
    """How many tests the text of a file has at its top level."""
    with open(path, encoding="utf-8") as file:
        return sum(line.startswith("def test_") for line in file)


def files(folder):
    return sorted(
        name for name in os.listdir(folder) if name.startswith("test_") and name.endswith(".py")
    )


def cases(test):
    """(function, keyword arguments) of each case of a test."""
    function = getattr(test, "function", None)
    if function is None:
        return [(test, {})]
    return [(function, arguments) for arguments in test.arguments]


def leak(function, arguments):
    """Bytes by which the heap grows in every single run."""
    least = None
    for _ in range(LEAK_REPEATS):
        before = heap()
        if before is None:
            return 0
        function(**arguments)
        grown = heap() - before
        least = grown if least is None else min(least, grown)
        if least <= 0:
            return 0
    return least


def run_case(name, function, arguments, once, count):
    label = name
    if arguments:
        label += " " + repr(arguments)[:200]
    try:
        function(**arguments)
        grown = 0 if once else leak(function, arguments)
        assert not grown, f"leaks {grown} bytes in each run"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a test raises is its failure
        count.failed += 1
        print("FAILED", label)
        show(error)
    else:
        count.passed += 1


def run_file(folder, file, count):
    path = folder + "/" + file
    try:
        module = __import__(file[:-3])
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit as well: no file ends the run
        count.failed += 1
        print("FAILED", path, "cannot be imported")
        show(error)
        return
    names = sorted(name for name in dir(module) if name.startswith("test_"))
    if not names or len(names) != written(path):
        count.failed += 1
        print("FAILED", path, f"has {written(path)} tests, found {len(names)}")
        return
    before = count.passed
    once = getattr(module, "RUN_ONCE", False)
    for name in names:
        found = cases(getattr(module, name))
        if not found:
            count.failed += 1
            print("FAILED", path, name, "has no cases")
        for function, arguments in found:
            run_case(path + " " + name, function, arguments, once, count)
    print(f"{path}: {count.passed - before} passed")


def main(arguments):
    print(sys.version)
    count = Count()
    elsewhere = []
    folders = []
    while arguments:
        word = arguments.pop(0)
        if word == "--not-here":
            elsewhere.append(arguments.pop(0))
        else:
            folders.append(word)
    for folder in reversed(SEARCH + tuple(folders)):
        sys.path.insert(0, folder)
    for folder in folders:
        found = files(folder)
        if not found:
            count.failed += 1
            print("FAILED", folder, "has no test files")
        for file in found:
            run_file(folder, file, count)
    if count.passed + count.failed == 0:
        count.failed = 1
        print("FAILED no tests")
    not_here = sum(written(folder + "/" + file) for folder in elsewhere for file in files(folder))
    print(
        f"{count.passed} passed, {count.failed} failed, "
        f"{not_here} need CPython and were not run here"
    )
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
