"""Power loss, played over: what record.c wrote down, up to any point, as a disk may show it afterwards.

The disk is a pessimist. What was not synced may be there or not, each write and each name for itself; the last
write may be torn; names may be ahead of data and data ahead of names. What is certain:

- the bytes of a file up to its last fsync or fdatasync, its length among them;
- the names in a folder up to the folder's last fsync;
- a rename or link within one folder is there or not, never a half.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ENTRY = struct.Struct("<IIIIQQQ")
CREATE, WRITE, TRUNC, SYNC, RENAME, LINK, UNLINK, MKDIR, SYMLINK, MARK = range(1, 11)
SECTOR = 512
MODES = ("nothing", "everything", "names", "data", "some", "some", "some")


@dataclass
class Event:
    op: int
    name: str
    other: str
    data: bytes
    a: int
    b: int


def read_log(path: Path) -> Iterator[Event]:
    data = path.read_bytes()
    at = 0
    while at < len(data):
        op, n, m, d, a, b, _ = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        yield Event(op, data[at : at + n].decode(), data[at + n : at + n + m].decode(), data[at + n + m : at + n + m + d], a, b)
        at += n + m + d


def mark(path: Path, text: str) -> None:
    """An entry of ours: from here on it is known, to whoever looks, that..."""
    with path.open("ab", buffering=0) as f:
        f.write(ENTRY.pack(MARK, len(text.encode()), 0, 0, 0, 0, 0) + text.encode())


@dataclass
class Node:
    """A file, a folder or a link: what is certain of it, and what came since."""

    kind: str  # "file", "dir" or "link"
    path: str  # where it was made
    target: str = ""
    syncs: int = 0
    bytes: bytearray = field(default_factory=bytearray)
    writes: list[Event] = field(default_factory=list)
    names: dict[str, Node] = field(default_factory=dict)
    changes: list[tuple[int, str, Node | None]] = field(default_factory=list)  # (step, name, what it names)

    def now(self) -> dict[str, Node]:
        names = dict(self.names)
        for _, name, node in self.changes:
            names.pop(name, None)
            if node is not None:
                names[name] = node
        return names


def apply(content: bytearray, event: Event, length: int | None = None) -> None:
    if event.op == TRUNC:
        del content[event.b :]
        content.extend(bytes(event.b - len(content)))
        return
    data = event.data if length is None else event.data[:length]
    if len(content) < event.b:
        content.extend(bytes(event.b - len(content)))
    content[event.b : event.b + len(data)] = data


class Disk:
    """Takes the entries one by one; a picture may be taken after each."""

    def __init__(self, roots: dict[str, int], forgets: Callable[[Node], bool] = lambda node: False) -> None:
        """@forgets: syncs of such a node are lost, as if the program had left them out."""
        self.forgets = forgets
        self.roots = {name: Node("dir", name) for name in roots}
        self._inodes = {inode: self.roots[name] for name, inode in roots.items()}
        self._step = 0

    def take(self, event: Event) -> None:
        self._step += 1
        node = self._inodes.get(event.a)
        if node is None or event.op == MARK:
            return
        if event.op in (CREATE, MKDIR, SYMLINK):
            kind = {CREATE: "file", MKDIR: "dir", SYMLINK: "link"}[event.op]
            new = self._inodes[event.b] = Node(kind, f"{node.path}/{event.name}", event.other)
            node.changes.append((self._step, event.name, new))
        elif event.op in (WRITE, TRUNC):
            node.writes.append(event)
        elif event.op == UNLINK:
            node.changes.append((self._step, event.name, None))
        elif event.op == SYNC:
            if not self.forgets(node):
                self._sync(node)
        elif event.op in (RENAME, LINK):
            to, moved = self._inodes.get(event.b), node.now().get(event.name)
            if to is None or moved is None:
                raise ValueError(f"the record does not fit: {event.name} -> {event.other}")
            if event.op == RENAME:
                node.changes.append((self._step, event.name, None))
            to.changes.append((self._step, event.other, moved))

    def _sync(self, node: Node) -> None:
        node.syncs += 1
        for event in node.writes:
            apply(node.bytes, event)
        node.writes.clear()
        node.names = node.now()
        node.changes.clear()


class Picture:
    """One disk that a reboot may find: a choice of what was not certain."""

    def __init__(self, disk: Disk, mode: str, rng: random.Random) -> None:
        self.mode, self.rng = mode, rng
        self._steps: dict[int, bool] = {}
        self._contents: dict[int, tuple[bytes, tuple]] = {}
        self.choice: list[object] = []
        self.tree = {name: self._folder(root) for name, root in disk.roots.items()}

    def _keeps(self, step: int) -> bool:
        if step not in self._steps:
            self._steps[step] = {"nothing": False, "data": False, "everything": True, "names": True}.get(
                self.mode, self.rng.random() < 0.5)
        return self._steps[step]

    def _folder(self, node: Node) -> dict[str, object]:
        names = dict(node.names)
        for step, name, named in node.changes:
            if self._keeps(step):
                names.pop(name, None)
                if named is not None:
                    names[name] = named
        out: dict[str, object] = {}
        for name, named in sorted(names.items()):
            self.choice.append(name)
            out[name] = self._folder(named) if named.kind == "dir" else named
            if named.kind == "file":
                self._content(named)
        return out

    def _content(self, node: Node) -> bytes:
        if id(node) not in self._contents:
            content, kept = bytearray(node.bytes), []
            for i, event in enumerate(node.writes):
                how = self._how(event, last=i == len(node.writes) - 1)
                kept.append(how)
                if how == "size":
                    content.extend(bytes(max(0, event.b + len(event.data) - len(content))))
                elif how != 0:
                    apply(content, event, None if how == -1 else int(how))
            self._contents[id(node)] = (bytes(content), (id(node), node.syncs, tuple(kept)))
            self.choice.append(self._contents[id(node)][1])
        return self._contents[id(node)][0]

    def _how(self, event: Event, last: bool) -> object:
        """0: it is lost; -1: all of it is there; "size": its length alone; else so many bytes of it."""
        if self.mode in ("everything", "data"):
            return -1
        if self.mode == "nothing":
            return 0
        if self.mode == "names":
            return -1 if event.op == TRUNC else "size"
        if event.op == WRITE and last and self.rng.random() < 0.3:
            sectors = range(SECTOR - event.b % SECTOR, len(event.data), SECTOR)
            return self.rng.choice(sectors) if sectors else 0
        return self.rng.choice((-1, 0, "size") if event.op == WRITE else (-1, 0))

    def write(self, base: Path) -> None:
        made: dict[int, Path] = {}
        for name, tree in self.tree.items():
            self._write(base / name, tree, made)

    def _write(self, folder: Path, tree: dict[str, object], made: dict[int, Path]) -> None:
        os.mkdir(folder)
        for name, what in tree.items():
            path = folder / name
            if isinstance(what, dict):
                self._write(path, what, made)
            elif what.kind == "link":
                os.symlink(what.target, path)
            elif id(what) in made:
                os.link(made[id(what)], path)
            else:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                os.write(fd, self._content(what))
                os.close(fd)
                made[id(what)] = path
