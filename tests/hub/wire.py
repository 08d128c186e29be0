"""HTTP/1.1 on a socket: reading requests, describing responses, and sending them.

The standard library's server hides the socket; faults need it bare (resets, half answers, single
bytes), and big files go through sendfile. One Connection lives in one thread.
"""

from __future__ import annotations

import math
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import NoReturn, Protocol
from urllib.parse import parse_qs

from .content import Content

SENDFILE_STEP = 8 << 20
MAX_HEAD = 1 << 18
MAX_BODY = 64 << 20


class Hangup(Exception):
    """End the connection now; `reset` says with RST, else with FIN."""

    def __init__(self, why: str, reset: bool = False) -> None:
        super().__init__(why)
        self.reset = reset


@dataclass(slots=True)
class Request:
    """A request as received; the lower half is filled in by routes.classify()."""

    server: str
    connection: int
    first: bool  # of its connection
    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    path: str = ""  # raw path without prefix and query
    query: str = ""
    kind: str = "other"
    repo: str = ""
    file: str = ""

    @property
    def params(self) -> dict[str, list[str]]:
        return parse_qs(self.query, keep_blank_values=True)

    def flag(self, name: str) -> bool:
        return self.params.get(name, [""])[-1].lower() in ("1", "true")

    def byte_range(self) -> tuple[int | None, int | None] | None:
        """The (first, last) of a single byte range, either may be None; None for no or odd ranges."""
        value = self.headers.get("range", "")
        unit, _, spec = value.partition("=")
        first, dash, last = spec.strip().partition("-")
        if unit.strip().lower() != "bytes" or not dash or not (first + last).isdigit():
            return None
        return (int(first) if first else None, int(last) if last else None)

    def range_start(self) -> int:
        asked = self.byte_range()
        return asked[0] or 0 if asked else 0


@dataclass(slots=True)
class Span:
    """Bytes [start, end) of a content."""

    content: Content
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


Piece = bytes | Span


@dataclass(slots=True)
class Response:
    """What to answer. The body is a list of pieces, or with `endless` a stream without an end."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: list[Piece] = field(default_factory=list)
    endless: Iterator[bytes] | None = None
    chunked: bool = False
    head_length: int | None = None  # Content-Length of the answer to a HEAD request
    close: bool = False  # drop the connection afterwards, without announcing it
    # Filled in by faults:
    length_delta: int = 0
    rate: float | None = None  # bytes per second of this connection
    slow: tuple[int, float] | None = None  # (body offset, bytes per second), one byte at a time
    slow_head: bool = False  # trickle the headers too
    cut: tuple[int, str, float | None] | None = None  # (body offset, "reset" | "truncate" | "stall", seconds)

    def length(self) -> int:
        return sum(len(p) for p in self.body)

    def span(self) -> Span | None:
        """The piece of a repository's file in the body, if any."""
        return next((p for p in self.body if isinstance(p, Span)), None)


def cut_pieces(pieces: list[Piece], at: int) -> list[Piece]:
    """The first `at` bytes of `pieces`."""
    out: list[Piece] = []
    for piece in pieces:
        take = min(at, len(piece))
        if take:
            out.append(
                Span(piece.content, piece.start, piece.start + take)
                if isinstance(piece, Span)
                else piece[:take]
            )
        at -= take
    return out


def flip_byte(pieces: list[Piece], at: int, mask: int) -> list[Piece]:
    """`pieces` with the byte at offset `at` of the content xored with `mask`."""
    out: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Span) and piece.start <= at < piece.end:
            wrong = bytes([piece.content.read(at, at + 1)[0] ^ mask])
            out += [Span(piece.content, piece.start, at), wrong, Span(piece.content, at + 1, piece.end)]
        else:
            out.append(piece)
    return [p for p in out if len(p)]


class Meter(Protocol):
    """Counts what is sent; requestlog.Record is one."""

    sent: int  # body bytes
    content: int  # of these, bytes of a repository's file


