"""The servers of a run, each in a process of its own: the hub, and the plain web server of some peers."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from hub.control import call

BENCH = Path(__file__).resolve().parent
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# hf-mount wants the address of a Xet store before it does anything; it asks none for files without a Xet hash.
NO_XET = {"casUrl": "http://127.0.0.1:9", "accessToken": "none", "exp": 4102444800}


class Server:
    """A child process that prints one line of JSON once it listens."""

    def __init__(self, *command: str | Path) -> None:
        self.process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.said: dict[str, Any] = json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Hub(Server):
    """tests/hub, steered by its control port."""

    def __init__(self) -> None:
        super().__init__(BENCH.parent / "hub/main.py")
        self.endpoint: str = self.said["endpoint"]
        self.far(0, 0)

    def add(self, repo: str, files: dict[str, Any]) -> None:
        """A model with these files; values as the control port takes them."""
        call(self.said["control"], "add_repo", type="model", id=repo)
        call(self.said["control"], "commit", type="model", id=repo, files=files)

    def far(self, rtt: float, rate: float) -> None:
        call(self.said["control"], "unfault")
        call(self.said["control"], "fault", kind="status", target="*/xet-read-token/*", status=200, body=json.dumps(NO_XET))
        if rtt:
            call(self.said["control"], "far", rtt=rtt, rate=rate)

    def reset_counters(self) -> None:
        call(self.said["control"], "reset_log")

    def counters(self) -> dict[str, int]:
        """Requests and content_bytes since the last reset; requests still answered count once they are over."""
        return call(self.said["control"], "counters", settle=2.0)["counters"]


class Static(Server):
    """static.py over the same files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(BENCH / "static.py", folder)
        self.url: str = self.said["url"]

    def _get(self, target: str) -> dict[str, int]:
        with NO_PROXY.open(self.url + target, timeout=30) as answer:
            return json.load(answer)

    def far(self, rtt: float, rate: float) -> None:
        self._get(f"/_far?rtt={rtt}&rate={rate}")

    def reset_counters(self) -> None:
        self._get("/_reset")

    def counters(self) -> dict[str, int]:
        return self._get("/_counters")
