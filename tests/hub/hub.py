"""The hub itself: its repositories, tokens, ports and switches. See README.md for use.

Three listeners: the hub (HF_ENDPOINT), the CDN to which LFS files are redirected, and the control
port, which works whatever happens to the other two. Every connection has a thread of its own.
"""

from __future__ import annotations

import fnmatch
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .control import Control
from .faults import Fault, FaultSet, apply_after
from .repos import Entry, Repo
from .requestlog import Record, RequestLog
from .routes import XML_DENIED, Routes
from .wire import Connection, Hangup, Request, Response

# Calls in a window of five minutes: (without a token, with one).
LIMITS = {"api": (500, 1000), "resolvers": (3000, 5000)}


@dataclass(frozen=True)
class Token:
    """What a bearer token may see: globs of repository ids."""

    user: str
    private: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()

    def reads(self, repo: Repo) -> bool:
        return any(fnmatch.fnmatchcase(repo.id, g) for g in self.private)

    def granted(self, repo: Repo) -> bool:
        return any(fnmatch.fnmatchcase(repo.id, g) for g in self.gated)


@dataclass(slots=True)
class Limit:
    """The state of one rate limit after a call."""

    bucket: str
    quota: int
    left: int
    reset: int
    window: int
    refused: bool

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit": f'"{self.bucket}";r={self.left};t={self.reset}',
            "RateLimit-Policy": f'"fixed window";"{self.bucket}";q={self.quota};w={self.window}',
        }


class Listener:
    """A listening socket that can be closed and opened again on the same port."""

    def __init__(
        self, name: str, host: str, port: int, serve: Any, tls: ssl.SSLContext | None = None
    ) -> None:
        self.name, self.host, self.port = name, host, port
        self._serve = serve
        self._tls = tls
        self._sock: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._live: set[Connection] = set()
        self._lock = threading.Lock()
        self._number = 0

    def open(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, self.port))
        sock.listen(1024)
        self.port = sock.getsockname()[1]
        self._sock = sock
        self._accepting = threading.Thread(
            target=self._accept, args=(sock,), name=f"hub-{self.name}", daemon=True
        )
        self._accepting.start()

    def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                peer, _ = sock.accept()
            except OSError:
                return
            threading.Thread(
                target=self._run, args=(peer,), name=f"hub-{self.name}-conn", daemon=True
            ).start()

    def _run(self, peer: socket.socket) -> None:
        with self._lock:
            self._number += 1
            number = self._number
        reset = False
        try:
            sock = self._tls.wrap_socket(peer, server_side=True) if self._tls else peer
            connection = Connection(sock, number)
        except OSError:
            peer.close()
            return
        with self._lock:
            self._live.add(connection)
        try:
            while True:
                self._serve(connection)
        except Hangup as end:
            reset = end.reset
        except (OSError, ValueError):
            reset = True
        finally:
            with self._lock:
                self._live.discard(connection)
            connection.close(reset or connection.killed)

    def close(self, kill: bool = True) -> None:
        """Stop listening; `kill` ends the connections that are open, too."""
        if self._sock is not None:
            sock, self._sock = self._sock, None
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes accept()
                # Until it has ended it may come to accept() with a number that is another hub's socket by then,
                # and answer for that hub.
                if self._accepting:
                    self._accepting.join()
            finally:
                sock.close()
        if kill:
            self.kill()

    def kill(self) -> None:
        with self._lock:
            live = list(self._live)
        for connection in live:
            connection.kill()

    @property
    def is_open(self) -> bool:
        return self._sock is not None