class Connection:
    """One accepted socket. Everything but kill() belongs to the thread that serves it."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.requests = 0
        self.killed = False
        self._buffer = b""
        self._due = 0.0  # when the bytes sent so far are paid for
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- reading ---------------------------------------------------------------------------

    def _fill(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            raise Hangup("closed by the client")
        self._buffer += data

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _read_chunked(self) -> bytes:
        body = b""
        while size := int(self._line().split(b";")[0], 16):
            if len(body) + size > MAX_BODY:
                raise Hangup("request body too long")
            body += self._take(size)
            self._take(2)
        while self._line():
            pass
        return body

    def read_request(self, server: str) -> Request:
        """Wait for the next request; Hangup when the client is gone or speaks no HTTP/1.1."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD:
                raise Hangup("request head too long")
            self._fill()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Hangup(f"not HTTP: {first[:80]!r}", reset=True)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunked()
        else:
            length = int(headers.get("content-length") or 0)
            if not 0 <= length <= MAX_BODY:
                raise Hangup("request body too long")
            body = self._take(length)
        target = words[1]
        if "://" in target:  # absolute form, as sent through a proxy
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        self.requests += 1
        return Request(server, self.number, self.requests == 1, words[0], target, headers, body)

    # -- sending ---------------------------------------------------------------------------

    def send(self, request: Request, response: Response, meter: Meter) -> None:
        """Send `response`, faults and all. Hangup where the connection must not be used again."""
        length = response.length()
        head_only = request.method == "HEAD" or response.status in (204, 304)
        headers = {"Date": formatdate(usegmt=True), **response.headers}
        if response.chunked or response.endless:
            headers["Transfer-Encoding"] = "chunked"
        elif response.status not in (204, 304):
            shown = response.head_length if head_only and response.head_length is not None else length
            headers.setdefault("Content-Length", str(shown + response.length_delta))
        announced = "close" in request.headers.get("connection", "").lower()
        headers["Connection"] = "close" if announced else "keep-alive"
        try:
            phrase = HTTPStatus(response.status).phrase
        except ValueError:
            phrase = "Unknown"
        head = f"HTTP/1.1 {response.status} {phrase}\r\n" + "".join(
            f"{k}: {v}\r\n" for k, v in headers.items()
        )
        raw = head.encode("latin-1", "replace") + b"\r\n"
        if response.slow_head:
            rate = response.slow[1] if response.slow else 1.0
            for i in range(len(raw)):
                self.sock.sendall(raw[i : i + 1])
                time.sleep(1 / rate)
        else:
            self.sock.sendall(raw)
        if not head_only:
            if response.endless:
                self._send_endless(response, meter)
            else:
                self._send_body(response, meter)
        if response.length_delta and not head_only:
            raise Hangup("wrong length")
        if announced or response.close:
            raise Hangup("closed after the answer")

    def send_raw(self, parts: Iterable[bytes], meter: Meter) -> NoReturn:
        """Send `parts` as they are, status line and all, while the client takes them; then close."""
        for part in parts:
            self.sock.sendall(part)
            meter.sent += len(part)
        raise Hangup("fault: raw")

    def _send_endless(self, response: Response, meter: Meter) -> None:
        assert response.endless is not None
        for part in response.endless:
            self._pay(len(part), response.rate)
            self.sock.sendall(b"%x\r\n" % len(part) + part + b"\r\n")
            meter.sent += len(part)

    def _send_body(self, response: Response, meter: Meter) -> None:
        pieces = response.body
        if response.cut:
            pieces = cut_pieces(pieces, response.cut[0])
        if response.chunked:
            data = b"".join(p.content.read(p.start, p.end) if isinstance(p, Span) else p for p in pieces)
            pieces = [b"%x\r\n" % len(data), data, b"\r\n"] if data else []
            if not response.cut:
                pieces.append(b"0\r\n\r\n")
        if response.slow:
            at, rate = response.slow
            done = cut_pieces(pieces, at)
            self._send_pieces(done, response.rate, meter)
            self._trickle(pieces, at, rate, meter)
        else:
            self._send_pieces(pieces, response.rate, meter)
        if response.cut:
            _, action, seconds = response.cut
            if action == "stall":
                self.hold(seconds)
            raise Hangup(f"fault: {action} after {meter.sent} bytes", reset=action == "reset")

    def _trickle(self, pieces: list[Piece], skip: int, rate: float, meter: Meter) -> None:
        for piece in pieces:
            if skip >= len(piece):
                skip -= len(piece)
                continue
            at, skip = skip, 0
            while at < len(piece):
                if isinstance(piece, Span):
                    one = piece.content.read(piece.start + at, piece.start + at + 1)
                    meter.content += 1
                else:
                    one = piece[at : at + 1]
                self.sock.sendall(one)
                meter.sent += 1
                at += 1
                time.sleep(1 / rate)

    def _pay(self, count: int, rate: float | None) -> None:
        """Token bucket of this connection, with a burst of 10 ms."""
        if not rate:
            return
        now = time.monotonic()
        self._due = max(self._due, now - 0.01) + count / rate
        if self._due > now:
            time.sleep(self._due - now)

    def _send_pieces(self, pieces: list[Piece], rate: float | None, meter: Meter) -> None:
        for piece in pieces:
            if isinstance(piece, Span):
                self._send_span(piece, rate, meter)
            else:
                self._send_bytes(piece, rate, meter)

    def _send_bytes(self, data: bytes | bytearray | memoryview, rate: float | None, meter: Meter) -> None:
        if not rate:
            self.sock.sendall(data)
            meter.sent += len(data)
            return
        step = max(1, int(rate / 100))
        view = memoryview(data)
        for at in range(0, len(view), step):
            part = view[at : at + step]
            self._pay(len(part), rate)
            self.sock.sendall(part)
            meter.sent += len(part)

    def _send_span(self, span: Span, rate: float | None, meter: Meter) -> None:
        file = None if isinstance(self.sock, ssl.SSLSocket) else span.content.open_file()
        if file is None:
            for block in span.content.blocks(span.start, span.end):
                self._send_bytes(block, rate, meter)
                meter.content += len(block)
            return
        try:
            at = span.start
            step = max(1, int(rate / 100)) if rate else SENDFILE_STEP
            while at < span.end:
                count = min(step, span.end - at)
                self._pay(count, rate)
                done = os.sendfile(self.sock.fileno(), file, at, count)
                if not done:
                    raise Hangup("file is shorter than it was", reset=True)
                at += done
                meter.sent += done
                meter.content += done
        finally:
            os.close(file)

    # -- ending ----------------------------------------------------------------------------

    def hold(self, seconds: float | None, over: Callable[[], bool] = lambda: False) -> None:
        """Send nothing until `seconds` are over, the client hangs up, kill(), or `over`; None: no time limit."""
        deadline = None if seconds is None else time.monotonic() + seconds
        poller = select.poll()
        poller.register(self.sock.fileno(), select.POLLRDHUP)
        while not self.killed and not over():
            left = 0.05 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            if poller.poll(min(50, math.ceil(left * 1000))):
                raise Hangup("the client gave up")

    def close(self, reset: bool) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def kill(self) -> None:
        """End the connection from another thread."""
        self.killed = True
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # gone already
