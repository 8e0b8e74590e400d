"""Loads one side as its users do, in a process of its own.

    python _models_load.py SIDE CHECKPOINT PATH TEXT TOKENS

prints a JSON object. TEXT is a file; of TOKENS 0 nothing is judged.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(side: str, checkpoint: Path, path: Path, text: str, tokens: int) -> dict[str, Any]:
    """Load a side as its users do, with its tokenizer, and judge a text of `tokens` or more; none if that is 0."""
    start = time.perf_counter()
    from _models_sides import DEMUR, INT8  # here, since it imports numpy, which demur does too

    if side == DEMUR:
        import demur
        import demur._assemble  # all that loading would import

        imported = time.perf_counter()
        model = demur.load(path, threads=1)
        judge: Callable[[], Any] = lambda: model.check(text).tokens  # noqa: E731
    else:
        import torch
        from transformers import pipeline

        torch.set_num_threads(1)
        if side == INT8:
            import _peers

            imported = time.perf_counter()
            classify: Any = _peers.optimum_pipeline(checkpoint, path, 1)
        else:
            imported = time.perf_counter()
            classify = pipeline("text-classification", model=str(checkpoint), tokenizer=str(checkpoint), device="cpu")

        def judge() -> Any:
            classify(text, truncation=True, max_length=tokens)
            return tokens

    loaded = time.perf_counter()
    found: dict[str, Any] = {"import_s": round(imported - start, 4), "load_s": round(loaded - imported, 4)}
    return found | ({"tokens": judge(), "peak_mb": held_mb()} if tokens else {})


def held_mb(process: int | str = "self") -> float:
    """Return the most memory that a process has held, in 10^6 bytes; 0 where nothing tells, as beyond Linux.

    As Linux has it of the program itself: what `getrusage` tells begins at what the process held that started it.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    _, found, rest = status.partition("VmHWM:")
    return round(int(rest.split()[0]) * 1024 / 1e6, 1) if found else 0.0


if __name__ == "__main__":
    _side, _checkpoint, _path, _text, _tokens = sys.argv[1:]
    _words = Path(_text).read_text(encoding="utf-8")
    print(json.dumps(load(_side, Path(_checkpoint), Path(_path), _words, int(_tokens))))
