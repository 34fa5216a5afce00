"""A session bus of the tests' own: Debian's dbus-daemon, with its own settings."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

_SETTINGS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  {services}
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
_SERVICE = """\
[D-BUS Service]
Name=org.freedesktop.Notifications
Exec={command}
"""


class Bus:
    """``address``: where it listens. It is started by `start`, and again after `kill`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"unix:path={folder / 'bus'}"
        self.process: subprocess.Popen[bytes] | None = None
        self._services = ""

    def activates(self, *command: str) -> None:
        """From its next start on it starts this program where somebody needs the service."""
        folder = self._folder / "services"
        folder.mkdir()
        text = _SERVICE.format(command=" ".join(command))
        (folder / "notifications.service").write_text(text)
        self._services = f"<servicedir>{folder}</servicedir>"

    def start(self) -> None:
        settings = self._folder / "bus.conf"
        socket = self._folder / "bus"
        settings.write_text(_SETTINGS.format(socket=socket, services=self._services))
        # Its address comes once it listens.
        command = ["dbus-daemon", f"--config-file={settings}", "--nofork", "--print-address"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith(self.address.encode())

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(60)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None
        (self._folder / "bus").unlink(missing_ok=True)
