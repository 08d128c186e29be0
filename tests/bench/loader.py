"""Loads safetensors files into memory, as a model server does, and prints the seconds it took as JSON.

Run by the interpreter of a client environment that has safetensors and torch (tools/install-clients ml).
"""

import json
import sys
import time

import torch  # noqa: F401 (safetensors needs it, and its import is not what is measured)
from safetensors import safe_open

began = time.perf_counter()
total = 0
for path in sys.argv[1:]:
    with safe_open(path, framework="pt") as f:
        for name in f.keys():
            tensor = f.get_tensor(name).clone()
            total += tensor.numel() * tensor.element_size()
print(json.dumps({"seconds": time.perf_counter() - began, "count": total}))
