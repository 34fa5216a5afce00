"""`hardmute service`: what it writes, what it asks of the service manager, and done twice.

`systemctl` is a program of the test's own here; tests/peers has systemd's own word on the unit.
"""

from __future__ import annotations

import os
import plistlib
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import Cli
from hardmute.model.errors import LocalError
from hardmute.monitor import units

SYSTEMCTL = """#!/bin/sh
# Remembers what it is asked; a service runs while the file `runs` is there.
cd "$(dirname "$0")" || exit 9
echo "$*" >>asked
case "$*" in
  *"show "*) [ ! -e no-bus ] || { echo "No medium found" >&2; exit 1; } ;;
  *"is-active "*) [ -e runs ] && echo active || { echo inactive; exit 3; } ;;
  *"start "*) [ ! -e broken ] || { echo; echo "Job failed." >&2; exit 1; }; touch runs ;;
  *"disable --now "*) rm -f runs ;;
esac
"""
ASK = "--user show --property=Version"
STATE = "--user is-active hardmute-monitor.service"
TELL = ["--user daemon-reload", "--user enable hardmute-monitor.service"]
START, RESTART, STOP = (
    f"--user {verb} hardmute-monitor.service" for verb in ("start", "restart", "disable --now")
)


class Manager:
    """The service manager of this test, and the unit that is given to it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.unit = home / ".config/systemd/user/hardmute-monitor.service"
        program = folder / "systemctl"
        program.write_text(SYSTEMCTL)
        program.chmod(0o755)

    def asked(self) -> list[str]:
        """What it was asked since the last time."""
        file = self.folder / "asked"
        said = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return said

    def set(self, name: str) -> None:
        (self.folder / name).touch()


@pytest.fixture
def manager(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    assert home
    folder, mine = tmp_path / "bin", tmp_path / "me"
    folder.mkdir()
    mine.mkdir()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(mine))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return Manager(folder, mine)


def test_it_is_installed_and_removed_and_each_may_be_done_again(
    manager: Manager, cli: Cli
) -> None:
    told = cli("service", "status")
    assert (told.code, told.out) == (6, "No service is installed: `hardmute service install`.\n")
    assert manager.asked() == [ASK, STATE]

    told = cli("service", "install")
    assert told.code == 0
    assert str(manager.unit) in told.out
    assert "journalctl --user --unit hardmute-monitor" in told.out
    assert manager.asked() == [ASK, *TELL, STATE, START]
    assert f'ExecStart=:"{sys.executable}" -P -m hardmute monitor\n' in manager.unit.read_text()
    assert manager.unit.stat().st_mode & 0o777 == 0o600

    assert cli("service", "install").code == 0
    assert manager.asked() == [ASK, *TELL, STATE]
    told = cli("service", "status")
    assert told.code == 0
    assert told.out.startswith(f"The service runs ({manager.unit}).\n")
    manager.asked()

    assert cli("service", "remove").code == 0
    assert manager.asked() == [ASK, STOP, "--user daemon-reload"]
    assert list(manager.unit.parent.iterdir()) == []
    told = cli("service", "remove")
    assert (told.code, told.out) == (0, "No service is installed.\n")
    assert manager.asked() == []


def test_another_file_is_renewed_and_the_service_restarted(manager: Manager, cli: Cli) -> None:
    cli("service", "install")
    manager.unit.write_text("[Service]\nExecStart=/opt/old/python -m hardmute monitor\n")
    told = cli("service", "status")
    assert told.code == 0
    assert "Its file is not what this hardmute would write" in told.out
    manager.asked()
    assert cli("service", "install").code == 0
    assert manager.asked() == [ASK, *TELL, STATE, RESTART]
    assert sys.executable in manager.unit.read_text()


def test_a_dry_run_changes_nothing_and_asks_nobody(manager: Manager, cli: Cli) -> None:
    told = cli("service", "install", "--dry-run")
    assert told.code == 0
    assert f"# This would be written to {manager.unit}:\n[Unit]\n" in told.out
    assert told.out.endswith(
        "# These commands would be run:\n"
        + "".join(f"systemctl {one}\n" for one in (*TELL, START))
    )
    assert not manager.unit.exists()
    cli("service", "install")
    manager.asked()
    told = cli("service", "remove", "--dry-run")
    assert told.code == 0
    assert f"# {manager.unit} would be removed.\n" in told.out
    assert f"systemctl {STOP}\n" in told.out
    assert manager.unit.exists()
    assert manager.asked() == []


def test_without_a_session_nothing_is_changed(manager: Manager, cli: Cli) -> None:
    manager.set("no-bus")
    for action in ("install", "status"):
        told = cli("service", action)
        assert (told.code, told.out) == (6, "")
        assert told.err.startswith(
            "The service manager of this user cannot be asked (No medium found): log in to a"
        )
    assert not manager.unit.exists()


def test_without_systemd_one_sentence_says_so(
    manager: Manager, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(manager.unit.parent))
    told = cli("service", "install")
    assert told.code == 6
    assert told.err == (
        "`systemctl --user show --property=Version` cannot be run: No such file or directory.\n"
    )
    assert not manager.unit.exists()


def test_a_monitor_that_does_not_start_is_told(manager: Manager, cli: Cli) -> None:
    manager.set("broken")
    told = cli("service", "install")
    assert (told.code, told.out) == (6, "")
    assert told.err.startswith(f"`systemctl {START}` failed: Job failed.")
    told = cli("service", "status")
    assert told.code == 6
    assert told.out.startswith("The service does not run (inactive): `hardmute service install`.")


def test_a_folder_that_cannot_be_written_is_told(manager: Manager, cli: Cli) -> None:
    manager.unit.parent.parent.mkdir(parents=True)
    manager.unit.parent.write_text("")
    told = cli("service", "install")
    assert told.code == 6
    assert told.err == f"{manager.unit} cannot be written (File exists).\n"


def test_the_unit_knows_where_the_log_is(tmp_path: Path) -> None:
    environ = {"HARDMUTE_HOME": 'my 100 % "home"', "XDG_DATA_HOME": "/data", "XDG_CACHE_HOME": ""}
    unit = units.service("linux", "/usr/bin/python3", tmp_path, environ).text
    where = f'{Path.cwd()}/my 100 %% \\"home\\"'
    assert f'\nEnvironment="HARDMUTE_HOME={where}"\n' in unit
    assert '\nEnvironment="XDG_DATA_HOME=/data"\n' in unit
    assert "XDG_CACHE_HOME" not in unit
    elsewhere = units.service("linux", "/p", tmp_path, {"XDG_CONFIG_HOME": "/conf"}).file
    assert elsewhere == Path("/conf/systemd/user/hardmute-monitor.service")


@pytest.mark.parametrize("path", ['/a"b/python', "/a'b/python", "/a\\b/python", "/a\nb/python"])
def test_a_path_that_systemd_does_not_take_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(LocalError, match=r"in its path .*: install hardmute elsewhere\."):
        units.service("linux", path, tmp_path, {})


# What nobody has run is held against its format, at least.


def test_the_agent_of_macos(tmp_path: Path) -> None:
    python = "/Users/me & you/<venv>/bin/python"
    service = units.service("darwin", python, tmp_path, {"HARDMUTE_HOME": "/h & m"}, 501)
    assert service.file == tmp_path / "Library/LaunchAgents/hardmute.monitor.plist"
    agent = plistlib.loads(service.text.encode())
    assert agent["ProgramArguments"] == [python, "-P", "-m", "hardmute", "monitor"]
    assert agent["EnvironmentVariables"] == {"HARDMUTE_HOME": "/h & m"}
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert service.start == (("launchctl", "bootstrap", "gui/501", str(service.file)),)
    assert service.stop == (("launchctl", "bootout", "gui/501/hardmute.monitor"),)
    assert not service.was_run


def test_the_task_of_windows(tmp_path: Path) -> None:
    environ = {"LOCALAPPDATA": str(tmp_path), "USERDOMAIN": "DESK", "USERNAME": "R & D"}
    service = units.service("win32", r"C:\R & D\venv\Scripts\python.exe", tmp_path, environ)
    assert service.file == tmp_path / "hardmute" / "hardmute-monitor.xml"
    task = ElementTree.fromstring(service.text.encode(service.encoding))  # noqa: S314 (ours)
    space = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    said = {
        path: task.findtext("/".join(f"t:{part}" for part in path.split("/")), None, space)
        for path in (
            "Actions/Exec/Command",
            "Actions/Exec/Arguments",
            "Triggers/LogonTrigger/UserId",
            "Principals/Principal/UserId",
            "Principals/Principal/RunLevel",
            "Settings/ExecutionTimeLimit",
            "Settings/RestartOnFailure/Interval",
        )
    }
    assert list(said.values()) == [
        r"C:\R & D\venv\Scripts\pythonw.exe",
        "-P -m hardmute monitor",
        r"DESK\R & D",
        r"DESK\R & D",
        "LeastPrivilege",
        "PT0S",
        "PT1M",
    ]
    assert [child.tag.partition("}")[2] for child in task] == [
        *("RegistrationInfo", "Triggers", "Principals", "Settings", "Actions")
    ]
    assert service.tell == (
        ("schtasks", "/create", "/tn", "hardmute-monitor", "/xml", str(service.file), "/f"),
    )
    assert not service.was_run
