"""What `hardmute flash` makes of an emulated Pico."""

from __future__ import annotations

from pathlib import Path

from boot_rom import BootRom
from conftest import image
from hardmute.cli.commands import flash
from hardmute.flash import image as images
from workbench import UNIQUE_ID, Bench

FLASH_SIZE = 2 * 1024 * 1024


def test_P1_a_blank_pico_gets_one_uf2_and_answers(tmp_path: Path) -> None:
    runtime = images.parse(image().read_bytes(), "runtime")
    whole, files = flash.whole_uf2(runtime, None)
    rom = BootRom(b"\xff" * FLASH_SIZE).copy(whole)
    assert rom.done
    assert rom.starts

    uf2 = tmp_path / "whole.uf2"
    uf2.write_bytes(whole)
    bench = Bench(uf2, None)
    assert bytes(bench.pico.mcu.flash[:FLASH_SIZE]) == bytes(rom.flash), (
        "as the boot ROM writes it"
    )
    bench.start()
    hello = bench.ask("hello")
    assert (hello["product"], hello["board"]) == ("hardmute", UNIQUE_ID.hex())
    status = bench.status()
    assert (status["state"], status["warnings"]) == ("muted", [])
    assert bench.coil is False
    bench.go_live()
    assert {**bench.files(), **files} == bench.files()
