"""The rooms of the host tool: which may import which, and what belongs into `cli` alone."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hardmute

HOST = Path(hardmute.__file__).parent
# From the lowest on. Rooms of one row know nothing of each other.
ROOMS = (
    ("model",),
    ("evidence",),
    ("system",),
    ("store", "device"),
    ("sync", "render"),
    ("flash",),
    ("listen", "doctor", "sim"),
    ("monitor",),
    ("web",),
    ("cli",),
)
LEVELS = {room: level for level, row in enumerate(ROOMS) for room in row}
# What users and commands import: modules, and not rooms. They stand below `cli` alone.
FACE = ("__main__", "aio", "board", "host", "pairing", "proofs")
FILES = [file for file in sorted(HOST.rglob("*.py")) if file != HOST / "__init__.py"]
MODULES = {
    ".".join(file.relative_to(HOST).with_suffix("").parts).removesuffix(".__init__"): file
    for file in FILES
}


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def imports(file: Path) -> Iterator[str]:
    """The modules of ours that ``file`` imports, wherever in it."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hardmute":
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                yield inner if inner in MODULES else base
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("hardmute.") for alias in node.names), file


# Not when the tests are collected, which each worker of pytest does.
@cache
def arrows() -> dict[str, list[str]]:
    return {module: sorted(set(imports(file))) for module, file in MODULES.items()}


def test_every_module_is_in_a_room() -> None:
    assert {module.split(".")[0] for module in MODULES} - set(FACE) == set(LEVELS)


def test_the_tests_are_in_folders_named_as_the_rooms() -> None:
    tests = Path(__file__).parent
    folders = {file.parent for file in tests.rglob("test_*.py")} - {tests}
    assert {folder.relative_to(tests).as_posix() for folder in folders} <= set(LEVELS)


