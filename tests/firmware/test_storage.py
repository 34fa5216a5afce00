"""The journal's segments and the keys on flash, by the board files of the MicroPython ports."""

from random import Random
from typing import Any

import pytest
from board_port import Port
from fakes.flash import BLOCK, NorFlash

from muteboard import journal

_MAGIC = b"hardmute keys 1\n"
_KEYS_PER_BLOCK = 15


class DullFlash(NorFlash):
    """Does not take ``dull`` as it is."""

    dull = b""

    def program(self, at: int, data: Any) -> None:
        taken = bytes(data)
        if self.dull and self.dull in taken:
            taken = bytes(byte | 1 for byte in taken)
        super().program(at, taken)


@pytest.fixture(params=["rp2040", "rp2040_interlock", "esp32"])
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Port:
    monkeypatch.chdir(tmp_path)
    return Port(request.param, monkeypatch, flash=DullFlash())


def restart(port: Port) -> Any:
    port.mp.restart()
    port.chip.on_edge.clear()
    return port.start()


def keys(number: int) -> bytes:
    return Random(number).randbytes(journal.KEYS_SIZE)


def copies(port: Port, stored: bytes) -> int:
    """How often a quarter of these keys is on the flash."""
    quarter = len(stored) // 4
    return sum(port.mp.flash.image.count(stored[at * quarter :][:quarter]) for at in range(4))


def blocks(port: Port) -> list[int]:
    """Those that look like a block of keys."""
    image = port.mp.flash.image
    return [at for at in range(0, len(image), BLOCK) if image.startswith(_MAGIC, at)]


def write_files(port: Port, count: int) -> None:
    """As much as makes littlefs go round its blocks."""
    for number in range(count):
        with port.mp.open("other", "wb") as file:
            file.write(bytes([number]) * 5000)


# Keys.


def test_there_are_no_keys_at_first(port: Port) -> None:
    assert port.start().load_keys() is None
    assert restart(port).load_keys() is None
    assert blocks(port) == []


def test_P6_keys_survive_restarts_and_the_old_ones_are_nowhere(port: Port) -> None:
    board = port.start()
    for number in range(3 * _KEYS_PER_BLOCK):
        board.store_keys(keys(number))
        write_files(port, 3)
        if number % 4:
            board = restart(port)
        assert board.load_keys() == keys(number)
        assert copies(port, keys(number)) == 4
        for old in range(number):
            assert copies(port, keys(old)) == 0, (old, number)


def test_keys_stay_in_a_block_that_the_file_system_leaves_alone(port: Port) -> None:
    board = port.start()
    board.store_keys(keys(0))
    (block,) = blocks(port)
    assert port.mp.os.stat("keys")[6] == BLOCK
    for number in range(1, _KEYS_PER_BLOCK):
        write_files(port, 70)
        board.store_keys(keys(number))
        assert blocks(port) == [block]
    with port.mp.open("keys", "rb") as file:
        assert file.read() == port.mp.flash.image[block : block + BLOCK]
    board.store_keys(keys(_KEYS_PER_BLOCK))
    # The old one still has its header, and nothing else.
    assert len(blocks(port)) == 2
    used = port.mp.flash.image[block + 256 : block + BLOCK]
    assert not any(used)
    assert port.mp.os.listdir().count("keys") == 1
    assert "keys.tmp" not in port.mp.os.listdir()


@pytest.mark.parametrize("before", [1, _KEYS_PER_BLOCK])
def test_flash_that_does_not_take_the_keys_leaves_the_old_ones(port: Port, before: int) -> None:
    """In the same block, and in a new one."""
    board = port.start()
    for number in range(before):
        board.store_keys(keys(number))
    port.mp.flash.dull = keys(99)
    with pytest.raises(OSError, match="does not take"):
        board.store_keys(keys(99))
    assert board.load_keys() == keys(before - 1)
    assert restart(port).load_keys() == keys(before - 1)
    board.store_keys(keys(98))
    assert restart(port).load_keys() == keys(98)
    assert copies(port, keys(before - 1)) == 0


