#!/usr/bin/env python3
"""hub_download.py [--repo-type T] REPO FILE [REV]: hf_hub_download; prints path, realpath, size, sha256."""
import argparse
import os

import common


def main():
    import huggingface_hub

    path = huggingface_hub.hf_hub_download(
        args.repo, args.file, revision=args.rev, repo_type=args.repo_type)
    return {
        "path": path,
        "realpath": os.path.realpath(path),
        "size": os.stat(path).st_size,
        "sha256": common.sha256_of(path),
    }


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--repo-type", choices=["model", "dataset", "space"], default="model")
parser.add_argument("repo")
parser.add_argument("file")
parser.add_argument("rev", nargs="?")
args = parser.parse_args()
common.run(main)
