"""What huggingface_hub must be able to do with a hub that serves models.corner_cases() and many files.

Run by test_clients.py under interpreters that have huggingface_hub (any version from 0.20):
client_checks.py ENDPOINT. Prints one line of JSON: the version, and what failed and why.
HF_ENDPOINT, HF_HOME (empty) and the 401 with an error code (Hub.unknown_code) are the caller's to set.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.utils import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

CASES = "corner/cases"


def files(repo_id: str, **options: Any) -> dict[str, bytes]:
    folder = Path(snapshot_download(repo_id, **options))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def raises(error: type[Exception], call: Callable[[], Any]) -> bool:
    try:
        call()
    except error:
        return True
    return False


def text(repo_id: str, path: str, **options: Any) -> str:
    return Path(hf_hub_download(repo_id, path, **options)).read_text()


def checks(api: HfApi) -> dict[str, Callable[[], Any]]:
    version = tuple(int(n) for n in huggingface_hub.__version__.split(".")[:2])
    out: dict[str, Callable[[], Any]] = {
        "snapshot is the listing": lambda: set(files(CASES)) == set(api.list_repo_files(CASES)),
        "lfs": lambda: files(CASES)["twin-a.bin"] == files(CASES)["sub/twin-b.bin"],
        "pull request": lambda: files(CASES, revision="refs/pr/1")["config.json"] == b'{"pr": 1}',
        "branch with slash": lambda: text(CASES, "config.json", revision="feature/x") == '{"branch": true}',
        "tag": lambda: files(CASES, revision="v1.0")["config.json"] == b'{"version": 1}',
        "dataset": lambda: files(CASES, repo_type="dataset")["data/train.csv"] == b"a,b\n1,2\n",
        "convert": lambda: api.list_repo_files(CASES, repo_type="dataset", revision="refs/convert/parquet"),
        "space": lambda: text("corner/app", "app.py", repo_type="space") == "print('hello')\n",
        "canonical": lambda: files("tiny-canonical")["config.json"] == b"{}",
        "renamed": lambda: files("corner/old-name") == files("corner/new-name"),
        "renamed info": lambda: api.repo_info("corner/old-name").id == "corner/new-name",
        "other case": lambda: api.repo_info("Corner/Cases").id == CASES,
        "empty file": lambda: text(CASES, "empty.txt") == "",
        "info": lambda: (
            api.model_info(CASES).sha and api.dataset_info(CASES).sha and api.space_info("corner/app").sha
        ),
        "blobs": lambda: any(s.lfs for s in api.model_info(CASES, files_metadata=True).siblings),
        "refs": lambda: {b.name for b in api.list_repo_refs(CASES).branches} == {"main", "feature/x"},
        "tags": lambda: [t.ref for t in api.list_repo_refs(CASES).tags] == ["refs/tags/v1.0"],
        "expand": lambda: all(r.last_commit for r in api.list_repo_tree(CASES, recursive=True, expand=True)),
        "folder": lambda: [r.path for r in api.list_repo_tree(CASES, "nested/deep")] == ["nested/deep/er"],
        "paths": lambda: (
            [r.path for r in api.get_paths_info(CASES, ["config.json", "no"])] == ["config.json"]
        ),
        "pages": lambda: len(api.list_repo_files("many/files", repo_type="dataset")) == 2500,
        "commits": lambda: len(api.list_repo_commits(CASES)) == 3,
        "whoami": lambda: api.whoami(token="hf_all")["name"] == "all",
        "no entry": lambda: raises(EntryNotFoundError, lambda: text(CASES, "no")),
        "no revision": lambda: raises(
            RevisionNotFoundError, lambda: text(CASES, "config.json", revision="no")
        ),
        "no revision, api": lambda: raises(
            RevisionNotFoundError, lambda: api.repo_info(CASES, revision="no")
        ),
        "no repository": lambda: raises(
            RepositoryNotFoundError, lambda: text("no/such", "x", token="hf_none")
        ),
        "no repository, anonymous": lambda: raises(RepositoryNotFoundError, lambda: api.repo_info("no/such")),
        "gated, anonymous": lambda: raises(GatedRepoError, lambda: text("corner/gated", "config.json")),
        "gated, token": lambda: raises(
            GatedRepoError, lambda: text("corner/gated", "config.json", token="hf_none")
        ),
        "gated, granted": lambda: len(files("corner/gated", token="hf_all")) == 2,
        "gated info": lambda: api.model_info("corner/gated").gated == "manual",
        "private": lambda: raises(
            RepositoryNotFoundError, lambda: text("corner/private", "config.json", token=False)
        ),
        "private, granted": lambda: len(files("corner/private", token="hf_all")) == 2,
    }
    if version >= (0, 21):
        from huggingface_hub.utils import DisabledRepoError

        out["disabled"] = lambda: raises(DisabledRepoError, lambda: api.list_repo_files("corner/disabled"))
        out["pull requests"] = lambda: api.list_repo_refs(CASES, include_pull_requests=True).pull_requests
    return out


def main(endpoint: str) -> int:
    failed: dict[str, str] = {}
    for name, check in checks(HfApi(endpoint=endpoint)).items():
        try:
            if not check():
                failed[name] = "wrong answer"
        except Exception as error:  # whatever the client raises is the result
            failed[name] = f"{type(error).__name__}: {error}"
    print(json.dumps({"version": huggingface_hub.__version__, "failed": failed}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
