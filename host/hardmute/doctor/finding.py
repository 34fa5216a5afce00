"""What one check found."""

from __future__ import annotations

from typing import NamedTuple

from hardmute.model import errors


class Finding(NamedTuple):
    """``result``: ``pass``, ``warn``, ``fail`` or ``skipped``. ``todo``: what to do, or empty.

    ``code``: the exit code of a ``fail`` (`hardmute.model.errors`); 0 for the others.
    """

    name: str
    result: str
    text: str
    todo: str = ""
    code: int = errors.OK

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "result": self.result, "text": self.text, "todo": self.todo}


def passed(name: str, text: str) -> Finding:
    return Finding(name, "pass", text)


def warned(name: str, text: str, todo: str) -> Finding:
    return Finding(name, "warn", text, todo)


def failed(name: str, text: str, todo: str, code: int) -> Finding:
    return Finding(name, "fail", text, todo, code)


def skipped(name: str, why: str) -> Finding:
    return Finding(name, "skipped", f"not checked: {why}")
