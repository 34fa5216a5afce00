"""Frames and messages between board and host: the one definition that both sides import.

A frame is one line of printable ASCII: a JSON object, a tab, the IEEE CRC-32 of the bytes before
the tab as eight lower-case hex digits, a newline; 512 bytes in all (docs/protocol.md).

The JSON is a strict subset that is the same on every port: integers, strings, booleans, null,
objects and arrays, with nothing nested more than once, no floats and no duplicate keys. The
parser is our own because MicroPython's ``json`` takes a comma for a colon, keeps the last of two
equal keys, and leaves the depth to the sender; here the bytes come from an untrusted peer.
"""

import binascii

from muteboard import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PROTO_MAJOR = const(1)
PROTO_MINOR = const(2)
PRODUCT = "hardmute"

# Longest frame in bytes, newline included.
MAX_LINE = const(512)
# tab + 8 hex digits + newline
_TRAILER = const(10)
# Request ids are random in [0, ID_LIMIT): a small int on a 32-bit MicroPython.
ID_LIMIT = const(1 << 30)
_MAX_DIGITS = const(15)

STATES = ("muted", "live", "fault")
COMMANDS = ("cut", "connected")
CAUSES = ("boot", "button", "host", "timer", "stuck", "fault", "watchdog")
SERVICES = ("none", "setup", "maintenance")
ERRORS = (
    "too_long",
    "bad_line",
    "bad_crc",
    "bad_json",
    "bad_request",
    "bad_op",
    "bad_arg",
    "setup_required",
    "storage",
    "unsupported",
    "busy",
    "not_paired",
    "setup_used_up",
)

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class WireError(Exception):
    """A line that is not a frame. ``code`` is one of `ERRORS`."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


def crc32(data: bytes) -> int:
    """IEEE 802.3 CRC-32 of ``data``, in [0, 2**32)."""
    return binascii.crc32(data) & 0xFFFFFFFF


def frame(message: "dict[str, Any]") -> bytes:
    """The line for ``message``, newline included. Keys are sorted: a message has one line.

    Raises `WireError` (``too_long``) when it would exceed `MAX_LINE` bytes, and (``bad_json``)
    for a value that the wire does not carry.
    """
    body = dumps(message)
    if len(body) + _TRAILER > MAX_LINE:
        raise WireError("too_long")
    return ("%s\t%08x\n" % (body, crc32(body.encode()))).encode()


def unframe(line: bytes, need_crc: bool) -> "dict[str, Any]":
    """The message in ``line``, which is given without its newline.

    A person may type a request by hand, so a board passes ``need_crc=False``; a host never does.
    Raises `WireError`.
    """
    line = bytes(line)
    if not _printable(line.replace(b"\t", b" ")):
        raise WireError("bad_line")
    body, tab, check = line.partition(b"\t")
    if tab:
        if check != b"%08x" % crc32(body):
            raise WireError("bad_crc")
    elif need_crc:
        raise WireError("bad_crc")
    return _parse(body)


def _printable(data: bytes) -> bool:
    # `min` and `max` run at the speed of C, a loop over the bytes does not.
    return not data or (min(data) >= 0x20 and max(data) <= 0x7E)


def dumps(message: "dict[str, Any]") -> str:
    """``message`` as the wire's JSON, with keys sorted and no spaces. Raises `WireError`."""
    out = []
    strings = _write(message, out, 0, None)
    text = "".join(out)
    # Nearly every message needs no escape. One look at the whole, which costs far less than one
    # at each string, tells: all is plain, and there are no quotes but the strings' own.
    if text.count('"') == 2 * strings and "\\" not in text and _plain(text):
        return text
    out = []
    _write(message, out, 0, _escaped)
    return "".join(out)


