"""The hub's endpoints, asked with nothing but http.client."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from . import Hub, Synthetic, call, models
from .repos import iso

MAIN = Path(__file__).with_name("main.py")


class Answer:
    """A response read whole."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, name: str) -> str | None:
        return self.headers.get(name)


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own; redirects are not followed. token=… adds Authorization."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    if token := headers.pop("token", None):
        headers["Authorization"] = f"Bearer {token}"
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def location(answer: Answer) -> str:
    return answer["Location"] or ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def corners(hub: Hub) -> models.Corners:
    return models.corner_cases(hub)


def resolve(hub: Hub, repo: str, path: str, revision: str = "main") -> str:
    """A URL as huggingface_hub's hf_hub_url makes it."""
    return f"{hub.endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"


# -- files ---------------------------------------------------------------------------------


def test_small_file_goes_by_way_of_resolve_cache(hub: Hub, corners: models.Corners) -> None:
    data = b'{"version": 3}'
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    head = ask(resolve(hub, "corner/cases", "config.json"), "HEAD", Accept_Encoding="identity")
    commit = corners.model.refs["refs/heads/main"]
    assert head.status == 307 and head["X-Repo-Commit"] == commit
    assert head["X-Linked-ETag"] == f'"{oid}"' and head["X-Linked-Size"] is None
    assert int(head["Content-Length"] or 0) > len(data), "of the redirect's body"
    assert location(head).startswith(f"/api/resolve-cache/models/corner/cases/{commit}/config.json?%2F")
    cached = ask(hub.endpoint + location(head))
    assert (cached.status, cached.body, cached["ETag"]) == (200, data, f'"{oid}"')
    assert cached["X-Repo-Commit"] == commit and cached["Accept-Ranges"] == "bytes"
    assert ask(hub.endpoint + location(head), If_None_Match=f'"{oid}"').status == 304
    part = ask(hub.endpoint + location(head), Range="bytes=2-8")
    assert (part.status, part.body, part["Content-Range"]) == (206, data[2:9], f"bytes 2-8/{len(data)}")


def test_strict_query(hub: Hub, corners: models.Corners) -> None:
    where = hub.endpoint + location(ask(resolve(hub, "corner/cases", "config.json"))).partition("?")[0]
    assert ask(where).status == 200
    hub.strict_query = True
    assert ask(where).status == 400


@pytest.mark.parametrize("repo", ["tiny-canonical", "corner/private", "corner/gated"])
def test_small_files_that_are_served_directly(hub: Hub, corners: models.Corners, repo: str) -> None:
    answer = ask(resolve(hub, repo, "config.json"), token=models.TOKEN_ALL)
    assert (answer.status, answer.body) == (200, b"{}") and answer["X-Repo-Commit"] and answer["ETag"]


def test_empty_file(hub: Hub, corners: models.Corners) -> None:
    for method in ("HEAD", "GET"):
        answer = ask(resolve(hub, "corner/cases", "empty.txt"), method)
        assert answer.status == 200 and answer["Content-Length"] == "0" and answer.body == b""
    ranged = ask(resolve(hub, "corner/cases", "empty.txt"), Range="bytes=0-0")
    assert ranged.status == 416 and ranged["Content-Range"] == "bytes */0"


def test_lfs_file_goes_to_the_cdn(hub: Hub, corners: models.Corners) -> None:
    data = Synthetic(200_000, 11).read()
    sha = hashlib.sha256(data).hexdigest()
    head = ask(resolve(hub, "corner/cases", "sub/twin-b.bin"), "HEAD")
    assert head.status == 302 and head["X-Linked-Size"] == "200000" and head["X-Linked-ETag"] == f'"{sha}"'
    assert head["X-Xet-Hash"] is None and head["Link"] is None
    assert (
        location(head).startswith(hub.cdn + "/")
        and urlsplit(hub.cdn).hostname != urlsplit(hub.endpoint).hostname
    )
    whole = ask(location(head))
    assert whole.status == 200 and whole.body == data and sha not in (whole["ETag"] or "")
    assert ask(location(head), "HEAD")["Content-Length"] == "200000"
    assert hub.log.settle()
    record = hub.log.records(kind="cdn")[0]
    assert (record.path, record.repo, record.content) == ("sub/twin-b.bin", "model:corner/cases", 200_000)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("0-0", 0, 0),
        ("199999-", 199_999, 199_999),
        ("-10", 199_990, 199_999),
        ("5000-99999999", 5000, 199_999),
    ],
)
def test_ranges(hub: Hub, corners: models.Corners, asked: str, first: int, last: int) -> None:
    url = location(ask(resolve(hub, "corner/cases", "twin-a.bin")))
    answer = ask(url, Range=f"bytes={asked}")
    assert answer.status == 206 and answer["Content-Range"] == f"bytes {first}-{last}/200000"
    assert answer.body == Synthetic(200_000, 11).read(first, last + 1)


