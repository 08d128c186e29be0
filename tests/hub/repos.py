"""Repositories as git sees them: commits, trees, references and the names the hub gives to blobs.

Object ids are real git ids (blob, LFS pointer, tree and commit objects), so the same content has
the same ids in every run. A listing is in the hub's order: folders first, then files, each as git
sorts them (the cursor of a page, ``{"file_name", "tree_oid"}``, is that of Gitaly's TREES_FIRST).

Field names follow huggingface_hub ``hf_api.py``: ``RepoFile``, ``RepoFolder``, ``RepoSibling``,
``GitRefs``, ``ModelInfo``.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .content import Content, as_content

TYPES = ("model", "dataset", "space")
LFS_PATTERNS = (
    "*.safetensors",
    "*.bin",
    "*.gguf",
    "*.onnx",
    "*.pt",
    "*.h5",
    "*.parquet",
    "*.msgpack",
    "*.zip",
)
LFS_OVER = 10 << 20
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
COMMIT_RE = re.compile(r"[0-9a-f]{40}")

Files = Mapping[str, "Content | bytes | str | Path | None"]


def iso(when: datetime) -> str:
    """A date as the hub's JSON has it: 2024-01-31T10:00:00.000Z."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a commit."""

    path: str
    content: Content
    oid: str  # git blob id; that of the pointer for an LFS file
    lfs: str | None  # sha256, for an LFS file
    pointer_size: int = 0
    xet: str | None = None

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def etag(self) -> str:
        return self.lfs or self.oid

    def lfs_json(self, name: str) -> dict[str, Any]:
        return {name: self.lfs, "size": self.size, "pointerSize": self.pointer_size}

    def tree_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"type": "file", "oid": self.oid, "size": self.size}
        if self.lfs:
            out["lfs"] = self.lfs_json("oid")
        if self.xet:
            out["xetHash"] = self.xet
        out["path"] = self.path
        return out

    def sibling_json(self, blobs: bool) -> dict[str, Any]:
        out: dict[str, Any] = {"rfilename": self.path}
        if blobs:
            out |= {"blobId": self.oid, "size": self.size}
            if self.lfs:
                out["lfs"] = self.lfs_json("sha256")
        return out


@dataclass(slots=True)
class Commit:
    """A commit: its files by path, its folders with their tree ids, and who touched what last."""

    oid: str
    title: str
    date: datetime
    parent: Commit | None
    files: dict[str, Entry]
    folders: dict[str, str]
    touched: dict[str, Commit] = field(default_factory=dict)
    _listing: list[dict[str, Any]] | None = None

    def listing(self) -> list[dict[str, Any]]:
        """All entries in the hub's order, as JSON objects that must not be changed."""
        if self._listing is None:
            rows: list[dict[str, Any]] = [
                {"type": "directory", "oid": self.folders[p], "size": 0, "path": p}
                for p in sorted(self.folders, key=lambda p: (p + "/").encode("utf-8", "surrogatepass"))
            ]
            rows += [self.files[p].tree_json() for p in sorted(self.files, key=_git_key)]
            self._listing = rows
        return self._listing

    def below(self, folder: str, recursive: bool) -> list[dict[str, Any]] | None:
        """The entries under `folder` ("" for the root), or None where that is no folder."""
        if folder and folder not in self.folders:
            return None
        if not folder and recursive:
            return self.listing()
        prefix = folder + "/" if folder else ""
        rows = [r for r in self.listing() if r["path"].startswith(prefix)]
        return rows if recursive else [r for r in rows if "/" not in r["path"][len(prefix) :]]

    def entry_json(self, path: str) -> dict[str, Any] | None:
        if path in self.files:
            return self.files[path].tree_json()
        if path in self.folders:
            return {"type": "directory", "oid": self.folders[path], "size": 0, "path": path}
        return None

    def expanded(self, row: dict[str, Any]) -> dict[str, Any]:
        """`row` with what ``expand=true`` adds."""
        last = self.touched.get(row["path"], self)
        out = row | {"lastCommit": {"id": last.oid, "title": last.title, "date": iso(last.date)}}
        if row["type"] == "file":
            scan = {"status": "unscanned", "message": None, "reportLink": None, "reportLabel": None}
            out["securityFileStatus"] = {"status": "unscanned", "avScan": scan, "pickleImportScan": None}
        return out


