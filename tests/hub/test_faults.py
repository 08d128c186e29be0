"""Every fault does what it says, for the requests it says, as often as it says."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from . import Hub, Synthetic, call, models
from .test_hub import Answer, ask, location
from .wire import Request

SIZE = 300_000
DATA = Synthetic(SIZE, 1)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add_repo("model", "Org/Name").commit(
            {"w.bin": DATA, "x.bin": Synthetic(SIZE, 2), "config.json": "{}"}
        )
        yield hub


def url(hub: Hub, name: str = "w.bin") -> str:
    """A signed URL."""
    return location(ask(f"{hub.endpoint}/Org/Name/resolve/main/{name}"))


def info(hub: Hub) -> str:
    return f"{hub.endpoint}/api/models/Org/Name"


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def partial(target: str, least: int = SIZE + 1, quiet: float = 0.5) -> tuple[bytes, str]:
    """The body as far as it comes, and how it ended: eof, reset or timeout.

    A timeout is `quiet` seconds without a byte once `least` bytes of the body are there; until then a busy
    machine may take its time.
    """
    parts = urlsplit(target)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as sock:
        sock.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        sock.settimeout(quiet if least == 0 else 20)
        try:
            while block := sock.recv(1 << 16):
                data += block
                if len(body(data)) >= least:
                    sock.settimeout(quiet)
            end = "eof"
        except ConnectionResetError:
            end = "reset"
        except TimeoutError:
            end = "timeout"
    return body(data), end


def seconds_of(action: Callable[[], object], most: float) -> float:
    """How long it takes; where that is more than `most`, of ten tries the first that is not: the machine was busy."""
    for _ in range(10):
        began = time.monotonic()
        action()
        took = time.monotonic() - began
        if took < most:
            break
    return took


def test_scope_and_counts(hub: Hub) -> None:
    fault = hub.fault("status", "cdn", path="w.*", status=500, after=1, times=2)
    statuses = [ask(url(hub)).status for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200] and (fault.seen, fault.hits) == (5, 2)
    assert ask(url(hub, "x.bin")).status == 200 and ask(info(hub)).status == 200
    hub.faults.clear()
    with hub.fault("status", "api", method="GET", repo="model:Org/*"):
        assert ask(info(hub)).status == 503 and ask(info(hub), "HEAD").status == 200
    assert ask(info(hub)).status == 200
    hub.fault("status", "cdn", range_from=1000, status=403)
    signed = url(hub)
    assert [ask(signed, Range="bytes=0-9").status, ask(signed, Range="bytes=1000-").status] == [206, 403]
    hub.faults.clear()
    often = hub.fault("status", "info", probability=0.5)
    assert {ask(info(hub)).status for _ in range(60)} == {200, 503} and 5 < often.hits < 55
    with pytest.raises(ValueError, match="unknown fault"):
        hub.fault("nonsense")
    with pytest.raises(ValueError, match="no parameter"):
        hub.fault("latency", second=1)


def test_status(hub: Hub) -> None:
    hub.fault("status", "info", status=429, retry_after=7, times=1)
    answer = ask(info(hub))
    assert (answer.status, answer["Retry-After"], answer["RateLimit"]) == (429, "7", None)
    hub.fault("status", "info", status=429, ratelimit_reset=3, times=1)
    answer = ask(info(hub))
    assert (answer["Retry-After"], answer["RateLimit"]) == (None, '"api";r=0;t=3')
    hub.fault("status", "resolve", status=404, error_code="RepoNotFound", message="gone", times=1)
    answer = ask(f"{hub.endpoint}/Org/Name/resolve/main/w.bin")
    assert (answer["X-Error-Code"], answer["X-Error-Message"], answer.body) == (
        "RepoNotFound",
        "gone",
        b"gone",
    )
    hub.fault("status", "cdn", status=403)
    assert b"<Code>AccessDenied</Code>" in ask(url(hub)).body


def test_latency_and_bandwidth(hub: Hub) -> None:
    hub.far(rtt=0.05, rate=2e6)
    assert ask(info(hub)).status == 200
    assert 0.09 < seconds_of(lambda: ask(info(hub)), 0.4) < 0.4
    assert ask(url(hub)).body == DATA.read()
    assert 0.25 < seconds_of(lambda: ask(url(hub)), 1.0) < 1.0


def test_cut_short(hub: Hub) -> None:
    for kind, end in (("truncate", "eof"), ("reset", "reset"), ("stall", "timeout")):
        with hub.fault(kind, "cdn", at=100_000):
            came, how = partial(url(hub), 100_000)
            assert how == end, kind
            assert DATA.read().startswith(came) and (kind == "reset" or len(came) == 100_000)
        assert hub.log.settle()
        record = hub.log.records(kind="cdn")[-1]
        assert (record.faults, record.content) == ([kind], 100_000)
    with hub.fault("reset", "cdn"):
        assert partial(url(hub)) == (b"", "reset")
    with hub.fault("hang", "cdn"):
        assert partial(url(hub), 0) == (b"", "timeout")
    with hub.fault("stall", "cdn", at=10, seconds=0.2):
        assert partial(url(hub)) == (DATA.read(0, 10), "eof")
    came, how = partial(url(hub), SIZE)
    assert len(came) == SIZE and how == "timeout", "and the connection stays open"


def test_gate(hub: Hub) -> None:
    signed = url(hub)
    with hub.fault("gate", "cdn") as gate:
        assert partial(signed, 0) == (b"", "timeout")
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(ask(signed)))
        asking.start()
        hub.log.wait(2, kind="cdn")
        asking.join(0.2)
        assert gate.hits == 2 and asking.is_alive()
    asking.join(20)
    assert [a.body for a in answers] == [DATA.read()]
    gate = hub.fault("gate", "info")
    asking = threading.Thread(target=lambda: answers.append(ask(info(hub))))
    asking.start()
    hub.log.wait(kind="info")
    hub.faults.clear()
    asking.join(20)
    assert answers[-1].status == 200


def test_slow_loris(hub: Hub) -> None:
    with hub.fault("slow", "cdn", at=1000, rate=50):
        began = time.monotonic()
        came, how = partial(url(hub), 1010, quiet=0.001)
        took = time.monotonic() - began
        assert how == "timeout" and DATA.read().startswith(came)
        assert took >= (len(came) - 1001) / 50, "one byte at a time"
        assert took < 15, "only those behind `at`"  # all of them would take 20 s
    with hub.fault("slow", "cdn", rate=2000, headers=True):
        began = time.monotonic()
        ask(url(hub), "HEAD")
        assert time.monotonic() - began > 0.1


def test_ranges_gone_wrong(hub: Hub) -> None:
    signed = url(hub)
    with hub.fault("ignore_range", "cdn") as fault:
        answer = ask(signed, Range="bytes=5-9")
        assert (answer.status, len(answer.body)) == (200, SIZE)
        ask(signed)
        assert fault.seen == 1
    with hub.fault("content_range", "cdn", shift=4096):
        answer = ask(signed, Range="bytes=5-9")
        assert answer["Content-Range"] == f"bytes 4101-4105/{SIZE}" and answer.body == DATA.read(5, 10)
    with hub.fault("content_range", "cdn", value="bytes */*"):
        assert ask(signed, Range="bytes=5-9")["Content-Range"] == "bytes */*"
    with hub.fault("length", "cdn", delta=-10):
        assert ask(signed, Range="bytes=0-99").body == DATA.read(0, 90)
    with hub.fault("length", "cdn", delta=10), pytest.raises(http.client.IncompleteRead):
        ask(signed, Range="bytes=0-99")


def test_corrupt(hub: Hub) -> None:
    signed = url(hub)
    fault = hub.fault("corrupt", "cdn", path="w.bin", at=5000, times=1)
    assert ask(signed, Range="bytes=0-4999").body == DATA.read(0, 5000) and fault.hits == 0
    body = ask(signed, Range="bytes=4990-5010").body
    assert [i for i, (a, b) in enumerate(zip(body, DATA.read(4990, 5011), strict=True)) if a != b] == [10]
    assert ask(signed).body == DATA.read(), "once"
    with hub.fault("corrupt", ("cdn", "resolve-cache"), at=0, xor=1):
        small = ask(hub.endpoint + location(ask(f"{hub.endpoint}/Org/Name/resolve/main/config.json")))
        assert small.body == b"z}"


def test_redirects(hub: Hub) -> None:
    with hub.fault("redirect_loop", "resolve"):
        answer = ask(f"{hub.endpoint}/Org/Name/resolve/main/w.bin")
        assert (answer.status, location(answer)) == (307, "/Org/Name/resolve/main/w.bin")
    with hub.fault("redirect", "resolve", location="file:///etc/passwd"):
        assert location(ask(f"{hub.endpoint}/Org/Name/resolve/main/w.bin")) == "file:///etc/passwd"


def test_headers(hub: Hub) -> None:
    with hub.fault("headers", "resolve", set={"x-linked-etag": None, "X-Linked-Size": "-1", "X-Extra": "1"}):
        answer = ask(f"{hub.endpoint}/Org/Name/resolve/main/w.bin")
        assert (answer["X-Linked-ETag"], answer["X-Linked-Size"], answer["X-Extra"]) == (None, "-1", "1")


@pytest.mark.parametrize("mode", ["malformed", "truncated", "empty", "html", "deep"])
def test_bad_json(hub: Hub, mode: str) -> None:
    with hub.fault("json", "api", mode=mode):
        answer = ask(f"{info(hub)}/tree/main")
    with pytest.raises((ValueError, RecursionError)):
        answer.json()
    assert len(answer.body) == int(answer["Content-Length"] or -1)


def test_endless_json(hub: Hub) -> None:
    with hub.fault("json", "tree", mode="endless"):
        parts = urlsplit(f"{info(hub)}/tree/main")
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        connection.request("GET", parts.path)
        response = connection.getresponse()
        text = b"".join(response.read(1 << 20) for _ in range(5))
        connection.close()
    assert len(text) == 5 << 20 and text.startswith(b'[{"type": "file"')
    rows = text.decode()[: text.rindex(b"},") + 1] + "]"
    assert len({r["path"] for r in json.loads(rows)}) > 10_000


def test_hostile_entries(hub: Hub) -> None:
    with hub.fault("entries", "tree", add=models.HOSTILE_ENTRIES):
        rows = ask(f"{info(hub)}/tree/main?recursive=true").json()
    assert len(rows) == 3 + len(models.HOSTILE_ENTRIES)
    assert any("\0" in r.get("path", "") for r in rows) and any(
        r.get("path") == "../escape.txt" for r in rows
    )


def test_raw_bytes(hub: Hub) -> None:
    def make(request: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
        yield f"X-Asked: {request.repo}\r\n\r\nhi".encode()

    with hub.fault("raw", "info", make=make) as fault:
        answer = ask(info(hub))
        assert (answer.status, answer.headers["X-Asked"], answer.body) == (200, "model:Org/Name", b"hi")
        assert "make" in fault.as_json()["params"]
        json.dumps(fault.as_json())


def test_close_without_notice(hub: Hub) -> None:
    parts = urlsplit(info(hub))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    connection.request("GET", parts.path)
    assert connection.getresponse().read()
    with hub.fault("close", "info", times=1):
        connection.request("GET", parts.path)
        response = connection.getresponse()
        assert response.read() and response.headers["Connection"] == "keep-alive"
    time.sleep(0.1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        connection.request("GET", parts.path)
        connection.getresponse()
    connection.close()


def test_down_and_up(hub: Hub) -> None:
    signed = url(hub)
    hub.fault("stall", "cdn", at=1000)
    ended: list[tuple[bytes, str]] = []
    reader = threading.Thread(target=lambda: ended.append(partial(signed)))
    reader.start()
    hub.log.wait(kind="cdn")
    time.sleep(0.1)
    hub.down()
    reader.join(15)
    assert ended and ended[0][1] in ("eof", "reset")
    for target in (info(hub), signed):
        with pytest.raises(ConnectionRefusedError):
            ask(target)
    hub.up()
    assert ask(info(hub)).status == 200
    hub.reset()
    assert ask(signed).status == 200 and hub.log.count() == 1


def test_control_port(hub: Hub) -> None:
    state = call(hub.control, "state")
    assert state["endpoint"] == hub.endpoint and state["repos"][0]["id"] == "Org/Name"
    fault = call(hub.control, "fault", kind="status", on="info", status=418, times=1)["fault"]
    assert [ask(info(hub)).status for _ in range(2)] == [418, 200]
    assert call(hub.control, "faults")["faults"][0]["hits"] == 1
    call(hub.control, "unfault", id=fault["id"])
    assert call(hub.control, "faults")["faults"] == []
    call(hub.control, "down")
    with pytest.raises(ConnectionRefusedError):
        ask(info(hub))
    call(hub.control, "up")
    files = {"new.bin": {"size": 10, "seed": 3}, "config.json": None, "a.txt": "text"}
    commit = call(hub.control, "commit", type="model", id="Org/Name", files=files)["commit"]
    assert ask(info(hub)).json()["sha"] == commit
    call(hub.control, "set", page_size=2, url_ttl=-1)
    assert ask(url(hub)).status == 403 and ask(f"{info(hub)}/tree/main")["Link"]
    records = call(hub.control, "log", kind="cdn")["records"]
    assert records[0]["status"] == 403 and records[0]["path"] == "w.bin"
    assert call(hub.control, "counters", settle=20)["counters"]["by_status"]["403"] == 1
    call(hub.control, "reset_log")
    assert call(hub.control, "counters")["counters"]["requests"] == 0
    for wrong in (
        {"do": "nonsense"},
        {"do": "set", "nonsense": 1},
        {"do": "unfault", "id": 999},
        {"do": "fault", "kind": "x"},
    ):
        answer: Answer = ask(hub.control, "POST", json.dumps(wrong).encode())
        assert answer.status == 400 and answer.json()["ok"] is False


def test_log(hub: Hub) -> None:
    ask(url(hub), Range="bytes=10-19", token="secret", X_Test="yes")
    assert hub.log.settle()
    cdn = hub.log.records(kind="cdn", path="w.*")[0]
    assert (cdn.range, cdn.status, cdn.sent, cdn.content, cdn.method) == ("bytes=10-19", 206, 10, 10, "GET")
    assert hub.log.leaks() == [cdn] and cdn.headers["x-test"] == "yes"
    assert cdn.began <= (cdn.answered or 0) <= (cdn.ended or 0)
    assert hub.log.content_bytes(kind="cdn") == 10 and hub.log.counters()["by_kind"] == {
        "resolve": 1,
        "cdn": 1,
    }
    with pytest.raises(TimeoutError):
        hub.log.wait(2, timeout=0.1, kind="cdn")


def test_many_connections(hub: Hub) -> None:
    signed = url(hub)
    wrong: list[int] = []

    def read(at: int) -> None:
        if ask(signed, Range=f"bytes={at}-{at + 999}").body != DATA.read(at, at + 1000):
            wrong.append(at)

    threads = [threading.Thread(target=read, args=(i * 1000,)) for i in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and hub.log.count(kind="cdn") == 200
