"""Where MicroPython's image for the emulated Pico comes from, and what is said without one."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pico_image_maker as maker
import pytest

from hardmute.cli import micropython
from hardmute.flash import releases, runtime
from hardmute.model.errors import LocalError, UsageError

IMAGE = maker.uf2_of(maker.runtime())
OTHER = maker.uf2_of(maker.runtime(version="v1.26.0"))


def yes(_address: str) -> bool:
    return True


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("hardmute.system.paths.cache_dir", lambda name: tmp_path / name)
    return tmp_path / "runtime"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The official site, on this machine: its one file is ``site["body"]``, which is pinned.

    ``site["elsewhere"]``: the address that it sends who asks to, instead.
    """
    content = {"body": IMAGE}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content["body"]
            elsewhere = content.get("elsewhere", b"").decode()
            moved = bool(elsewhere) and self.path != "/moved"
            self.send_response(302 if moved else 200 if body else 404)
            if moved:
                self.send_header("Location", elsewhere)
            length = content.get("length") or str(len(body)).encode()
            self.send_header("Content-Length", length.decode())
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(runtime, "_SITE", f"http://127.0.0.1:{server.server_address[1]}/")
        monkeypatch.setitem(runtime.PINS, runtime.PICO, hashlib.sha256(IMAGE).hexdigest())
        yield content
        server.shutdown()
        thread.join()


def put(cache: Path, origin: str, modified_s: int) -> Path:
    file = cache / origin / runtime.NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(IMAGE)
    os.utime(file, (modified_s, modified_s))
    return file


def test_the_image_that_is_given_is_used(tmp_path: Path, cache: Path) -> None:
    put(cache, "cached", 2)
    given = tmp_path / "mine.uf2"
    given.write_bytes(OTHER)
    assert runtime.find(given) == given


@pytest.mark.parametrize("content", [None, b"", b"MZ" + bytes(510), IMAGE[:-1], IMAGE + b"x"])
def test_what_is_no_image_is_refused(tmp_path: Path, cache: Path, content: bytes | None) -> None:
    assert not cache.exists()
    given = tmp_path / "mine.uf2"
    if content is not None:
        given.write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.uf2"):
        runtime.find(given, yes)


def test_the_newest_in_the_cache_is_used(cache: Path, site: dict[str, bytes]) -> None:
    site["body"] = b""
    put(cache, "old", 1)
    newest = put(cache, "new", 3)
    put(cache, "older", 2)
    assert runtime.find(None, yes) == newest


def test_without_consent_nothing_is_downloaded(cache: Path, site: dict[str, bytes]) -> None:
    assert site
    with pytest.raises(LocalError, match=r"--image .* --download .*`make -C firmware runtime`"):
        runtime.find(None)
    assert not cache.exists()


def test_with_consent_it_is_downloaded_once(cache: Path, site: dict[str, bytes]) -> None:
    found = runtime.find(None, yes)
    assert found == runtime.place(runtime.PICO)
    assert found.is_relative_to(cache)
    assert found.read_bytes() == site["body"]
    site["body"] = b""
    assert runtime.find(None) == found
    # Nor is what was built here preferred.
    put(cache, "built", 9_999_999_999)
    assert runtime.find(None) == found


def test_a_download_that_was_changed_since_is_refused(cache: Path, site: dict[str, bytes]) -> None:
    found = runtime.find(None, yes)
    content = bytearray(site["body"])
    content[100] ^= 1
    found.write_bytes(content)
    with pytest.raises(LocalError, match="is not the official"):
        runtime.find(None)
    assert cache in found.parents


def test_other_bytes_under_a_pinned_name_are_refused(
    cache: Path, site: dict[str, bytes], tmp_path: Path
) -> None:
    site["body"] = OTHER
    with pytest.raises(LocalError, match="is not the official"):
        runtime.find(None, yes)
    assert not cache.exists()
    given = tmp_path / runtime.PICO
    given.write_bytes(OTHER)
    with pytest.raises(LocalError, match="is not the official"):
        runtime.find(given)
    given.write_bytes(IMAGE)
    assert runtime.find(given) == given


@pytest.mark.parametrize("elsewhere", ["/moved", "http://127.0.0.1:9/moved", "ftp://127.0.0.1/x"])
def test_no_redirect_leads_away_from_https(
    cache: Path, site: dict[str, bytes], elsewhere: str
) -> None:
    site["elsewhere"] = elsewhere.encode()
    with pytest.raises(LocalError, match="cannot be downloaded"):
        runtime.find(None, yes)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("version", "is_newer"),
    [
        ("v1.25.0", False),
        ("1.25", False),
        ("v1.24.1", False),
        ("v1.25.1", True),
        ("v1.26.0-preview.5.gabc", True),
        ("1.29.0", True),
    ],
)
def test_a_release_that_nobody_has_run_is_told(version: str, is_newer: bool) -> None:
    told = releases.doubt(releases.numbers(version))
    assert bool(told) is is_newer
    assert all("newer than 1.25.0" in one for one in told)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "consents"), [("y\n", True), ("\n", False), ("", False)])
def test_a_person_at_a_terminal_is_asked(
    cache: Path,
    site: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    consents: bool,
) -> None:
    assert site
    asked = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", asked)
    if consents:
        assert micropython.find(None, download=False).is_relative_to(cache)
    else:
        with pytest.raises(LocalError):
            micropython.find(None, download=False)
    assert "Download http://127.0.0.1" in asked.getvalue()
    assert cache.exists() is consents


@pytest.mark.parametrize(
    ("body", "length"), [(b"", b"0"), (b"<html>", b"6"), (IMAGE, b"99999"), (b"", b"512")]
)
def test_a_download_that_fails_leaves_nothing_behind(
    cache: Path, site: dict[str, bytes], body: bytes, length: bytes
) -> None:
    site.update(body=body, length=length)
    with pytest.raises((LocalError, UsageError)):
        runtime.find(None, yes)
    assert list(cache.rglob("*")) == []