@pytest.mark.parametrize("asked", ["200000-", "200000-200001", "-0"])
def test_ranges_beyond_the_end(hub: Hub, corners: models.Corners, asked: str) -> None:
    answer = ask(location(ask(resolve(hub, "corner/cases", "twin-a.bin"))), Range=f"bytes={asked}")
    assert answer.status == 416 and answer["Content-Range"] == "bytes */200000"


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "lines=0-1", "bytes=x-1", "bytes=-"])
def test_odd_ranges_are_ignored(hub: Hub, corners: models.Corners, asked: str) -> None:
    answer = ask(location(ask(resolve(hub, "corner/cases", "twin-a.bin"))), Range=asked)
    assert answer.status == 200 and len(answer.body) == 200_000


def test_signed_urls_may_not_be_changed_and_expire(hub: Hub, corners: models.Corners) -> None:
    url = location(ask(resolve(hub, "corner/cases", "one.bin")))
    assert ask(url).body == b"1"
    assert ask(url.replace("Expires=", "Expires=9")).status == 403
    assert ask(url.partition("?")[0]).status == 403
    assert ask(url + "0").status == 403
    hub.expire_urls()
    assert ask(url).status == 403
    hub.url_ttl = -5
    assert ask(location(ask(resolve(hub, "corner/cases", "one.bin")))).status == 403


def test_every_path_of_the_corner_cases(hub: Hub, corners: models.Corners) -> None:
    commit = corners.model.resolve("main")
    assert commit is not None
    for path, entry in commit.files.items():
        answer = ask(resolve(hub, "corner/cases", path))
        if answer.status != 200:
            where = location(answer)
            answer = ask(where if "://" in where else hub.endpoint + where)
        assert (answer.status, answer.body) == (200, entry.content.read()), path


@pytest.mark.parametrize(
    ("revision", "body"),
    [("refs/pr/1", b'{"pr": 1}'), ("feature/x", b'{"branch": true}'), ("v1.0", b'{"version": 1}')],
)
def test_revisions_are_one_quoted_segment(
    hub: Hub, corners: models.Corners, revision: str, body: bytes
) -> None:
    answer = ask(resolve(hub, "corner/cases", "config.json", revision))
    assert ask(hub.endpoint + location(answer)).body == body
    by_commit = ask(resolve(hub, "corner/cases", "config.json", answer["X-Repo-Commit"] or ""))
    assert by_commit.status == 307 and by_commit["X-Repo-Commit"] == answer["X-Repo-Commit"]
    if "/" in revision:
        plain = ask(f"{hub.endpoint}/corner/cases/resolve/{revision}/config.json")
        assert (plain.status, plain["X-Error-Code"]) == (404, "RevisionNotFound")


# -- errors --------------------------------------------------------------------------------


def test_unknown_things(hub: Hub, corners: models.Corners) -> None:
    missing = ask(resolve(hub, "corner/cases", "nope"))
    assert (missing.status, missing["X-Error-Code"], missing.body) == (
        404,
        "EntryNotFound",
        b"Entry not found",
    )
    assert missing["X-Repo-Commit"] == corners.model.refs["refs/heads/main"]
    for url in (
        resolve(hub, "corner/cases", "config.json", "no"),
        f"{hub.endpoint}/api/models/corner/cases/revision/no",
    ):
        answer = ask(url)
        assert (answer.status, answer["X-Error-Code"], answer["X-Error-Message"]) == (
            404,
            "RevisionNotFound",
            "Invalid rev id: no",
        )
    for url in (resolve(hub, "no/such", "config.json"), f"{hub.endpoint}/api/models/no/such"):
        answer = ask(url)
        assert (answer.status, answer["X-Error-Code"]) == (401, None)
        assert answer["X-Error-Message"] == "Invalid username or password." and answer["WWW-Authenticate"]
        assert ask(url, token="wrong")["X-Error-Message"] == "Invalid credentials in Authorization header"
        answer = ask(url, token=models.TOKEN_NONE)
        assert (answer.status, answer["X-Error-Code"]) == (404, "RepoNotFound")
    hub.unknown_code = "RepoNotFound"
    assert ask(f"{hub.endpoint}/api/models/no/such")["X-Error-Code"] == "RepoNotFound"
    assert ask(f"{hub.endpoint}/nothing").status == 404
    assert ask(f"{hub.endpoint}/api/models/corner/cases", "DELETE").status == 405