def _git_key(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")


def _object_id(kind: str, data: bytes) -> str:
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest()


def _trees(files: Mapping[str, Entry]) -> tuple[str, dict[str, str]]:
    """Return the id of the root tree and of every folder's tree."""
    rows: dict[str, list[tuple[bytes, bytes]]] = {"": []}
    for path, entry in files.items():
        folder, _, name = path.rpartition("/")
        parent = folder
        while parent not in rows:
            rows[parent] = []
            parent = parent.rpartition("/")[0]
        key = _git_key(name)
        rows[folder].append((key, b"100644 " + key + b"\0" + bytes.fromhex(entry.oid)))
    ids: dict[str, str] = {}
    for folder in sorted(rows, key=lambda f: -f.count("/") if f else 1):
        data = b"".join(row for _, row in sorted(rows[folder]))
        ids[folder] = _object_id("tree", data)
        if folder:
            parent, _, name = folder.rpartition("/")
            key = _git_key(name)
            rows[parent].append((key + b"/", b"40000 " + key + b"\0" + bytes.fromhex(ids[folder])))
    return ids.pop(""), ids


class Repo:
    """A repository. Changes are atomic: a request sees a commit whole or not at all."""

    def __init__(
        self,
        type_: str,
        id_: str,
        *,
        private: bool = False,
        gated: str | bool = False,
        disabled: bool = False,
        lfs_over: int = LFS_OVER,
        lfs_patterns: Iterable[str] = LFS_PATTERNS,
        xet: bool = False,
    ) -> None:
        if type_ not in TYPES:
            raise ValueError(f"unknown repository type {type_!r}")
        self.type = type_
        self.id = id_
        self.private = private
        self.gated = "auto" if gated is True else gated
        self.disabled = disabled
        self.lfs_over = lfs_over
        self.lfs_patterns = tuple(lfs_patterns)
        self.xet = xet
        self.refs: dict[str, str] = {}  # full name -> commit id
        self.commits: dict[str, Commit] = {}
        self._lock = threading.Lock()

    @property
    def kind(self) -> str:
        """models, datasets or spaces."""
        return self.type + "s"

    @property
    def url_id(self) -> str:
        """The repository's part of a resolve URL."""
        return self.id if self.type == "model" else f"{self.kind}/{self.id}"

    def _entry(self, path: str, content: Content) -> Entry:
        name = path.rpartition("/")[2]
        if content.size >= self.lfs_over or any(fnmatch.fnmatchcase(name, p) for p in self.lfs_patterns):
            sha = content.sha256
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {content.size}\n".encode()
            xet = hashlib.sha256(b"xet" + sha.encode()).hexdigest() if self.xet else None
            return Entry(path, content, _object_id("blob", pointer), sha, len(pointer), xet)
        return Entry(path, content, content.git_oid, None)

    def commit(
        self,
        files: Files,
        ref: str = "main",
        *,
        title: str = "Update files",
        date: datetime | None = None,
        replace: bool = False,
    ) -> str:
        """Put `files` on top of `ref` (None removes a path; `replace` drops the rest); return the commit id.

        `ref` is a branch name or a full name (refs/pr/1, refs/convert/parquet). A new branch or
        PR starts at main where that exists. Files kept in LFS are hashed here, once.
        """
        full = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
        with self._lock:
            head = self.refs.get(full) or self.refs.get("refs/heads/main")
            parent = self.commits[head] if head else None
            merged: dict[str, Entry] = {} if replace or parent is None else dict(parent.files)
            changed: set[str] = set()
            for path, value in files.items():
                if value is None:
                    merged.pop(path, None)
                else:
                    merged[path] = self._entry(path, as_content(value))
                while path:
                    changed.add(path)
                    path = path.rpartition("/")[0]
            when = date or EPOCH + timedelta(hours=len(self.commits))
            root, folders = _trees(merged)
            stamp = int(when.timestamp())
            text = f"tree {root}\n" + (f"parent {parent.oid}\n" if parent else "")
            text += (
                f"author hub <hub@localhost> {stamp} +0000\ncommitter hub <hub@localhost> {stamp} +0000\n\n"
            )
            oid = _object_id("commit", (text + f"{title}\n\n{self.type} {self.id}\n").encode())
            commit = Commit(oid, title, when, parent, merged, folders)
            old = parent.touched if parent else {}
            commit.touched = {
                p: commit if p in changed or p not in old else old[p] for p in (*merged, *folders)
            }
            self.commits[oid] = commit
            self.refs[full] = oid
        return oid

    def commit_folder(self, folder: Path | str, ref: str = "main", **kwargs: Any) -> str:
        """Commit every regular file under `folder`; the bytes stay on disk."""
        top = Path(folder)
        found = {p.relative_to(top).as_posix(): p for p in sorted(top.rglob("*")) if p.is_file()}
        return self.commit(found, ref, **kwargs)

    def set_ref(self, name: str, target: str = "main") -> None:
        """Point `name` (full, or a branch) at a commit id or at what another reference names."""
        commit = self.resolve(target)
        if commit is None:
            raise KeyError(target)
        with self._lock:
            self.refs[name if name.startswith("refs/") else f"refs/heads/{name}"] = commit.oid

    def tag(self, name: str, target: str = "main") -> None:
        self.set_ref(f"refs/tags/{name}", target)

    def drop_ref(self, name: str) -> None:
        with self._lock:
            self.refs.pop(name if name.startswith("refs/") else f"refs/heads/{name}")

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, tag, full reference or 40-digit commit id."""
        with self._lock:
            if COMMIT_RE.fullmatch(revision) and revision in self.commits:
                return self.commits[revision]
            for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
                if name in self.refs:
                    return self.commits[self.refs[name]]
        return None

    def refs_json(self, pull_requests: bool) -> dict[str, Any]:
        groups = {"refs/heads/": "branches", "refs/convert/": "converts", "refs/tags/": "tags"}
        if pull_requests:
            groups["refs/pr/"] = "pullRequests"
        out: dict[str, Any] = {group: [] for group in groups.values()}
        with self._lock:
            for full, oid in self.refs.items():
                for prefix, group in groups.items():
                    if full.startswith(prefix):
                        out[group].append({"name": full[len(prefix) :], "ref": full, "targetCommit": oid})
        return out

    def info_json(self, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
        """The answer of /api/{kind}/{id}[/revision/…]."""
        out: dict[str, Any] = {
            "_id": hashlib.sha1(f"{self.type} {self.id}".encode()).hexdigest()[:24],
            "id": self.id,
            "private": self.private,
            "gated": self.gated,
            "disabled": self.disabled,
            "sha": commit.oid,
            "lastModified": iso(commit.date),
            "createdAt": iso(next(iter(self.commits.values())).date),
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "usedStorage": sum(e.size for e in commit.files.values()),
            "siblings": [commit.files[p].sibling_json(blobs) for p in sorted(commit.files, key=_git_key)],
        }
        if "/" in self.id:
            out["author"] = self.id.split("/")[0]
        if self.type == "model":
            out |= {"modelId": self.id, "pipeline_tag": None, "library_name": None, "spaces": []}
        elif self.type == "space":
            out |= {"sdk": "static", "host": "http://localhost", "subdomain": self.id.replace("/", "-")}
        return out

    def history(self, commit: Commit) -> list[dict[str, Any]]:
        """The answer of /api/{kind}/{id}/commits/{rev}, newest first."""
        rows: list[dict[str, Any]] = []
        at: Commit | None = commit
        while at is not None:
            author = {"user": "hub", "avatar": "/avatars/hub.svg"}
            rows.append(
                {"id": at.oid, "title": at.title, "message": "", "authors": [author], "date": iso(at.date)}
            )
            at = at.parent
        return rows
