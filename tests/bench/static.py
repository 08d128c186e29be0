#!/usr/bin/env python3
"""A plain web server with an index page per folder, for the peers that mount such pages (rclone, httpdirfs).

It sends with the hub's own code (tests/hub/wire.py), so that nobody is served faster than another, and
can be far away in the same way. One line of JSON on stdout once it listens: {"url": …}.

GET /_counters answers with what was sent, /_reset zeroes that, /_far?rtt=S&rate=B moves the server away.
"""

from __future__ import annotations

import argparse
import html
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, unquote

sys.path[0] = str(Path(__file__).resolve().parents[1])

from hub.content import File  # noqa: E402
from hub.hub import Listener  # noqa: E402
from hub.routes import ranged  # noqa: E402
from hub.wire import Connection, Request, Response  # noqa: E402


@dataclass
class Meter:
    """What one answer sent."""

    sent: int = 0
    content: int = 0


class Static:
    """Serves what lies below `folder`, links followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rtt, self.rate = 0.0, 0.0
        self.meters: list[Meter] = []
        self.files: dict[str, File] = {}

    def serve(self, connection: Connection) -> None:
        request = connection.read_request("static")
        path, _, request.query = request.target.partition("?")
        if path.startswith("/_"):
            connection.send(request, self.control(path, request), Meter())
            return
        if self.rtt:
            connection.hold(self.rtt * (2 if request.first else 1))
        response = self.answer(request, unquote(path).strip("/"))
        response.rate = self.rate or None
        meter = Meter()
        self.meters.append(meter)
        connection.send(request, response, meter)

    def answer(self, request: Request, path: str) -> Response:
        place = self.folder / path
        if ".." in path or not place.exists():
            return Response(404, {"Content-Type": "text/plain"}, [b"not found\n"])
        if place.is_dir():
            return Response(200, {"Content-Type": "text/html; charset=utf-8"}, [index(place)])
        if path not in self.files:
            self.files[path] = File(place)
        entry = SimpleNamespace(content=self.files[path], size=self.files[path].size)
        headers = {"Content-Type": "application/octet-stream", "Last-Modified": "Sun, 22 Nov 2026 00:00:00 GMT"}
        response = ranged(request, entry, headers)
        if response.status == 416:  # web servers send a page with it, and httpdirfs dies without one
            response.body = [b"range not satisfiable\n"]
        return response

    def control(self, path: str, request: Request) -> Response:
        if path == "/_far":
            self.rtt = float(request.params["rtt"][0])
            self.rate = float(request.params["rate"][0])
        elif path == "/_reset":
            self.meters = []
        counters = {"requests": len(self.meters), "content_bytes": sum(m.content for m in self.meters)}
        return Response(200, {"Content-Type": "application/json"}, [json.dumps(counters).encode()])


def index(folder: Path) -> bytes:
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir())
    rows = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    return f"<html><head><title>Index</title></head><body><pre>\n{rows}</pre></body></html>\n".encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    listener = Listener("static", "127.0.0.1", 0, Static(options.folder).serve)
    listener.open()
    print(json.dumps({"url": f"http://127.0.0.1:{listener.port}"}), flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    sys.exit(main())
