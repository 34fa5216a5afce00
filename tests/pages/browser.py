"""Debian's headless Chromium, driven over a pipe: the DevTools protocol, without a network."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Chromium reads descriptor 3 and writes to 4.
_START = """
import os, sys
ends = [os.dup(int(end)) for end in sys.argv[1:3]]
while min(ends) < 5:
    ends = [os.dup(end) for end in ends]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""
ANSWER_S = 60.0
SOON_S = 60.0


class Browser:
    """A browser with a profile of its own. It is one process group, which can be stopped."""

    def __init__(self, profile: Path) -> None:
        requests, self._to = os.pipe()
        self._from, answers = os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-c", _START, str(requests), str(answers)),
                "chromium-headless-shell",
                "--remote-debugging-pipe",
                # Tests may run as root, in a container that grants no namespaces.
                "--no-sandbox",
                # It may have no more than the little that a container grants.
                "--disable-dev-shm-usage",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(requests, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(requests)
        os.close(answers)
        self._ids = itertools.count(1)
        self._heard = b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: object) -> Any:
        """The result of one command; what happens until then goes to ``events``."""
        number = next(self._ids)
        said: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            said["sessionId"] = session
        os.write(self._to, json.dumps(said).encode() + b"\0")
        until = time.monotonic() + ANSWER_S
        while True:
            message = self._next(until)
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self.events.append(message)

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._heard:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser has ended"
            self._heard += data
        message, _, self._heard = self._heard.partition(b"\0")
        return json.loads(message)

    def open(self, url: str, *, width: int = 1000, scheme: str = "light") -> Tab:
        """A new tab, ``width`` px wide, with the colours that its reader prefers."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        tab.call("Page.enable")
        tab.call("Runtime.enable")
        tab.call("Log.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        # They would be in the pictures, and take their place from the page.
        tab.call("Emulation.setScrollbarsHidden", hidden=True)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        tab.call("Emulation.setEmulatedMedia", features=features)
        tab.call("Page.navigate", url=url)
        return tab

    def freeze(self) -> None:
        """Stop each of its processes, as a computer that is suspended does."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SOON_S)
        os.close(self._to)
        os.close(self._from)


class Tab:
    """A tab of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self.session = session

    def call(self, method: str, **parameters: object) -> Any:
        return self._browser.call(method, self.session, **parameters)

    def run(self, script: str) -> Any:
        """The value of an expression, or of the promise that it is."""
        said = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def wait(self, script: str, seconds: float = SOON_S) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < until, (script, self.run("document.body.innerText"))
            time.sleep(0.02)

    def picture(self, file: Path, height: int | None = None) -> None:
        """The whole page, as a PNG; or as much of it as is so high, in px."""
        options: dict[str, object] = {"captureBeyondViewport": True}
        if height is not None:
            width = self.run("innerWidth")
            options = {"clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}}
        shot = self.call("Page.captureScreenshot", format="png", **options)
        file.write_bytes(base64.b64decode(shot["data"]))

    def has_seen(self, method: str) -> bool:
        """Whether it has told of such an event until now."""
        self.run("0")
        return any(
            (event["method"], event.get("sessionId")) == (method, self.session)
            for event in self._browser.events
        )

    @property
    def complaints(self) -> list[str]:
        """What it has told of errors until now: scripts, policies, requests."""
        found: list[str] = []
        for event in self._browser.events:
            if event.get("sessionId") == self.session:
                details = event["params"]
                if event["method"] == "Runtime.exceptionThrown":
                    found.append(details["exceptionDetails"]["exception"]["description"])
                elif event["method"] == "Log.entryAdded" and details["entry"]["level"] == "error":
                    found.append(details["entry"]["text"])
        return found


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    made = Browser(profile)
    try:
        yield made
    finally:
        made.close()
