"""What the client programs share: one JSON line on stdout, whatever the libraries print.

A program ends with 0 and its result, or with 1 and {"error": class name, "message": …}.
Only the standard library is used here, so that every environment can run it.
"""
import hashlib
import json
import os
import sys
import time
import traceback


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while True:
            block = f.read(1 << 20)
            if not block:
                return digest.hexdigest()
            digest.update(block)


def floats(values):
    """Each float as its exact hexadecimal text, so that a comparison is of every bit."""
    return [float(v).hex() for v in values]


def quiet_threads():
    """The same sums in the same order on every machine with the same torch."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def run(work):
    """Runs work() and prints its dictionary; what others print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    started = time.monotonic()
    status = 0
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - every failure is a result here
        traceback.print_exc()
        chain, cause = [], error
        while cause is not None and len(chain) < 8:
            chain.append(type(cause).__name__)
            cause = cause.__cause__ or cause.__context__
        result = {"error": chain[0], "causes": chain[1:], "message": str(error)}
        status = 1
    result["seconds"] = round(time.monotonic() - started, 3)
    hub = sys.modules.get("huggingface_hub")
    if hub is not None:
        result["huggingface_hub"] = hub.__version__
    print(json.dumps(result, sort_keys=True), file=out, flush=True)
    # Without the interpreter's own ending: worker threads of a library that wait for
    # the network would hold it up.
    sys.stderr.flush()
    os._exit(status)
