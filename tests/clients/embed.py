#!/usr/bin/env python3
"""embed.py REPO [REV]: SentenceTransformer on fixed sentences; prints every bit of the embeddings.

"modules" and "pooling" tell a model that was loaded whole from one that was put together
from defaults (a transformer with mean pooling and no normalisation), which happens
without an error when its modules.json is not found.
"""
import argparse
import hashlib

import common

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Bytes come from the hub on the first read.",
    "Ein Satz mit Umlauten: schöne Grüße aus Köln.",
    "",
]


def pooling_of(model):
    for module in model:
        if type(module).__name__ == "Pooling":
            config = getattr(module, "get_config_dict", dict)()
            return {k: v for k, v in config.items() if isinstance(v, (bool, int, str))}
    return None


def main():
    import sentence_transformers
    import transformers

    common.quiet_threads()
    model = sentence_transformers.SentenceTransformer(args.repo, revision=args.rev, device="cpu")
    vectors = model.encode(SENTENCES, convert_to_numpy=True, show_progress_bar=False)
    vectors = vectors.astype("<f4")
    return {
        "sentence_transformers": sentence_transformers.__version__,
        "transformers": transformers.__version__,
        "modules": [type(module).__name__ for module in model],
        "pooling": pooling_of(model),
        "shape": list(vectors.shape),
        "sha256": hashlib.sha256(vectors.tobytes()).hexdigest(),
        "embeddings": [common.floats(v) for v in vectors],
    }


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("repo")
parser.add_argument("rev", nargs="?")
args = parser.parse_args()
common.run(main)