class Hub:
    """A local Hugging Face hub. Use as a context manager, or call start() and stop()."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        cdn_port: int = 0,
        control_port: int = 0,
        cdn_host: str | None = None,
        prefix: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Port 0: one that is free. `cdn_host`: address of the CDN, by default 127.0.0.2 for 127.0.0.1.

        Clients must see the CDN as another host: huggingface_hub 1.33 compares host names without
        ports, and takes redirects on the same host for ones within the hub.
        """
        self.host = host
        self.cdn_host = cdn_host or ("127.0.0.2" if host == "127.0.0.1" else host)
        self.prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self.scheme = "https" if tls else "http"
        # Switches, to be changed at any time.
        self.page_size = 1000
        self.expand_page_size = 50
        self.url_ttl = 3600.0  # seconds that a signed URL lives
        self.redirect_small = True  # small files by way of resolve-cache
        self.strict_query = False  # 400 from resolve-cache without the query (huggingface_hub < 2 drops it)
        self.gzip = False  # compress JSON and text for clients that take it
        self.xet_headers = False  # X-Xet-Hash for files of repositories made with xet=True
        self.unknown_code: str | None = (
            None  # X-Error-Code of the 401 for unknown repositories; the hub has none
        )
        self.enforce_limits = False  # answer 429 once a rate limit is used up
        self.limits = dict(LIMITS)
        self.window = 300  # seconds

        self.log = RequestLog()
        self.faults = FaultSet()
        self.secret = secrets.token_bytes(16)
        self.url_epoch = 0
        self.signed: dict[str, tuple[Repo, Entry]] = {}
        self._repos: dict[tuple[str, str], Repo] = {}
        self._names: dict[tuple[str, str], Repo] = {}  # former names, and names in lower case
        self._tokens: dict[str, Token] = {}
        self._calls: dict[tuple[str, str], tuple[int, int]] = {}  # (bucket, user) -> (window, calls)
        self._lock = threading.Lock()
        self._routes = Routes(self)
        self._main = Listener("main", host, port, self._serve_hub, tls)
        self._cdn = Listener("cdn", self.cdn_host, cdn_port, self._serve_cdn, tls)
        self._control = Listener("control", host, control_port, Control(self).serve)

    # -- life ------------------------------------------------------------------------------

    def start(self) -> Hub:
        for listener in (self._main, self._cdn, self._control):
            listener.open()
        return self

    def stop(self) -> None:
        for listener in (self._main, self._cdn, self._control):
            listener.close()

    def __enter__(self) -> Hub:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def down(self, *, cdn: bool = True, keep_connections: bool = False) -> None:
        """Refuse connections (ECONNREFUSED) and, unless told to keep them, break those there are."""
        for listener in (self._main, self._cdn) if cdn else (self._main,):
            listener.close(kill=not keep_connections)

    def up(self) -> None:
        """Listen again, on the same ports."""
        for listener in (self._main, self._cdn):
            if not listener.is_open:
                listener.open()

    def break_connections(self) -> None:
        """End all connections of the hub and the CDN now."""
        self._main.kill()
        self._cdn.kill()

    # -- addresses -------------------------------------------------------------------------

    def _url(self, scheme: str, host: str, port: int) -> str:
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def endpoint(self) -> str:
        """For HF_ENDPOINT."""
        return self._url(self.scheme, self.host, self._main.port) + self.prefix

    @property
    def cdn(self) -> str:
        return self._url(self.scheme, self.cdn_host, self._cdn.port)

    @property
    def control(self) -> str:
        return self._url("http", self.host, self._control.port) + "/_control"

    def base_url(self, request: Request) -> str:
        """The endpoint under the name that the client uses."""
        host = request.headers.get("host")
        return f"{self.scheme}://{host}{self.prefix}" if host else self.endpoint

    def cdn_url(self, request: Request) -> str:
        """The CDN's address for this client; where it listens on all, under the name that the client uses."""
        name = request.headers.get("host", "").rpartition(":")[0].strip("[]")
        wild = self.cdn_host in ("0.0.0.0", "::")
        return self._url(self.scheme, name if wild and name else self.cdn_host, self._cdn.port)

    # -- repositories and tokens -----------------------------------------------------------

    def add_repo(self, type_: str, id_: str, **options: Any) -> Repo:
        """A new, empty repository; options are those of repos.Repo."""
        repo = Repo(type_, id_, **options)
        with self._lock:
            self._repos[type_, id_] = repo
            self._names[type_, id_.lower()] = repo
        return repo

    def rename(self, repo: Repo, id_: str) -> None:
        """Give `repo` another id; the old one redirects from now on."""
        with self._lock:
            self._names[repo.type, repo.id] = repo
            del self._repos[repo.type, repo.id]
            repo.id = id_
            self._repos[repo.type, id_] = repo
            self._names[repo.type, id_.lower()] = repo

    def remove_repo(self, repo: Repo) -> None:
        with self._lock:
            self._repos = {k: r for k, r in self._repos.items() if r is not repo}
            self._names = {k: r for k, r in self._names.items() if r is not repo}

    def find(self, type_: str, id_: str) -> Repo | None:
        """By present name, former name, or one that differs in case only."""
        with self._lock:
            return (
                self._repos.get((type_, id_))
                or self._names.get((type_, id_))
                or self._names.get((type_, id_.lower()))
            )

    def repos(self) -> list[Repo]:
        with self._lock:
            return list(self._repos.values())

    def add_token(
        self, token: str, user: str = "tester", *, private: Iterable[str] = (), gated: Iterable[str] = ()
    ) -> None:
        """Accept `token`; `private`, `gated`: globs of the ids that it opens."""
        self._tokens[token] = Token(user, tuple(private), tuple(gated))

    def drop_token(self, token: str) -> None:
        del self._tokens[token]

    def token_of(self, request: Request) -> Token | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        return self._tokens.get(value) if scheme.lower() == "bearer" else None

    # -- limits, URLs, faults --------------------------------------------------------------

    def rate_limit(self, bucket: str, token: Token | None) -> Limit:
        """Count a call and say how many are left in this window."""
        now = int(time.time())
        quota = self.limits[bucket][1 if token else 0]
        key = (bucket, token.user if token else "")
        with self._lock:
            number, calls = self._calls.get(key, (0, 0))
            if number != now // self.window:
                number, calls = now // self.window, 0
            self._calls[key] = (number, calls + 1)
        refused = self.enforce_limits and calls >= quota
        return Limit(
            bucket, quota, max(0, quota - calls - 1), self.window - now % self.window, self.window, refused
        )

    def expire_urls(self) -> None:
        """Refuse all signed URLs handed out so far with 403."""
        self.url_epoch += 1

    def fault(self, kind: str, on: str | Iterable[str] = "any", **options: Any) -> Fault:
        """Set a fault (faults.py); a context manager that removes it."""
        return self.faults.add(kind, on, **options)

    def far(self, rtt: float = 0.02, rate: float = 100e6) -> list[Fault]:
        """A hub that is far away: a round trip per request and per connection, bytes/s per connection."""
        return [self.fault("latency", seconds=rtt, connect=rtt), self.fault("bandwidth", rate=rate)]

    def reset(self) -> None:
        """No faults, an empty log, fresh rate limits, listening."""
        self.faults.clear()
        self.up()
        self.log.reset()
        with self._lock:
            self._calls.clear()

    # -- serving ---------------------------------------------------------------------------

    def _serve_hub(self, connection: Connection) -> None:
        request = connection.read_request("hub")
        route = self._routes.classify(request)
        self._serve(connection, request, lambda: self._routes.answer(request, route))

    def _serve_cdn(self, connection: Connection) -> None:
        request = connection.read_request("cdn")
        self._routes.classify_cdn(request)
        self._serve(connection, request, lambda: self._routes.answer_cdn(request))

    def _serve(self, connection: Connection, request: Request, answer: Any) -> None:
        record = self.log.begin(
            server=request.server,
            connection=request.connection,
            method=request.method,
            target=request.target,
            kind=request.kind,
            repo=request.repo,
            path=request.file,
            headers=request.headers,
        )
        try:
            response = self._before(connection, request, record) or answer()
            for fault in self.faults.take(request, response):
                apply_after(fault, response)
                record.faults.append(fault.kind)
            record.status = response.status
            record.answered = time.time()
            connection.send(request, response, record)
        except Hangup as end:
            record.error = str(end)
            raise
        except OSError as error:
            record.error = str(error)
            raise
        finally:
            self.log.end(record)

    def _before(self, connection: Connection, request: Request, record: Record) -> Response | None:
        """Faults that act before an answer exists; returns the answer where they make it."""
        response: Response | None = None
        for fault in self.faults.take(request):
            record.faults.append(fault.kind)
            p = fault.params
            match fault.kind:
                case "latency":
                    extra = p["connect"] if request.first else 0.0
                    connection.hold(p["seconds"] + extra + self.faults.jitter(p["jitter"]))
                case "gate":
                    connection.hold(None, lambda fault=fault: fault.removed)
                case "hang":
                    connection.hold(p["seconds"])
                    raise Hangup("fault: hang")
                case "reset":
                    raise Hangup("fault: reset", reset=True)
                case "ignore_range":
                    request.headers = {k: v for k, v in request.headers.items() if k != "range"}
                case "raw":
                    connection.send_raw(p["make"](request), record)
                case "redirect":
                    response = Response(p["status"], {"Location": p["location"]}, [b"Redirecting"])
                case "redirect_loop":
                    response = Response(p["status"], {"Location": request.target}, [b"Redirecting"])
                case "status":
                    response = self._status(request, p)
        return response

    def _status(self, request: Request, p: dict[str, Any]) -> Response:
        """The answer of a `status` fault."""
        text = p["message"] or f"fault {p['status']}"
        headers = {"Content-Type": "text/plain; charset=utf-8", "X-Error-Message": text}
        if p["error_code"]:
            headers["X-Error-Code"] = p["error_code"]
        if p["retry_after"] is not None:
            headers["Retry-After"] = str(p["retry_after"])
        if p["ratelimit_reset"] is not None:
            bucket = "resolvers" if request.kind in ("resolve", "resolve-cache", "cdn") else "api"
            quota = self.limits[bucket][0]
            headers |= Limit(bucket, quota, 0, p["ratelimit_reset"], self.window, True).headers()
        body = p["body"] or text
        if request.kind == "cdn" and p["status"] == 403 and p["body"] is None:
            body = (XML_DENIED % b"Request has expired").decode()
            headers["Content-Type"] = "application/xml"
        return Response(p["status"], headers, [body.encode()])
