"""Faults: what can go wrong, for which requests, how often.

A Fault is a kind with parameters (KINDS lists both), a scope, and a count. All faults that match
a request act on it together, in the order in which they were set. A fault only counts a request
that it could act on: `corrupt` at byte 10 is not used up by an answer that has no byte 10, and
`content_range` not by one without a range.
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import random
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .wire import Request, Response, flip_byte

GROUPS: dict[str, frozenset[str]] = {
    "any": frozenset(),  # matches every kind
    "api": frozenset({"info", "tree", "refs", "paths-info", "commits", "whoami"}),
    "content": frozenset({"cdn", "resolve-cache"}),
}

# Kind of fault -> its parameters and their defaults. BEFORE faults act on the request, AFTER ones
# on the answer; a reset does the latter where it says at which byte.
BEFORE: dict[str, dict[str, Any]] = {
    "latency": {"seconds": 0.1, "jitter": 0.0, "connect": 0.0},
    "status": {
        "status": 503,
        "retry_after": None,
        "ratelimit_reset": None,
        "error_code": None,
        "message": None,
        "body": None,
    },
    "hang": {"seconds": None},
    "gate": {},
    "reset": {"at": None},
    "redirect": {"location": "", "status": 302},
    "redirect_loop": {"status": 307},
    "ignore_range": {},
    "raw": {"make": None},
}
AFTER: dict[str, dict[str, Any]] = {
    "bandwidth": {"rate": 100e6},
    "truncate": {"at": 0},
    "stall": {"at": 0, "seconds": None},
    "slow": {"at": 0, "rate": 1.0, "headers": False},
    "content_range": {"shift": 1, "value": None},
    "length": {"delta": 1},
    "corrupt": {"at": 0, "xor": 0xFF},
    "headers": {"set": {}},
    "json": {"mode": "malformed"},
    "entries": {"add": [], "replace": False},
    "close": {},
}
KINDS = BEFORE | AFTER
JSON_MODES = ("malformed", "truncated", "endless", "empty", "html", "deep")


@dataclass(eq=False)
class Fault:
    """One rule. `on`: kinds of requests or GROUPS; `path`, `repo`: globs; None matches all."""

    kind: str
    on: tuple[str, ...] = ("any",)
    method: str | None = None
    path: str | None = None
    repo: str | None = None
    target: str | None = None  # glob on the raw path and query
    range_from: int | None = None  # only requests whose range starts here or later
    after: int = 0  # let this many matching requests pass first
    times: int | None = None  # then act this often; None: always
    probability: float = 1.0
    params: dict[str, Any] = field(default_factory=dict)
    id: int = 0
    seen: int = 0  # requests it could have acted on
    hits: int = 0  # requests it acted on
    removed: bool = False  # `gate`: what waits goes on
    owner: FaultSet | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(KINDS)}")
        unknown = set(self.params) - set(KINDS[self.kind])
        if unknown:
            raise ValueError(f"fault {self.kind!r} has no parameter {', '.join(sorted(unknown))}")
        if self.kind == "json" and self.params.get("mode", "malformed") not in JSON_MODES:
            raise ValueError(f"unknown mode; known: {', '.join(JSON_MODES)}")
        self.params = KINDS[self.kind] | self.params

    def matches(self, request: Request) -> bool:
        kinds = set(self.on)
        if not ({"any", request.kind} & kinds or any(request.kind in GROUPS.get(g, ()) for g in kinds)):
            return False
        if self.method and request.method != self.method:
            return False
        if self.range_from is not None and request.range_start() < self.range_from:
            return False
        globs = ((self.path, request.file), (self.repo, request.repo), (self.target, request.target))
        return all(g is None or fnmatch.fnmatchcase(v, g) for g, v in globs)

    @property
    def before(self) -> bool:
        return self.kind in BEFORE and self.params.get("at") is None

    def can_act(self, request: Request, response: Response | None) -> bool:
        if response is None:
            return self.before and (self.kind != "ignore_range" or request.byte_range() is not None)
        if self.before:
            return False
        body = response.length() if request.method != "HEAD" else 0
        match self.kind:
            case "reset" | "truncate" | "stall" | "slow":
                return body > self.params["at"] or (self.kind == "slow" and self.params["headers"])
            case "corrupt":
                span = response.span() if request.method != "HEAD" else None
                return span is not None and span.start <= self.params["at"] < span.end
            case "content_range":
                return "Content-Range" in response.headers and response.status == 206
            case "length":
                return response.status < 300
            case "json":
                return response.status == 200 and "json" in response.headers.get("Content-Type", "")
            case "entries":
                return response.status == 200 and request.kind in ("tree", "paths-info")
        return True

    def remove(self) -> None:
        if self.owner:
            self.owner.remove(self.id)

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def as_json(self) -> dict[str, Any]:
        names = (
            "id",
            "kind",
            "on",
            "method",
            "path",
            "repo",
            "target",
            "range_from",
            "after",
            "times",
            "probability",
            "seen",
            "hits",
        )
        return {n: getattr(self, n) for n in names} | {
            "params": {k: repr(v) if callable(v) else v for k, v in self.params.items()}
        }


class FaultSet:
    """The faults in force; all methods may be called from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._next = 1

    def add(self, kind: str, on: str | Iterable[str] = "any", **options: Any) -> Fault:
        """Set a fault; options are scope, count (fields of Fault) and the parameters of the kind."""
        scope = ("method", "path", "repo", "target", "range_from", "after", "times", "probability")
        fields = {n: options.pop(n) for n in scope if n in options}
        fault = Fault(kind, (on,) if isinstance(on, str) else tuple(on), params=options, owner=self, **fields)
        with self._lock:
            fault.id = self._next
            self._next += 1
            self._faults.append(fault)
        return fault

    def remove(self, id_: int) -> bool:
        with self._lock:
            found = [f for f in self._faults if f.id == id_]
            self._remove_locked(found)
            return bool(found)

    def clear(self) -> None:
        with self._lock:
            self._remove_locked(self._faults)

    def _remove_locked(self, faults: list[Fault]) -> None:
        for fault in faults:
            fault.removed = True
        self._faults = [f for f in self._faults if not f.removed]

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def take(self, request: Request, response: Response | None = None) -> list[Fault]:
        """The faults that act on this request (response None) or on this answer; counts them."""
        taken: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                if not fault.matches(request) or not fault.can_act(request, response):
                    continue
                fault.seen += 1
                spent = fault.times is not None and fault.hits >= fault.times
                if fault.seen <= fault.after or spent or self._random.random() >= fault.probability:
                    continue
                fault.hits += 1
                taken.append(fault)
        return taken

    def jitter(self, seconds: float) -> float:
        with self._lock:
            return self._random.uniform(0, seconds)