def _write(value, out: list, depth: int, escape: "Callable[[str], str] | None") -> int:
    """Append the pieces of ``value`` to ``out``. Returns how many strings are among them."""
    append = out.append
    if value is None:
        append("null")
    elif value is True:
        append("true")
    elif value is False:
        append("false")
    elif isinstance(value, str):
        append('"')
        append(escape(value) if escape else value)
        append('"')
        return 1
    elif isinstance(value, int):
        text = str(value)
        if len(text) > _MAX_DIGITS:
            raise WireError("bad_json")
        append(text)
    elif isinstance(value, dict) and depth < 2:
        strings = len(value)
        separator = '{"'
        for key in sorted(value):
            append(separator)
            append(escape(key) if escape else key)
            append('":')
            strings += _write(value[key], out, depth + 1, escape)
            separator = ',"'
        append("}" if value else "{}")
        return strings
    elif isinstance(value, (list, tuple)) and depth < 2:
        strings = 0
        separator = "["
        for item in value:
            append(separator)
            strings += _write(item, out, depth + 1, escape)
            separator = ","
        append("]" if value else "[]")
        return strings
    else:
        raise WireError("bad_json")
    return 0


def _plain(text: str) -> bool:
    try:
        return _printable(text.encode())
    except UnicodeError:
        # Half of a pair.
        return False


def _escaped(text: str) -> str:
    out = []
    for char in text:
        point = ord(char)
        if char == '"' or char == "\\":
            out.append("\\" + char)
        elif 0x20 <= point <= 0x7E:
            out.append(char)
        elif 0xD800 <= point <= 0xDFFF:
            # Half of a pair: `loads` takes no such thing, nor does UTF-8.
            raise WireError("bad_json")
        elif point < 0x10000:
            out.append("\\u%04x" % point)
        else:
            point -= 0x10000
            out.append("\\u%04x\\u%04x" % (0xD800 | point >> 10, 0xDC00 | point & 0x3FF))
    return "".join(out)


def loads(text: str) -> "dict[str, Any]":
    """The object that ``text`` holds. Raises `WireError` (``bad_json``)."""
    try:
        return _parse(text.encode())
    except UnicodeError:
        raise WireError("bad_json") from None


def _parse(data: bytes) -> "dict[str, Any]":
    parser = _Parser(data)
    value = parser.value(0)
    parser.next()
    if parser.at != len(data) or not isinstance(value, dict):
        raise WireError("bad_json")
    return value


_QUOTE = const(0x22)
_COMMA = const(0x2C)
_MINUS = const(0x2D)
_ZERO = const(0x30)
_NINE = const(0x39)
_COLON = const(0x3A)
_BRACKET_OPEN = const(0x5B)
_BACKSLASH = const(0x5C)
_BRACKET_CLOSE = const(0x5D)
_BRACE_OPEN = const(0x7B)
_BRACE_CLOSE = const(0x7D)


