#!/usr/bin/env python3
"""snapshot.py [--repo-type T] REPO [REV]: snapshot_download; prints its folder and [path, size, sha256] of each file."""
import argparse
import os

import common


def main():
    import huggingface_hub

    root = huggingface_hub.snapshot_download(
        args.repo, revision=args.rev, repo_type=args.repo_type)
    files = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            files.append([os.path.relpath(path, root), os.stat(path).st_size, common.sha256_of(path)])
    return {"path": root, "files": sorted(files)}


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--repo-type", choices=["model", "dataset", "space"], default="model")
parser.add_argument("repo")
parser.add_argument("rev", nargs="?")
args = parser.parse_args()
common.run(main)
