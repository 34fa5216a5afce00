"""A lock on an open file, which the system frees with the file."""

from __future__ import annotations

import errno
import os
import sys

# What a file system says of a lock that another process has.
_TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
# On Windows a lock hides the bytes that it covers: it covers one far behind the content.
_LOCK_BYTE = 1 << 20


def try_lock(fd: int) -> bool:
    """Take the lock on an open file if nobody has it. The system frees it with the file.

    Raises `OSError` where the file cannot be locked at all, as on a network share without a lock
    service.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(fd, _LOCK_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            return False
        os.lseek(fd, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True
