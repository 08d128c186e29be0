#!/usr/bin/env python3
"""scan.py [FOLDER]: scan_cache_dir, what `hf cache` shows; prints repos and warnings (corruptions)."""
import argparse

import common


def main():
    import huggingface_hub

    info = huggingface_hub.scan_cache_dir(args.folder) if args.folder else huggingface_hub.scan_cache_dir()
    repos = []
    for repo in info.repos:
        repos.append({
            "repo_id": repo.repo_id,
            "repo_type": repo.repo_type,
            "size_on_disk": repo.size_on_disk,
            "nb_files": repo.nb_files,
            "refs": sorted(repo.refs),
            "revisions": [
                {
                    "commit": revision.commit_hash,
                    "refs": sorted(revision.refs),
                    "files": sorted(str(f.file_path.relative_to(revision.snapshot_path)) for f in revision.files),
                }
                for revision in sorted(repo.revisions, key=lambda r: r.commit_hash)
            ],
        })
    return {
        "size_on_disk": info.size_on_disk,
        "repos": sorted(repos, key=lambda r: (r["repo_type"], r["repo_id"])),
        "warnings": sorted(str(w) for w in info.warnings),
    }


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", nargs="?")
args = parser.parse_args()
common.run(main)
