#!/usr/bin/env python3
"""automodel.py REPO [REV]: AutoTokenizer and AutoModel on a fixed text; prints checksums of tokens and hidden state."""
import argparse
import hashlib

import common

TEXT = "Bytes come from the hub on the first read, and from local disk ever after."


def main():
    import torch
    import transformers

    common.quiet_threads()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.repo, revision=args.rev)
    model = transformers.AutoModel.from_pretrained(args.repo, revision=args.rev).eval()
    tokens = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**tokens).last_hidden_state.to(torch.float32).contiguous()
    # Every weight too: a forward pass does not touch all of them.
    weights = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        weights.update(name.encode())
        weights.update(value.contiguous().numpy().tobytes())
    return {
        "transformers": transformers.__version__,
        "class": type(model).__name__,
        "tokens": tokens["input_ids"][0].tolist(),
        "shape": list(hidden.shape),
        "sha256": hashlib.sha256(hidden.numpy().tobytes()).hexdigest(),
        "weights_sha256": weights.hexdigest(),
    }


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("repo")
parser.add_argument("rev", nargs="?")
args = parser.parse_args()
common.run(main)