def test_no_room_for_a_new_block_leaves_the_keys(port: Port) -> None:
    board = port.start()
    for number in range(_KEYS_PER_BLOCK):
        board.store_keys(keys(number))
    fill_up(port)
    with pytest.raises(OSError, match="28"):
        board.store_keys(keys(99))
    assert board.load_keys() == keys(_KEYS_PER_BLOCK - 1)
    port.mp.os.remove("filler")
    board.store_keys(keys(99))
    assert restart(port).load_keys() == keys(99)
    assert copies(port, keys(_KEYS_PER_BLOCK - 1)) == 0


def fill_up(port: Port) -> None:
    size = len(port.mp.flash.image)
    while size >= BLOCK // 2:
        try:
            with port.mp.open("filler", "ab") as file:
                file.write(bytes(size))
        except OSError:
            size //= 2
    with pytest.raises(OSError, match="28"):  # noqa: PT012 - whichever does not fit
        for number in range(len(port.mp.flash.image) // BLOCK):
            with port.mp.open(f"filler{number}", "wb") as file:
                file.write(bytes(BLOCK))


def test_a_copy_of_the_keys_is_destroyed(port: Port) -> None:
    """Whatever littlefs has left behind, or somebody has made."""
    board = port.start()
    board.store_keys(keys(0))
    with port.mp.open("keys", "rb") as file:
        content = file.read()
    with port.mp.open("copy", "wb") as file:
        file.write(content[:16] + bytes(16) + content[32:])
    assert copies(port, keys(0)) == 8
    assert restart(port).load_keys() == keys(0)
    assert copies(port, keys(0)) == 4


def test_a_flash_with_other_blocks_holds_no_keys(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = port.start()
    monkeypatch.setattr(port.storage.keystore, "_BLOCK", 8192)
    with pytest.raises(OSError, match="another size"):
        board.load_keys()


# The journal.


def test_segments_are_appended_read_and_dropped(port: Port) -> None:
    board = port.start()
    assert board.journal_segments() == []
    for number in range(20):
        board.journal_append(1, bytes([number]) * 400)
    board.journal_append(0x1_0000, b"x" * 64)
    board.journal_append(513, b"y" * 64)
    board = restart(port)
    assert board.journal_segments() == [1, 513, 0x1_0000]
    assert board.journal_size(1) == 8000
    assert board.journal_read(1, 3990, 20) == b"\x09" * 10 + b"\x0a" * 10
    assert board.journal_read(513, 0, 64) == b"y" * 64
    board.journal_drop(1)
    assert restart(port).journal_segments() == [513, 0x1_0000]


def test_names_that_are_not_ours_are_no_segments(port: Port) -> None:
    board = port.start()
    board.journal_append(1, b"x" * 64)
    for name in ("notes.txt", "2", "0000000G", "0000000A", "-0000001", "000000001"):
        with port.mp.open("journal/" + name, "wb") as file:
            file.write(b"?")
    assert board.journal_segments() == [1]


def test_P6_a_full_flash_leaves_a_segment_as_it_was(port: Port) -> None:
    board = port.start()
    board.journal_append(1, b"x" * 6400)
    fill_up(port)
    with pytest.raises(OSError, match="28"):
        board.journal_append(1, b"y" * 64)
    assert board.journal_size(1) == 6400
    board = restart(port)
    assert board.journal_read(1, 0, 7000) == b"x" * 6400
    port.mp.os.remove("filler")
    board.journal_append(1, b"y" * 64)
    assert board.journal_size(1) == 6464


def test_entropy_is_the_chips(port: Port) -> None:
    board = port.start()
    first, second = board.entropy(32), board.entropy(32)
    assert len(first) == len(second) == 32
    assert first != second
