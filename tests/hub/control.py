"""The control port: everything that can be done to a running hub from Python, over HTTP.

POST /_control with a JSON object {"do": OPERATION, ...} answers {"ok": true, ...}, or status 400
and {"ok": false, "error": ...}. GET /_control is {"do": "state"}. README.md lists the operations.
`call()` is the client of it.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .content import Content, Synthetic
from .wire import Connection, Response

if TYPE_CHECKING:
    from .hub import Hub

SWITCHES = (
    "page_size",
    "expand_page_size",
    "url_ttl",
    "redirect_small",
    "strict_query",
    "gzip",
    "xet_headers",
    "unknown_code",
    "enforce_limits",
    "window",
)


@dataclass
class _Meter:
    sent: int = 0
    content: int = 0


class Control:
    """Serves the control port of `hub`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def serve(self, connection: Connection) -> None:
        request = connection.read_request("control")
        try:
            if request.target.partition("?")[0] != "/_control":
                raise ValueError("the control port knows /_control only")
            asked = json.loads(request.body) if request.method == "POST" else {"do": "state"}
            operation = asked.pop("do")
            handler = getattr(self, f"do_{operation}", None)
            if handler is None:
                raise ValueError(f"unknown operation {operation!r}")
            status, answer = 200, {"ok": True} | (handler(**asked) or {})
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            status, answer = 400, {"ok": False, "error": f"{type(error).__name__}: {error}"}
        response = Response(status, {"Content-Type": "application/json"}, [json.dumps(answer).encode()])
        connection.send(request, response, _Meter())

    def do_state(self) -> dict[str, Any]:
        hub = self.hub
        repos = [{"type": r.type, "id": r.id, "refs": r.refs} for r in hub.repos()]
        switches = {name: getattr(hub, name) for name in SWITCHES}
        return {
            "endpoint": hub.endpoint,
            "cdn": hub.cdn,
            "control": hub.control,
            "repos": repos,
            "switches": switches,
        }

    def do_fault(self, kind: str, on: Any = "any", **options: Any) -> dict[str, Any]:
        return {"fault": self.hub.fault(kind, on, **options).as_json()}

    def do_far(self, **options: float) -> dict[str, Any]:
        return {"faults": [f.as_json() for f in self.hub.far(**options)]}

    def do_unfault(self, id: int | None = None) -> None:
        if id is None:
            self.hub.faults.clear()
        elif not self.hub.faults.remove(id):
            raise ValueError(f"no fault {id}")

    def do_faults(self) -> dict[str, Any]:
        return {"faults": [f.as_json() for f in self.hub.faults.all()]}

    def do_down(self, **options: bool) -> None:
        self.hub.down(**options)

    def do_up(self) -> None:
        self.hub.up()

    def do_break(self) -> None:
        self.hub.break_connections()

    def do_expire(self) -> None:
        self.hub.expire_urls()

    def do_set(self, **values: Any) -> None:
        unknown = set(values) - set(SWITCHES)
        if unknown:
            raise ValueError(f"unknown switches {sorted(unknown)}; known: {', '.join(SWITCHES)}")
        for name, value in values.items():
            setattr(self.hub, name, value)

    def do_log(self, settle: float = 0.0, **filters: Any) -> dict[str, Any]:
        self.hub.log.settle(settle)
        return {"records": self.hub.log.as_json(**filters)}

    def do_counters(self, settle: float = 0.0) -> dict[str, Any]:
        self.hub.log.settle(settle)
        return {"counters": self.hub.log.counters()}

    def do_reset_log(self) -> None:
        self.hub.log.reset()

    def do_reset(self) -> None:
        self.hub.reset()

    def do_token(self, token: str, **options: Any) -> None:
        self.hub.add_token(token, **options)

    def do_add_repo(self, type: str, id: str, **options: Any) -> None:
        self.hub.add_repo(type, id, **options)

    def do_commit(
        self, type: str, id: str, files: dict[str, Any], ref: str = "main", title: str = "Update files"
    ) -> dict[str, Any]:
        """A value of files: text, null, {"file": PATH}, or {"size": N, "seed": N}."""
        repo = self.hub.find(type, id)
        if repo is None:
            raise ValueError(f"no {type} {id}")
        return {"commit": repo.commit({path: _value(v) for path, v in files.items()}, ref, title=title)}


def _value(value: Any) -> Content | str | Path | None:
    if isinstance(value, dict):
        return Path(value["file"]) if "file" in value else Synthetic(value["size"], value.get("seed", 0))
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"cannot make a file of {value!r}")


def call(url: str, do: str, **arguments: Any) -> dict[str, Any]:
    """Ask the control port at `url` (Hub.control) for an operation; RuntimeError where it refuses."""
    body = json.dumps({"do": do, **arguments}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            result: dict[str, Any] = json.load(answer)
            return result
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["error"]) from None
