"""Frames and messages between board and host: the one definition that both sides import.

A frame is one line of printable ASCII: a JSON object, a tab, the IEEE CRC-32 of the bytes before
the tab as eight lower-case hex digits, a newline; 512 bytes in all (docs/protocol.md).

The JSON is a strict subset that is the same on every port: integers, strings, booleans, null,
objects and arrays, with nothing nested more than once, no floats and no duplicate keys. The
parser is our own because MicroPython's ``json`` takes a comma for a colon, keeps the last of two
equal keys, and leaves the depth to the sender; here the bytes come from an untrusted peer.
"""

import binascii

try:
    from micropython import const
except ImportError:

    def const(__value):
        return __value


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTO_MAJOR = const(1)
PROTO_MINOR = const(0)
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
    for byte in line:
        if not (0x20 <= byte <= 0x7E or byte == 0x09):
            raise WireError("bad_line")
    text = bytes(line).decode()
    body, tab, check = text.partition("\t")
    if tab:
        if check != "%08x" % crc32(body.encode()):
            raise WireError("bad_crc")
    elif need_crc:
        raise WireError("bad_crc")
    return loads(body)


def dumps(message: "dict[str, Any]") -> str:
    """``message`` as the wire's JSON, with keys sorted and no spaces. Raises `WireError`."""
    out = []
    _write(message, out, 0)
    return "".join(out)


def _write(value, out: list, depth: int) -> None:
    if value is None:
        out.append("null")
    elif value is True:
        out.append("true")
    elif value is False:
        out.append("false")
    elif isinstance(value, int):
        text = str(value)
        if len(text) > _MAX_DIGITS:
            raise WireError("bad_json")
        out.append(text)
    elif isinstance(value, str):
        out.append(_quote(value))
    elif isinstance(value, dict) and depth < 2:
        separator = "{"
        for key in sorted(value):
            out.append(separator)
            out.append(_quote(key))
            out.append(":")
            _write(value[key], out, depth + 1)
            separator = ","
        out.append("}" if value else "{}")
    elif isinstance(value, (list, tuple)) and depth < 2:
        separator = "["
        for item in value:
            out.append(separator)
            _write(item, out, depth + 1)
            separator = ","
        out.append("]" if value else "[]")
    else:
        raise WireError("bad_json")


def _quote(text: str) -> str:
    out = ['"']
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
    out.append('"')
    return "".join(out)


def loads(text: str) -> "dict[str, Any]":
    """The object that ``text`` holds. Raises `WireError` (``bad_json``)."""
    parser = _Parser(text)
    parser.spaces()
    value = parser.value(0)
    parser.spaces()
    if parser.at != len(text) or not isinstance(value, dict):
        raise WireError("bad_json")
    return value


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def spaces(self) -> None:
        while self.peek() == " ":
            self.at += 1

    def take(self, char: str) -> None:
        if self.peek() != char:
            raise WireError("bad_json")
        self.at += 1

    def value(self, depth: int):
        char = self.peek()
        if char == '"':
            return self.string()
        if char == "{" and depth < 2:
            return self.object(depth)
        if char == "[" and depth < 2:
            return self.array(depth)
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        return self.integer()

    def object(self, depth: int) -> dict:
        result = {}
        self.at += 1
        self.spaces()
        if self.peek() == "}":
            self.at += 1
            return result
        while True:
            self.spaces()
            key = self.string()
            if key in result:
                raise WireError("bad_json")
            self.spaces()
            self.take(":")
            self.spaces()
            result[key] = self.value(depth + 1)
            self.spaces()
            if self.peek() == "}":
                self.at += 1
                return result
            self.take(",")

    def array(self, depth: int) -> list:
        result = []
        self.at += 1
        self.spaces()
        if self.peek() == "]":
            self.at += 1
            return result
        while True:
            self.spaces()
            result.append(self.value(depth + 1))
            self.spaces()
            if self.peek() == "]":
                self.at += 1
                return result
            self.take(",")

    def integer(self) -> int:
        start = self.at
        if self.peek() == "-":
            self.at += 1
        digits = self.at
        while "0" <= self.peek() <= "9":
            self.at += 1
        count = self.at - digits
        leading_zero = count > 1 and self.text[digits] == "0"
        minus_zero = digits > start and self.text[digits : self.at] == "0"
        if count == 0 or self.at - start > _MAX_DIGITS or leading_zero or minus_zero:
            raise WireError("bad_json")
        return int(self.text[start : self.at])

    def string(self) -> str:
        self.take('"')
        pieces = []
        while True:
            quote = self.text.find('"', self.at)
            if quote < 0:
                raise WireError("bad_json")
            escape = self.text.find("\\", self.at, quote)
            if escape < 0:
                pieces.append(self.text[self.at : quote])
                self.at = quote + 1
                return "".join(pieces)
            pieces.append(self.text[self.at : escape])
            self.at = escape + 1
            pieces.append(self.escape())

    def escape(self) -> str:
        char = self.peek()
        self.at += 1
        if char != "u":
            if char not in _ESCAPES:
                raise WireError("bad_json")
            return _ESCAPES[char]
        point = self.hex4()
        if 0xD800 <= point <= 0xDBFF:
            self.take("\\")
            self.take("u")
            low = self.hex4()
            if not 0xDC00 <= low <= 0xDFFF:
                raise WireError("bad_json")
            point = 0x10000 + ((point & 0x3FF) << 10 | low & 0x3FF)
        elif 0xDC00 <= point <= 0xDFFF:
            raise WireError("bad_json")
        return chr(point)

    def hex4(self) -> int:
        digits = self.text[self.at : self.at + 4]
        self.at += 4
        if len(digits) < 4:
            raise WireError("bad_json")
        for char in digits:
            if char not in "0123456789abcdefABCDEF":
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
