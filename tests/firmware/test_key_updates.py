"""P6: an update of the firmware costs no pairing, nor does going back.

The keys are stored by one version of `keystore` and opened by another. The firmware from before
there were versions is `released/keystore_1.py`; that of the future stores keys of another size,
or says another version. `test_power_cut` cuts the power at each byte of these updates.
"""

import struct
from random import Random
from typing import Any

import pytest
from board_port import Port
from fakes.flash import BLOCK

from muteboard import evidence, journal, wire
from muteboard.app import App

_SIZES = (8, 120, 248)
_PER_BLOCK = 15
_ENTROPY = Random(19).randbytes


@pytest.fixture(params=["rp2040", "esp32"])
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Port:
    monkeypatch.chdir(tmp_path)
    return Port(request.param, monkeypatch)


def keys(number: int, size: int = journal.KEYS_SIZE) -> bytes:
    return Random(number).randbytes(size)


def open_store(port: Port, name: str = "keys") -> Any:
    """After a restart, by the firmware of today."""
    port.mp.restart()
    return port.keystore.KeyStore(port.start().flash(), _ENTROPY, name)


def open_released(port: Port, size: int = journal.KEYS_SIZE) -> Any:
    """After a restart, by the firmware from before there were versions."""
    port.mp.restart()
    return port.released_keystore.KeyStore(port.start().flash(), _ENTROPY, size)


def on_flash(port: Port, stored: bytes) -> int:
    return port.mp.flash.image.count(stored)


def header_at(port: Port) -> int:
    """Where the only block of keys begins."""
    image = port.mp.flash.image
    (found,) = [at for at in range(0, len(image), BLOCK) if image.startswith(b"hardmute k", at)]
    return found


# From the firmware before there were versions, and back to it.


@pytest.mark.parametrize("stored", [1, 2, _PER_BLOCK, _PER_BLOCK + 1])
def test_P6_an_update_keeps_the_keys_and_wipes_older(port: Port, stored: int) -> None:
    store = open_released(port)
    for number in range(stored):
        store.store(keys(number))
    for number in range(stored, stored + _PER_BLOCK + 2):
        store = open_store(port)
        assert store.load() == keys(number - 1)
        store.store(keys(number))
        assert on_flash(port, keys(number)) == 1
        assert on_flash(port, keys(number - 1)) == 0


@pytest.mark.parametrize("stored", [1, 2, _PER_BLOCK, _PER_BLOCK + 1])
def test_P6_going_back_keeps_the_keys_and_wipes_older(port: Port, stored: int) -> None:
    store = open_store(port)
    for number in range(stored):
        store.store(keys(number))
    for number in range(stored, stored + _PER_BLOCK + 2):
        store = open_released(port)
        assert store.load() == keys(number - 1)
        store.store(keys(number))
        assert on_flash(port, keys(number)) == 1
        assert on_flash(port, keys(number - 1)) == 0
    assert open_store(port).load() == keys(number)


def test_P6_back_and_forth_keeps_the_keys(port: Port) -> None:
    open_store(port).store(keys(0))
    for number in range(1, 3 * _PER_BLOCK):
        store = open_released(port) if number % 2 else open_store(port)
        assert store.load() == keys(number - 1)
        store.store(keys(number))
        assert on_flash(port, keys(number - 1)) == 0


# To firmware with keys of another size, and back.


@pytest.mark.parametrize("size", _SIZES)
def test_P6_keys_of_any_size_are_there_for_any_firmware(port: Port, size: int) -> None:
    open_store(port).store(keys(0))
    # The newer one finds the older one's keys, makes its own of them and stores these.
    store = open_store(port)
    assert store.load() == keys(0)
    store.store(keys(1, size))
    assert on_flash(port, keys(0)) == 0
    assert open_store(port).load() == keys(1, size)
    # The older one finds the newer one's.
    store = open_store(port)
    assert store.load() == keys(1, size)
    assert open_store(port).load() == keys(1, size)
    store.store(keys(2))
    assert on_flash(port, keys(1, size)) == 0
    assert open_released(port).load() == keys(2)