def test_one_name_is_of_one_class() -> None:
    found = Counter(
        node.name
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    # `hardmute.aio` has the twin of `hardmute.Board`.
    assert [name for name, count in found.items() if count > 1] == ["Board"]


def test_arrows_between_rooms_go_down_only() -> None:
    wrong: list[str] = []
    for module, others in arrows().items():
        room = module.split(".")[0]
        for other in others:
            down = other.split(".")[0]
            if room == down or module in FACE:
                continue
            if down not in LEVELS:
                # Only the command line knows the public face.
                if room != "cli":
                    wrong.append(f"{module} -> {other}")
            elif LEVELS[down] >= LEVELS[room]:
                wrong.append(f"{module} -> {other}")
    assert wrong == []


def test_the_words_of_a_command_end_at_the_command_line() -> None:
    """Below `cli` functions take values, and nobody makes up the words of another command."""
    for module, file in MODULES.items():
        for node in ast.walk(parsed(file)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            assert "argparse" not in names or module.split(".")[0] == "cli", module
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).split(".")[-1]
                assert called != "Namespace", f"{module}:{node.lineno}"


# What a command may import besides `hardmute`, `hardmute.render` and what `cli` itself has: the
# room that it is about, and what that one stands on. A command that is not here has no other way
# to a board or to the log than any program has.
ROOMS_OF = {
    "audio": {"listen"},
    "demo": {"device", "sim"},
    "doctor": {"device", "doctor", "monitor", "system"},
    "flash": {"device", "flash"},
    "flash_esp32": {"flash"},
    "flash_verify": {"flash"},
    "listen": {"device", "evidence", "listen", "sync"},
    "micropython": {"flash"},
    "monitor": {"monitor", "system", "web"},
    "outcome": {"listen"},
    "page": {"system"},
    "recording": {"listen"},
    "service": {"monitor"},
    # The face takes longer to load than the monitor to answer.
    "shortcut": {"model", "system"},
    "sim": {"device", "flash", "sim"},
    # Whether a board that is simulated here has a clock of its own.
    "whose_clock": {"device", "system"},
}


def test_commands_go_by_the_public_face() -> None:
    found: dict[str, set[str]] = {}
    for module, others in arrows().items():
        if module.split(".")[0] == "cli":
            # `model.typed` is `typing`, at a fraction of its time.
            rooms = {other.split(".")[0] for other in others if other != "model.typed"}
            # The face itself has no name in it: `from hardmute import Host`.
            found[module.split(".")[-1]] = rooms - {"", "cli", "render"}
    assert {module: rooms for module, rooms in found.items() if rooms} == ROOMS_OF


# Where a command stands with others that are closely related to it.
STANDS_WITH = {
    "mute": "asking",
    "verify": "asking",
    "unpair": "pair",
    "forget": "name",
    "world": "sim",
}
# A command that begins or ends as another one does, and the parts of a long one.
COMMANDS_THAT_CALL = {
    "demo": {"sim"},
    "flash": {"flash_esp32", "flash_verify", "asking"},
    "flash_verify": {"flash_esp32"},
    "listen": {"recording"},
    "asking": {"listen"},
    "monitor": {"watch"},
    "status": {"asking"},
    "watch": {"watch_several"},
}


def test_a_command_is_found_by_its_name() -> None:
    folder = HOST / "cli" / "commands"
    source = ast.parse((HOST / "cli" / "parser.py").read_text("utf-8"))
    runs = [
        (ast.literal_eval(name), ast.literal_eval(what.elts[0]))
        for node in ast.walk(source)
        if isinstance(node, ast.Dict)
        for name, what in zip(node.keys, node.values, strict=True)
        if isinstance(name, ast.Constant) and isinstance(what, ast.Tuple)
    ]
    assert len(runs) >= 18
    for command, run in runs:
        module = run.partition(":")[0]
        assert module == STANDS_WITH.get(command, command)
        assert (folder / f"{module}.py").exists()
    for module, others in arrows().items():
        if module.startswith("cli.commands."):
            called = {
                other.removeprefix("cli.commands.")
                for other in others
                if other.startswith("cli.commands.")
            }
            assert called == COMMANDS_THAT_CALL.get(module.split(".")[-1], set()), module


# These read what other programs say, argparse among them; and a key file says what it is.
READS_OF_OTHERS = {"cli.parser", "device.client", "flash.esp32", "store.keys"}


def is_text(node: ast.expr | None, named: set[str]) -> bool:
    """Whether it is, or has, a text for people: a string with a space, or a name of one."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and " " in node.value.strip()
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(is_text(one, named) for one in node.elts)
    if isinstance(node, ast.Dict):
        return any(is_text(one, named) for one in node.keys)
    is_name = isinstance(node, ast.Name | ast.Attribute)
    return is_name and ast.unparse(node).split(".")[-1] in named


def named_texts(tree: ast.Module, named: set[str]) -> set[str]:
    """What a module calls its texts."""
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and is_text(node.value, named)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def test_no_text_for_people_is_compared() -> None:
    """What steers the program is a value (`model.reasons`); its words are made last."""
    trees = {module: parsed(file) for module, file in MODULES.items()}
    every = set[str]().union(*(named_texts(tree, set()) for tree in trees.values()))
    public = {name for name in every if not name.startswith("_")}
    found = set[str]()
    for module, tree in trees.items():
        named = public | named_texts(tree, public)
        for node in ast.walk(tree):
            compared: list[ast.expr] = []
            if isinstance(node, ast.Compare):
                compared = [node.left, *node.comparators]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                compared = node.args if node.func.attr in ("replace", "startswith") else []
            if any(is_text(one, named) for one in compared):
                found.add(module)
    assert found == READS_OF_OTHERS


# What was heard, by a file from elsewhere, is not one of our verdicts yet.
ANY_WORD = {"evidence.listening"}


def test_states_and_proofs_are_no_plain_strings() -> None:
    """A misspelled one is then found by the type checker (`model.answers`)."""
    plain = set[str]()
    for module, file in MODULES.items():
        if module.split(".")[0] in ("model", "evidence", "sync"):
            for node in ast.walk(parsed(file)):
                if isinstance(node, ast.AnnAssign):
                    name, kind = ast.unparse(node.target), node.annotation
                elif isinstance(node, ast.arg) and node.annotation is not None:
                    name, kind = node.arg, node.annotation
                else:
                    continue
                if name in ("state", "verdict", "proof", "cause") and "str" in ast.unparse(kind):
                    plain.add(module)
    assert plain == ANY_WORD


# It speaks with a child of this process by its standard streams.
SPEAKS_WITH_A_CHILD = {"store.readers"}


def test_nothing_below_the_cli_prints_or_reads_a_terminal() -> None:
    """What a person is to know goes through `model.notices`."""
    found = set[str]()
    for module, file in MODULES.items():
        for node in ast.walk(parsed(file)):
            name = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            if name in ("print", "input", "sys.stdin", "sys.stdout", "sys.stderr"):
                found.add(module)
            if isinstance(node, ast.ImportFrom | ast.Import):
                imported = ast.unparse(node).split()[1].split(".")[0]
                if imported in ("rich", "readchar", "getpass"):
                    found.add(module)
    assert {module for module in found if module.split(".")[0] != "cli"} == SPEAKS_WITH_A_CHILD


def test_no_module_imports_itself_by_others() -> None:
    done: set[str] = set()

    def follow(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in arrows().get(module, ()):
                follow(other, (*path, module))
            done.add(module)

    for module in MODULES:
        follow(module, ())
