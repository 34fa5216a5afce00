"""The fakes offer no more than the stubs of the ports do, which describe the real modules.

Every name of a fake is in the stub, and every call that the fake takes is one that the stub takes:
a program that is wrong about the real module fails on the fake as well.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.chip import Chip
from fakes.micropython_port import Module, Modules
from fakes.rp2_pio import make_rp2

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import check_types

Class = dict[str, list[ast.arguments]]
# `sys.stdin` and `stdout` are of the fakes' own classes: what they offer is that of any stream.
# `open` is CPython's.
MODULES = {
    "rp2": ("machine", "micropython", "vfs", "time", "select", "sys", "os", "rp2"),
    "esp32": ("machine", "micropython", "vfs", "time", "select", "sys", "os", "esp32"),
}


class Stub:
    """The names in a stub file, with the signatures of its functions and methods."""

    def __init__(self, path: Path) -> None:
        self.names: set[str] = set()
        self.functions: Class = {}
        self.classes: dict[str, Class] = {}
        self.values: dict[str, set[str]] = {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            self._read(node)

    def _read(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self.functions.setdefault(node.name, []).append(node.args)
        elif isinstance(node, ast.ClassDef):
            methods: Class = {}
            values: set[str] = set()
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    methods.setdefault(inner.name, []).append(inner.args)
                elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                    values.add(inner.target.id)
            self.classes[node.name] = methods
            self.values[node.name] = values
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self.names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            self.names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.If):
            for inner in node.body + node.orelse:
                self._read(inner)

    def has(self, name: str) -> bool:
        return name in self.names or name in self.functions or name in self.classes


def calls(fake: inspect.Signature) -> Iterator[tuple[list[str], set[str]]]:
    """The shapes of call that a signature takes: names given by position, and by keyword.

    MicroPython has no positional-only parameters, so that a fake cannot refuse their names.
    """
    positional, keyword = [], []
    for parameter in fake.parameters.values():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), fake
        by_name = parameter.kind is parameter.KEYWORD_ONLY
        (keyword if by_name else positional).append(parameter)
    needed = sum(parameter.default is parameter.empty for parameter in positional)
    least = {one.name for one in keyword if one.default is one.empty}
    for count in range(needed, len(positional) + 1):
        given = [one.name for one in positional[:count]]
        yield given, least
        yield given, {one.name for one in keyword}


def takes(stub: ast.arguments, given: list[str], keywords: set[str]) -> bool:
    """Whether the stub's signature takes a call of this shape."""
    names = [argument.arg for argument in stub.posonlyargs + stub.args]
    if stub.vararg and stub.kwarg:
        # The stub does not say.
        return True
    if len(given) > len(names):
        return False
    free = len(stub.posonlyargs)
    # A fake that takes a name must use the stub's.
    if given[free:] != names[free : len(given)]:
        return False
    by_keyword = {argument.arg for argument in stub.args + stub.kwonlyargs}
    if keywords - by_keyword or keywords & set(names[: len(given)]):
        return False
    must = set(names[: len(names) - len(stub.defaults)]) | {
        argument.arg
        for argument, default in zip(stub.kwonlyargs, stub.kw_defaults, strict=True)
        if default is None
    }
    return must <= set(names[: len(given)]) | keywords


def fits(function: Any, overloads: list[ast.arguments]) -> bool:
    """Whether each call that the fake function takes is one that some overload takes."""
    return all(
        any(takes(one, given, keywords) for one in overloads)
        for given, keywords in calls(inspect.signature(function))
    )


def public(thing: Any) -> Iterator[tuple[str, Any]]:
    for name in dir(thing):
        if name == "__init__" or not name.startswith("_"):
            yield name, inspect.getattr_static(thing, name)


def stub_of(port: str, module: str) -> Stub:
    folder = check_types.stubs(port)
    for place in (f"{module}.pyi", f"{module}/__init__.pyi", f"stdlib/{module}/__init__.pyi"):
        if (folder / place).exists():
            return Stub(folder / place)
    raise AssertionError(module)


def fake_of(port: str, module: str) -> Module:
    modules = Modules(Chip(18, 20, (19,), 21), port)
    if module == "rp2":
        return make_rp2(modules, [])
    return getattr(modules, module)


def differences(fake: Module, stub: Stub) -> list[str]:
    """What the fake has or takes that the stub does not."""
    found: list[str] = []
    for name, value in vars(fake).items():
        if not stub.has(name):
            found.append(name)
        elif inspect.isfunction(value):
            if not fits(value, stub.functions.get(name, [])):
                found.append(f"{name}{inspect.signature(value)}")
        elif inspect.isclass(value):
            found += class_differences(name, value, stub)
    return found


def class_differences(name: str, value: type, stub: Stub) -> list[str]:
    found: list[str] = []
    for inner, static in public(value):
        member = static.__func__ if isinstance(static, staticmethod) else static
        if inspect.isfunction(member):
            if not fits(member, stub.classes[name].get(inner, [])):
                found.append(f"{name}.{inner}{inspect.signature(member)}")
        elif inner != "__init__" and inner not in stub.values[name]:
            found.append(f"{name}.{inner}")
    return found


@pytest.mark.parametrize(
    ("port", "module"), [(port, module) for port in MODULES for module in MODULES[port]]
)
def test_every_name_and_call_of_a_fake_is_the_stubs(port: str, module: str) -> None:
    assert differences(fake_of(port, module), stub_of(port, module)) == []


def test_the_comparison_sees_what_is_wrong() -> None:
    def reset(hard: bool = False) -> None: ...
    def unique_id() -> bytes: ...
    def bitstream(pin: int, encoding: int) -> None: ...

    class Pin:
        PULL_SIDEWAYS = 3

        def __init__(self, id: int, mode: int = -1, pulls: int = -1) -> None: ...  # noqa: A002
        def irq(self, handler: Any, *, hard: bool, fast: bool = True) -> None: ...
        def init(self, mode: int = -1, pull: int = -1, value: Any = None) -> None: ...
        def value(self, x: int, y: int = 0) -> None: ...
        def off(self) -> None: ...
        @staticmethod
        def on(level: int) -> None: ...
        def toggled(self) -> None: ...

    class WDT:
        def __init__(self, timeout: int) -> None: ...

    names = (reset, unique_id, bitstream, Pin, WDT)
    fake = Module({thing.__name__: thing for thing in names} | {"restart": reset, "WDT_RESET": 3})
    found = [entry.split("(")[0] for entry in differences(fake, stub_of("esp32", "machine"))]
    assert sorted(found) == [
        "Pin.PULL_SIDEWAYS",
        "Pin.__init__",
        "Pin.init",
        "Pin.irq",
        "Pin.on",
        "Pin.toggled",
        "Pin.value",
        "WDT.__init__",
        "bitstream",
        "reset",
        "restart",
    ]