def test_gated(hub: Hub, corners: models.Corners) -> None:
    url = resolve(hub, "corner/gated", "model.safetensors")
    assert (ask(url).status, ask(url)["X-Error-Code"]) == (401, "GatedRepo")
    refused = ask(url, token=models.TOKEN_NONE)
    assert (refused.status, refused["X-Error-Code"]) == (403, "GatedRepo")
    assert ask(url, token=models.TOKEN_ALL).status == 302
    assert ask(f"{hub.endpoint}/api/models/corner/gated").json()["gated"] == "manual"
    assert ask(f"{hub.endpoint}/api/models/corner/gated/tree/main").status == 200


def test_private_and_disabled(hub: Hub, corners: models.Corners) -> None:
    url = f"{hub.endpoint}/api/models/corner/private"
    assert [ask(url).status, ask(url, token=models.TOKEN_NONE).status] == [401, 404]
    assert ask(url, token=models.TOKEN_ALL).json()["private"] is True
    for url in (
        resolve(hub, "corner/disabled", "config.json"),
        f"{hub.endpoint}/api/models/corner/disabled/tree/main",
    ):
        answer = ask(url)
        assert answer.status == 403 and answer["X-Error-Code"] is None
        assert answer["X-Error-Message"] == "Access to this resource is disabled."
    assert ask(f"{hub.endpoint}/api/models/corner/disabled").json()["disabled"] is True


def test_renamed_repositories_redirect(hub: Hub, corners: models.Corners) -> None:
    answer = ask(resolve(hub, "corner/old-name", "config.json") + "?download=true")
    assert (answer.status, location(answer)) == (
        307,
        "/corner/new-name/resolve/main/config.json?download=true",
    )
    for rest in ("", "/refs", "/revision/refs%2Fpr%2F1", "/tree/main?recursive=true"):
        answer = ask(f"{hub.endpoint}/api/models/corner/old-name{rest}")
        assert (answer.status, location(answer)) == (307, f"/api/models/corner/new-name{rest}")
    answer = ask(f"{hub.endpoint}/api/models/corner/old-name/paths-info/main", "POST", b"paths=config.json")
    assert answer.status == 307
    answer = ask(f"{hub.endpoint}/api/models/Corner/CASES")
    assert location(answer) == "/api/models/corner/cases"


# -- the API -------------------------------------------------------------------------------


def test_info(hub: Hub, corners: models.Corners) -> None:
    commit = corners.model.resolve("main")
    assert commit is not None
    answer = ask(f"{hub.endpoint}/api/models/corner/cases")
    info = answer.json()
    assert info["sha"] == commit.oid and info["lastModified"] == iso(commit.date)
    assert {s["rfilename"] for s in info["siblings"]} == set(commit.files)
    assert (info["private"], info["gated"], info["disabled"]) == (False, False, False)
    assert (answer["ETag"] or "").startswith('W/"')
    again = ask(f"{hub.endpoint}/api/models/corner/cases", If_None_Match=answer["ETag"] or "")
    assert again.status == 304 and again.body == b""
    blobs = ask(f"{hub.endpoint}/api/models/corner/cases/revision/main?blobs=true").json()
    twin = next(s for s in blobs["siblings"] if s["rfilename"] == "twin-a.bin")
    assert twin["size"] == twin["lfs"]["size"] == 200_000 and len(twin["lfs"]["sha256"]) == 64
    assert ask(f"{hub.endpoint}/api/models/tiny-canonical").json()["id"] == "tiny-canonical"
    assert ask(f"{hub.endpoint}/api/datasets/corner/cases").json()["sha"] != info["sha"]
    assert ask(f"{hub.endpoint}/api/spaces/corner/app/revision/main").json()["sdk"] == "static"
    assert set(ask(f"{hub.endpoint}/api/models/corner/cases?expand=sha").json()) == {"_id", "id", "sha"}