class _Parser:
    """On bytes, where a position is found at once and a character is a small integer."""

    def __init__(self, data: bytes):
        # A newline is nowhere allowed, so that the end needs no check of its own.
        self.data = data + b"\n"
        self.at = 0

    def next(self) -> int:
        """The next byte that is no space; it is not taken."""
        byte = self.data[self.at]
        while byte == 0x20:
            self.at += 1
            byte = self.data[self.at]
        return byte

    def value(self, depth: int):
        byte = self.next()
        if byte == _QUOTE:
            return self.string()
        if byte == _BRACE_OPEN and depth < 2:
            return self.object(depth)
        if byte == _BRACKET_OPEN and depth < 2:
            return self.array(depth)
        if byte == _MINUS or _ZERO <= byte <= _NINE:
            return self.integer()
        for word, value in ((b"true", True), (b"false", False), (b"null", None)):
            if self.data[self.at : self.at + len(word)] == word:
                self.at += len(word)
                return value
        raise WireError("bad_json")

    def object(self, depth: int) -> dict:
        result = {}
        self.at += 1
        if self.next() == _BRACE_CLOSE:
            self.at += 1
            return result
        while True:
            if self.next() != _QUOTE:
                raise WireError("bad_json")
            key = self.string()
            if key in result or self.next() != _COLON:
                raise WireError("bad_json")
            self.at += 1
            result[key] = self.value(depth + 1)
            if self.ends(_BRACE_CLOSE):
                return result

    def array(self, depth: int) -> list:
        result = []
        self.at += 1
        if self.next() == _BRACKET_CLOSE:
            self.at += 1
            return result
        while True:
            result.append(self.value(depth + 1))
            if self.ends(_BRACKET_CLOSE):
                return result

    def ends(self, close: int) -> bool:
        """Take ``close`` or a comma; whether it was ``close``."""
        byte = self.next()
        if byte != close and byte != _COMMA:
            raise WireError("bad_json")
        self.at += 1
        return byte == close

    def integer(self) -> int:
        data = self.data
        start = digits = self.at
        if data[start] == _MINUS:
            digits += 1
        at = digits
        while _ZERO <= data[at] <= _NINE:
            at += 1
        self.at = at
        leading_zero = at - digits > 1 and data[digits] == _ZERO
        minus_zero = digits > start and data[digits] == _ZERO
        if at == digits or at - start > _MAX_DIGITS or leading_zero or minus_zero:
            raise WireError("bad_json")
        return int(data[start:at])

    def string(self) -> str:
        data = self.data
        start = self.at + 1
        pieces = []
        while True:
            quote = data.find(b'"', start)
            if quote < 0:
                raise WireError("bad_json")
            escape = data.find(b"\\", start, quote)
            if escape < 0:
                self.at = quote + 1
                text = data[start:quote].decode()
                return "".join(pieces) + text if pieces else text
            pieces.append(data[start:escape].decode())
            self.at = escape + 1
            pieces.append(self.escape())
            start = self.at

    def escape(self) -> str:
        char = chr(self.data[self.at])
        self.at += 1
        if char != "u":
            if char not in _ESCAPES:
                raise WireError("bad_json")
            return _ESCAPES[char]
        point = self.hex4()
        if 0xD800 <= point <= 0xDBFF:
            if self.data[self.at : self.at + 2] != b"\\u":
                raise WireError("bad_json")
            self.at += 2
            low = self.hex4()
            if not 0xDC00 <= low <= 0xDFFF:
                raise WireError("bad_json")
            point = 0x10000 + ((point & 0x3FF) << 10 | low & 0x3FF)
        elif 0xDC00 <= point <= 0xDFFF:
            raise WireError("bad_json")
        return chr(point)

    def hex4(self) -> int:
        digits = self.data[self.at : self.at + 4]
        self.at += 4
        if len(digits) < 4:
            raise WireError("bad_json")
        for byte in digits:
            if byte not in b"0123456789abcdefABCDEF":
                raise WireError("bad_json")
        return int(digits, 16)


class LineReader:
    """Cuts a byte stream into lines in one fixed buffer, whatever the peer sends.

    A line longer than `MAX_LINE` is reported once and skipped to its newline.
    """

    def __init__(self):
        self._buffer = bytearray(MAX_LINE)
        self._length = 0
        self._skipping = False

    def feed(self, data: bytes, start: int = 0) -> int:
        """Take bytes of ``data`` from ``start`` up to the first newline, if any.

        Returns the index after the newline, or -1 when the data ended before one. After a
        return other than -1, call `line`, then `feed` again from that index.
        """
        end = data.find(b"\n", start)
        stop = len(data) if end < 0 else end
        count = stop - start
        # The newline counts towards MAX_LINE.
        if self._length + count > MAX_LINE - 1:
            self._skipping = True
        if not self._skipping:
            self._buffer[self._length : self._length + count] = data[start:stop]
            self._length += count
        return -1 if end < 0 else end + 1

    def line(self) -> bytes:
        """The line that the last `feed` completed, without newline and carriage return.

        Raises `WireError` (``too_long``) for a line that did not fit. Either way the reader is
        ready for the next line.
        """
        length, skipped = self._length, self._skipping
        self._length = 0
        self._skipping = False
        if skipped:
            raise WireError("too_long")
        if length and self._buffer[length - 1] == 0x0D:
            length -= 1
        return bytes(self._buffer[:length])