@pytest.mark.parametrize("size", _SIZES)
def test_P6_going_far_back_overwrites_no_keys(port: Port, size: int) -> None:
    """The firmware from before there were versions does not see them, and takes them for none."""
    open_store(port).store(keys(1, size))
    assert open_released(port).load() is None
    assert open_released(port, 120).load() is None
    assert on_flash(port, keys(1, size)) == 1
    assert open_store(port).load() == keys(1, size)
    # Until it is paired.
    open_released(port).store(keys(2))
    assert open_store(port).load() == keys(2)
    assert on_flash(port, keys(1, size)) == 0


def test_P6_the_journal_takes_other_keys_for_no_end(port: Port) -> None:
    """Keys of a future firmware: the board cannot sign, and says so; nothing connects."""
    paired = port.start()
    first = journal.Journal(paired)
    assert first.pair(0, bytes(32)) is not None
    stored = paired.load_keys()
    paired.store_keys(stored + bytes(44))
    port.mp.restart()
    app = App(port.start())
    assert evidence.FAILED in app.status(0)["warnings"]
    with pytest.raises(wire.WireError, match="storage"):
        app.attest(0, "00" * 16)
    assert app.evidence.unmute(0) is False
    port.mp.restart()
    again = port.start()
    assert again.load_keys() == stored + bytes(44)
    again.store_keys(stored)
    assert journal.Journal(again).pairing == 1


# What is not understood.


def test_P6_a_store_leaves_those_of_another_alone(port: Port) -> None:
    first, second = keys(1), keys(2, 120)
    open_store(port).store(first)
    open_store(port, "others").store(second)
    for number in range(3, 3 + 2 * _PER_BLOCK):
        assert open_store(port).load() == first
        assert open_store(port, "others").load() == second
        assert on_flash(port, first) == on_flash(port, second) == 1
        if number % 2:
            first = keys(number)
            open_store(port).store(first)
        else:
            second = keys(number, 120)
            open_store(port, "others").store(second)
    assert open_released(port).load() == first
    assert open_store(port, "others").load() == second


def test_P6_a_second_store_leaves_the_released_ones_alone(port: Port) -> None:
    open_released(port).store(keys(1))
    assert open_store(port, "others").load() is None
    open_store(port, "others").store(keys(2))
    assert open_released(port).load() == keys(1)
    assert open_store(port, "others").load() == keys(2)


@pytest.mark.parametrize(
    "change",
    [
        (32, struct.pack("<H", 3)),
        (14, b"3"),
        (36, bytes(4)),
        (40, bytes(4)),
        (0, b"another's"),
        (0, bytes(BLOCK)),
        # The only page with keys.
        (256, b"\1\0\0\1"),
    ],
    ids=["version", "magic", "owner", "check", "other", "zeros", "page"],
)
def test_P6_keys_of_no_known_kind_are_neither_none_nor_wiped(
    port: Port, change: tuple[int, bytes]
) -> None:
    open_store(port).store(keys(0))
    at = header_at(port) + change[0]
    image = port.mp.flash.image
    image[at : at + len(change[1])] = change[1]
    before = bytes(image)
    for _ in range(2):
        with pytest.raises(OSError, match="cannot read"):
            open_store(port)
    assert image == before
    app = App(port.start())
    assert evidence.FAILED in app.status(0)["warnings"]
    assert app.evidence.unmute(0) is False


def test_P6_an_unknown_block_of_no_file_is_left_alone(port: Port) -> None:
    open_store(port).store(keys(0))
    with port.mp.open("keys", "rb") as file:
        content = file.read()
    block = len(port.mp.flash.image) - BLOCK
    port.mp.flash.image[block:] = content
    port.mp.flash.image[block + 32] = 3
    assert open_store(port).load() == keys(0)
    assert port.mp.flash.image[block + 256 : block + 512] == content[256:512]
    # One that is known has been left behind by a power cut.
    port.mp.flash.image[block + 16] ^= 1
    port.mp.flash.image[block + 32] = 2
    assert open_store(port).load() == keys(0)
    assert not any(port.mp.flash.image[block + 256 : block + 512])


def test_P6_a_file_that_cannot_be_opened_is_not_taken_for_none(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(port).store(keys(0))

    def fails(_path: str, _mode: str) -> Any:
        raise OSError(5)

    with monkeypatch.context() as patch:
        patch.setattr(port.keystore, "open", fails)
        with pytest.raises(OSError, match="5"):
            open_store(port)
    assert open_store(port).load() == keys(0)
