"""The log of what the hub was asked and what it answered, and the counters over it.

A record is there from the moment the request has been read, so requests that are stalled or were
never answered show up with status None.
"""

from __future__ import annotations

import fnmatch
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """One request. Times are seconds since the epoch."""

    number: int
    server: str  # "hub" or "cdn"
    connection: int  # number of the TCP connection, the same for requests on a kept-alive one
    method: str
    target: str  # raw path and query, as received
    kind: str  # see routes.py
    repo: str  # "model:Org/Name", or ""
    path: str  # path of the file in the repository, decoded, or ""
    headers: dict[str, str]  # names in lower case
    began: float
    status: int | None = None
    sent: int = 0  # body bytes handed to the kernel
    content: int = 0  # of these, bytes of a file of a repository
    answered: float | None = None  # when the headers went out
    ended: float | None = None
    faults: list[str] = field(default_factory=list)
    error: str = ""  # why the connection broke, if it did

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


class RequestLog:
    """A bounded list of records; all methods may be called from any thread."""

    def __init__(self, limit: int = 200_000) -> None:
        self._records: deque[Record] = deque(maxlen=limit)
        self._lock = threading.Condition()
        self._number = 0

    def begin(self, **fields: Any) -> Record:
        with self._lock:
            self._number += 1
            record = Record(number=self._number, began=time.time(), **fields)
            self._records.append(record)
            self._lock.notify_all()
        return record

    def end(self, record: Record) -> None:
        with self._lock:
            record.ended = time.time()
            self._lock.notify_all()

    def records(
        self,
        *,
        kind: str | None = None,
        method: str | None = None,
        server: str | None = None,
        path: str | None = None,
        repo: str | None = None,
        status: int | None = None,
        since: int = 0,
    ) -> list[Record]:
        """Records that match all that is given; kind, path and repo are globs; since: numbers above it."""
        with self._lock:
            found = list(self._records)

        def wanted() -> Iterator[Record]:
            for r in found:
                if r.number <= since or (status is not None and r.status != status):
                    continue
                if (method and r.method != method) or (server and r.server != server):
                    continue
                if any(
                    g is not None and not fnmatch.fnmatchcase(v, g)
                    for g, v in ((kind, r.kind), (path, r.path), (repo, r.repo))
                ):
                    continue
                yield r

        return list(wanted())

    def count(self, **filters: Any) -> int:
        return len(self.records(**filters))

    def content_bytes(self, **filters: Any) -> int:
        """Bytes of repository files that were sent."""
        return sum(r.content for r in self.records(**filters))

    def wait(self, count: int = 1, timeout: float = 10.0, **filters: Any) -> list[Record]:
        """Wait until at least `count` records match; TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.records(**filters)
            if len(found) >= count:
                return found
            with self._lock:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{len(found)} of {count} requests after {timeout} s")
                self._lock.wait(min(left, 0.2))

    def settle(self, timeout: float = 20.0) -> bool:
        """Wait until no request is being answered; False after `timeout` seconds.

        A client may hold the last byte of an answer an instant before the record has its count.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            while any(r.ended is None for r in self._records):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._lock.wait(left)
        return True

    def leaks(self) -> list[Record]:
        """Requests to the CDN that carried an Authorization header."""
        return [r for r in self.records(server="cdn") if r.authorization]

    def counters(self) -> dict[str, Any]:
        found = self.records()
        return {
            "requests": len(found),
            "by_kind": dict(Counter(r.kind for r in found)),
            "by_status": dict(Counter(str(r.status) for r in found)),
            "connections": len({(r.server, r.connection) for r in found}),
            "content_bytes": sum(r.content for r in found),
            "sent_bytes": sum(r.sent for r in found),
            "authorization_on_cdn": len(self.leaks()),
        }

    def reset(self) -> None:
        """Forget all records; numbers go on."""
        with self._lock:
            self._records.clear()

    def as_json(self, **filters: Any) -> list[dict[str, Any]]:
        return [asdict(r) for r in self.records(**filters)]