def test_refs(hub: Hub, corners: models.Corners) -> None:
    refs = ask(f"{hub.endpoint}/api/models/corner/cases/refs").json()
    assert [r["name"] for r in refs["branches"]] == ["main", "feature/x"] and "pullRequests" not in refs
    assert [r["ref"] for r in refs["tags"]] == ["refs/tags/v1.0"]
    refs = ask(f"{hub.endpoint}/api/models/corner/cases/refs?include_prs=1").json()
    assert refs["pullRequests"] == [
        {"name": "1", "ref": "refs/pr/1", "targetCommit": corners.model.refs["refs/pr/1"]}
    ]
    converts = ask(f"{hub.endpoint}/api/datasets/corner/cases/refs").json()["converts"]
    assert [r["name"] for r in converts] == ["parquet"]


def listing(hub: Hub, url: str) -> tuple[list[dict[str, Any]], int]:
    """All entries of a listing, and the number of its pages."""
    entries: list[dict[str, Any]] = []
    pages = 0
    while url:
        answer = ask(url)
        assert answer.status == 200
        entries += answer.json()
        pages += 1
        link = answer["Link"] or ""
        assert not link or link.endswith('>; rel="next"')
        url = link[1 : link.index(">")] if link else ""
    return entries, pages


def test_tree(hub: Hub, corners: models.Corners) -> None:
    base = f"{hub.endpoint}/api/models/corner/cases/tree/main"
    rows, pages = listing(hub, f"{base}?recursive=true")
    by_path = {r["path"]: r for r in rows}
    assert pages == 1 and by_path["nested/deep/er"]["type"] == "directory"
    assert by_path["twin-a.bin"]["oid"] == by_path["sub/twin-b.bin"]["oid"]
    assert by_path["twin-a.bin"]["lfs"]["pointerSize"] == 131 and "xetHash" not in by_path["twin-a.bin"]
    assert by_path["same-a.txt"]["oid"] == hashlib.sha1(b"blob 5\0same\n").hexdigest()
    top, _ = listing(hub, base)
    assert "nested" in {r["path"] for r in top} and not any("/" in r["path"] for r in top)
    assert [r["path"] for r in listing(hub, f"{base}/nested%2Fdeep?recursive=True")[0]] == [
        "nested/deep/er",
        "nested/deep/er/file.json",
    ]
    assert listing(hub, f"{base}/nested/deep")[0] == [by_path["nested/deep/er"]]
    expanded, _ = listing(hub, f"{base}?expand=true")
    assert all(len(r["lastCommit"]["id"]) == 40 for r in expanded)
    gone = ask(f"{base}/no/folder")
    assert (gone.status, gone["X-Error-Code"]) == (404, "EntryNotFound")
    assert ask(f"{base}?cursor=bad").status == 400


def test_pages(hub: Hub) -> None:
    models.many(hub, count=2500)
    url = f"{hub.endpoint}/api/datasets/many/files/tree/main?recursive=true"
    rows, pages = listing(hub, url)
    assert pages == 3 and len({r["path"] for r in rows}) == len(rows) == 2500 + 25 + 1
    assert listing(hub, url + "&limit=100")[1] == 26
    hub.page_size = 700
    assert listing(hub, url + "&limit=100000")[1] == 4
    assert len(ask(url + "&expand=true").json()) == 50


def test_paths_info(hub: Hub, corners: models.Corners) -> None:
    url = f"{hub.endpoint}/api/models/corner/cases/paths-info/main"
    paths = ["config.json", "nope", "nested", "twin-a.bin"]
    form = urlencode({"paths": paths, "expand": "false"}, doseq=True).encode()
    rows = ask(url, "POST", form, Content_Type="application/x-www-form-urlencoded").json()
    assert [r["path"] for r in rows] == ["config.json", "nested", "twin-a.bin"]
    body = json.dumps({"paths": paths, "expand": True}).encode()
    rows = ask(url, "POST", body, Content_Type="application/json").json()
    assert all("lastCommit" in r for r in rows) and rows[2]["lfs"]["size"] == 200_000
    assert ask(url, "POST", b"{", Content_Type="application/json").status == 400