def apply_after(fault: Fault, response: Response) -> None:
    """Change `response` as `fault` says."""
    p = fault.params
    match fault.kind:
        case "bandwidth":
            response.rate = min(response.rate or p["rate"], p["rate"])
        case "reset" | "truncate" | "stall":
            if response.cut is None or p["at"] < response.cut[0]:
                response.cut = (p["at"], fault.kind, p.get("seconds"))
        case "slow":
            response.slow = (p["at"], p["rate"])
            response.slow_head = p["headers"]
        case "content_range":
            response.headers["Content-Range"] = p["value"] or _shift(
                response.headers["Content-Range"], p["shift"]
            )
        case "length":
            response.length_delta = p["delta"]
        case "corrupt":
            response.body = flip_byte(response.body, p["at"], p["xor"])
        case "headers":
            for name, value in p["set"].items():
                for old in [k for k in response.headers if k.lower() == name.lower()]:
                    del response.headers[old]
                if value is not None:
                    response.headers[name] = str(value)
        case "json":
            _break_json(p["mode"], response)
        case "entries":
            rows = (
                [] if p["replace"] else json.loads(b"".join(b for b in response.body if isinstance(b, bytes)))
            )
            response.body = [json.dumps(rows + p["add"]).encode()]
        case "close":
            response.close = True


def _shift(content_range: str, by: int) -> str:
    """`bytes A-B/SIZE` moved by `by`."""
    span, _, size = content_range.removeprefix("bytes ").partition("/")
    first, _, last = span.partition("-")
    return f"bytes {int(first) + by}-{int(last) + by}/{size}"


def _endless_entries() -> Iterator[bytes]:
    yield b"["
    for first in itertools.count(step=500):
        rows = (
            {"type": "file", "oid": f"{i:040x}", "size": 1, "path": f"f{i}"}
            for i in range(first, first + 500)
        )
        yield ("".join(json.dumps(row) + "," for row in rows)).encode()


def _break_json(mode: str, response: Response) -> None:
    whole = b"".join(b for b in response.body if isinstance(b, bytes))
    match mode:
        case "malformed":
            response.body = [whole[: len(whole) // 2] + b"\x00\xff}{]" + whole[len(whole) // 2 :]]
        case "truncated":
            response.body = [whole[: len(whole) // 2]]
        case "empty":
            response.body = []
        case "html":
            response.headers["Content-Type"] = "text/html; charset=utf-8"
            response.body = [b"<!DOCTYPE html><html><body>Sign in to the network</body></html>"]
        case "deep":
            response.body = [b"[" * 200_000 + b"]" * 200_000]
        case "endless":
            response.body = []
            response.endless = _endless_entries()
