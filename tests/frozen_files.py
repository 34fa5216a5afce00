"""What firmware/manifest.py says, for whoever compares that with something."""

from __future__ import annotations

from pathlib import Path

import muteboard

FIRMWARE = Path(muteboard.__file__).parent.parent
# MicroPython's own modules.
PORT_S = ("_boot.py", "rp2.py")


def frozen() -> list[tuple[str, str]]:
    """(name in the image, file below firmware/), in order, of what is frozen and ours."""
    found: list[tuple[str, str]] = []

    def freeze(path: str, script: tuple[str, ...]) -> None:
        assert (path, script) == ("$(PORT_DIR)/modules", PORT_S)

    def module(module_path: str, base_path: str) -> None:
        found.append((module_path, f"{base_path}/{module_path}".removeprefix("./")))

    def package(package_path: str, files: tuple[str, ...], base_path: str) -> None:
        for file in files:
            module(f"{package_path}/{file}", base_path)

    words = {"freeze": freeze, "module": module, "package": package}
    exec((FIRMWARE / "manifest.py").read_text(), words)  # noqa: S102 - our own file
    return found
