"""MicroPython's `vfs.VfsLfs2` for CPython: the same littlefs, over littlefs-python."""

# Standard, as the other fakes.
# pyright: standard
# littlefs-python names its parameters.
# ruff: noqa: ARG002

from collections.abc import Iterator
from typing import Any, Self

from littlefs import LittleFSError, UserContext, lfs

from .flash import BLOCK

_DISK_VERSION = 0x0002_0001
# extmod/vfs_lfsx.c.
_BLOCK_CYCLES = 100
_FOLDER = 0x4000
_FILE = 0x8000
# As extmod/vfs_lfsx_file.c has them: littlefs-python's "ab" makes no file.
_FLAGS = {
    "rb": lfs.LFSFileFlag(0x1),
    "wb": lfs.LFSFileFlag(0x2 | 0x100 | 0x400),
    "ab": lfs.LFSFileFlag(0x2 | 0x100 | 0x800),
}


class _Device(UserContext):
    """littlefs's calls, as MicroPython hands them to a block device."""

    def __init__(self, bdev: Any):
        self._bdev = bdev
        # A start reads hundreds of times: not by `readblocks`, which would do the same.
        self._content = bdev._whole.content

    def read(self, cfg: lfs.LFSConfig, block: int, off: int, size: int) -> bytearray:
        return self._content(block * BLOCK + off, size)

    def prog(self, cfg: lfs.LFSConfig, block: int, off: int, data: bytes) -> int:
        self._bdev.writeblocks(block, data, off)
        return 0

    def erase(self, cfg: lfs.LFSConfig, block: int) -> int:
        return self._bdev.ioctl(6, block)


def _config(bdev: Any, progsize: int, readsize: int, lookahead: int = 32) -> lfs.LFSConfig:
    return lfs.LFSConfig(
        context=_Device(bdev),
        block_size=bdev.ioctl(5, 0),
        block_count=bdev.ioctl(4, 0),
        read_size=readsize,
        prog_size=progsize,
        block_cycles=_BLOCK_CYCLES,
        cache_size=4 * max(readsize, progsize),
        lookahead_size=lookahead,
        disk_version=_DISK_VERSION,
    )


class _Errors:
    """littlefs's errors as MicroPython raises them."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, LittleFSError):
            raise OSError(-error.code, str(error)) from error


_ERRORS = _Errors()


class VfsLfs2:
    def __init__(
        self, block_dev: Any, *, progsize: int = 32, readsize: int = 32, lookahead: int = 32
    ):
        self._config = _config(block_dev, progsize, readsize, lookahead)
        self._system = lfs.LFSFilesystem()
        with _ERRORS:
            lfs.mount(self._system, self._config)

    @staticmethod
    def mkfs(block_dev: Any, *, progsize: int = 32, readsize: int = 32) -> None:
        with _ERRORS:
            lfs.format(lfs.LFSFilesystem(), _config(block_dev, progsize, readsize))

    def open(self, path: str, mode: str) -> "_File":
        with _ERRORS:
            return _File(self._system, path, mode)

    def ilistdir(self, path: str) -> Iterator[tuple[str, int, int, int]]:
        with _ERRORS:
            folder = lfs.dir_open(self._system, path)
            while entry := lfs.dir_read(self._system, folder):
                if entry.name not in (".", ".."):
                    kind = _FILE if entry.type == lfs.LFSStat.TYPE_REG else _FOLDER
                    yield entry.name, kind, 0, entry.size
            lfs.dir_close(self._system, folder)

    def mkdir(self, path: str) -> None:
        with _ERRORS:
            lfs.mkdir(self._system, path)

    def remove(self, path: str) -> None:
        with _ERRORS:
            lfs.remove(self._system, path)

    def rename(self, old: str, new: str) -> None:
        with _ERRORS:
            lfs.rename(self._system, old, new)

    def stat(self, path: str) -> tuple[int, ...]:
        with _ERRORS:
            entry = lfs.stat(self._system, path)
        kind = _FILE if entry.type == lfs.LFSStat.TYPE_REG else _FOLDER
        return (kind, 0, 0, 0, 0, 0, entry.size, 0, 0, 0)


class _File:
    def __init__(self, system: lfs.LFSFilesystem, path: str, mode: str):
        self._system = system
        self._file = lfs.file_open(system, path, _FLAGS[mode])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        with _ERRORS:
            lfs.file_close(self._system, self._file)

    def read(self, size: int = -1) -> bytes:
        with _ERRORS:
            if size < 0:
                size = lfs.file_size(self._system, self._file)
            return bytes(lfs.file_read(self._system, self._file, size))

    def seek(self, offset: int) -> int:
        with _ERRORS:
            return lfs.file_seek(self._system, self._file, offset, 0)

    def write(self, data: Any) -> int:
        with _ERRORS:
            return lfs.file_write(self._system, self._file, bytes(data))
