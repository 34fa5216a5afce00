"""What Linux' sysfs tells of USB devices; and that what it does not tell is not known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sysfs import CONTROLLER, Sysfs

from hardmute.evidence.absence import UsbDevice
from hardmute.system.usb_tree import UsbTree, usb_tree


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path / "sys")


def test_devices_hubs_and_sound_cards(sysfs: Sysfs) -> None:
    sysfs.add("1", ids="2109:2817")
    sysfs.add("1.4", serial="A1", card=1)
    sysfs.add("2", ids="046d:c52b")
    sysfs.add_card(0, "devices/pci0000:00/0000:00:1f.3/sound/card0", "PCH")
    tree = usb_tree(sysfs.root)
    assert tree is not None
    assert tree.controllers == {CONTROLLER}
    assert tree.others == ("PCH",)
    name = "USB PnP Sound Device"
    assert set(tree.devices) == {
        UsbDevice(0x2109, 0x2817, None, CONTROLLER, "1", name, False),
        UsbDevice(0x0D8C, 0x0014, "A1", CONTROLLER, "1.4", name, True),
        UsbDevice(0x046D, 0xC52B, None, CONTROLLER, "2", name, False),
    }


def test_a_host_without_devices_is_known(sysfs: Sysfs) -> None:
    assert usb_tree(sysfs.root) == UsbTree((), frozenset({CONTROLLER}), ())


def test_P5_no_list_is_not_an_empty_list(tmp_path: Path) -> None:
    assert usb_tree(tmp_path) is None


def test_P5_a_device_that_is_half_there_is_not_known(sysfs: Sysfs) -> None:
    (sysfs.add("2") / "idProduct").unlink()
    assert usb_tree(sysfs.root) is None


def test_P5_ids_that_are_none_are_not_known(sysfs: Sysfs) -> None:
    sysfs.add("2", ids="0d8c:wxyz")
    assert usb_tree(sysfs.root) is None


def test_P5_a_sound_card_of_an_unlisted_device_is_not_known(sysfs: Sysfs) -> None:
    sysfs.add("2", card=1)
    (sysfs.root / "bus/usb/devices/1-2").unlink()
    assert usb_tree(sysfs.root) is None


def test_a_device_that_went_while_it_was_read_is_gone(sysfs: Sysfs) -> None:
    place = sysfs.add("2")
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    assert usb_tree(sysfs.root) == UsbTree((), frozenset({CONTROLLER}), ())


def test_what_a_device_says_is_printable_and_short(sysfs: Sysfs) -> None:
    (sysfs.add("2") / "product").write_bytes(b"\x1b[2J\xff" + b"x" * 1000)
    tree = usb_tree(sysfs.root)
    assert tree is not None
    (device,) = tree.devices
    assert device.name.isprintable()
    assert len(device.name) == 120


def test_P5_other_systems_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert usb_tree() is None