def test_whoami_commits_and_limits(hub: Hub, corners: models.Corners) -> None:
    assert ask(f"{hub.endpoint}/api/whoami-v2").status == 401
    assert ask(f"{hub.endpoint}/api/whoami-v2", token=models.TOKEN_ALL).json()["name"] == "all"
    history = ask(f"{hub.endpoint}/api/models/corner/cases/commits/main").json()
    assert [c["title"] for c in history] == ["Third", "Second", "First"]
    answer = ask(resolve(hub, "corner/cases", "config.json"))
    assert answer["RateLimit-Policy"] == '"fixed window";"resolvers";q=3000;w=300'
    hub.window = 10**10  # a window of 300 s might end in between
    answer = ask(resolve(hub, "corner/cases", "config.json"))
    assert (answer["RateLimit"] or "").startswith('"resolvers";r=2999;t=')
    assert ask(location(answer) and hub.endpoint + location(answer))["RateLimit"] is None
    assert (ask(resolve(hub, "corner/cases", "config.json"))["RateLimit"] or "").startswith('"resolvers";r=2998;t=')
    hub.limits["api"] = (0, 1000)
    hub.enforce_limits = True
    answer = ask(f"{hub.endpoint}/api/models/corner/cases")
    assert answer.status == 429 and (answer["RateLimit"] or "").startswith('"api";r=0;t=')
    assert ask(f"{hub.endpoint}/api/models/corner/cases", token=models.TOKEN_NONE).status == 200


def test_prefix_gzip_and_keep_alive() -> None:
    with Hub(prefix="/mirror/hf") as hub:
        models.corner_cases(hub)
        hub.gzip = True
        assert hub.endpoint.endswith("/mirror/hf")
        answer = ask(resolve(hub, "corner/old-name", "config.json"))
        assert location(answer) == "/mirror/hf/corner/new-name/resolve/main/config.json"
        answer = ask(f"{hub.endpoint}/api/models/corner/cases", Accept_Encoding="gzip")
        assert (
            answer["Content-Encoding"] == "gzip"
            and json.loads(gzip.decompress(answer.body))["id"] == "corner/cases"
        )
        assert ask(f"{hub.endpoint}/api/models/corner/cases", Accept_Encoding="identity").json()
        hub.page_size = 5
        rows, pages = listing(hub, f"{hub.endpoint}/api/models/corner/cases/tree/main?recursive=true")
        assert pages > 4 and rows
        parts = urlsplit(hub.endpoint)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        for _ in range(3):
            connection.request("GET", f"{parts.path}/api/models/corner/cases")
            assert connection.getresponse().read()
        connection.close()
        assert hub.log.records()[-1].connection == hub.log.records()[-3].connection


# -- contents, command line ----------------------------------------------------------------


def test_synthetic_content() -> None:
    one, two = Synthetic(3_000_000, 1), Synthetic(3_000_000, 2)
    assert one.read(1_048_000, 1_049_000) == one.read()[1_048_000:1_049_000]
    pages = {one.read(at, at + 4096) for at in range(0, 2_990_000, 4096)}
    assert len(pages) == 2_990_000 // 4096 + 1 and one.read(0, 4096) != two.read(0, 4096)
    assert one.sha256 == hashlib.sha256(one.read()).hexdigest()
    data = models.safetensors({"a": 1000, "b": 2000}).read()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["b"]["data_offsets"][1] + 8 + length == len(data)


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "w.bin").write_bytes(b"x" * 1000)
    command = [
        sys.executable,
        "-B",
        str(MAIN),
        "--folder",
        f"My/Model={tmp_path}",
        "--bandwidth",
        "1G",
        "--latency",
        "0.05",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        began = time.monotonic()
        assert ask(told["endpoint"] + "/api/models/My/Model").json()["id"] == "My/Model"
        assert time.monotonic() - began > 0.09
        assert call(told["control"], "counters")["counters"]["requests"] == 1
        process.terminate()
        assert process.wait(10) == 0
