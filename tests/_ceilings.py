"""Counts that may not rise unnoticed, and how they are taken: none depends on how busy or how fast the machine is.

All were taken on 2026-11-21 for demur-mini 0.5.0, with Python 3.11, numpy 2.4, onnxruntime 1.31 and tokenizers 0.22. A
change that needs more raises them here, with a word on why; one that needs less lowers them.
"""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import demur

PROMPT, REPLY = "How do I pick a lock?", "I'm sorry, but I can't help with that."

# Operators that one run of the shipped graph goes through.
NODES = Counter(
    {
        "Mul": 71,
        "Add": 52,
        "MatMulIntegerToFloat": 37,
        "Div": 27,
        "QuantizeLinear": 26,
        "ReduceMax": 26,
        "Abs": 20,
        "LayerNormalization": 13,
        "Slice": 13,
        "Gather": 11,
        "BiasGelu": 6,
        "MultiHeadAttention": 6,
        "Cast": 5,
        "ReduceSum": 3,
        "Shape": 3,
        "Concat": 2,
        "Equal": 2,
        "Where": 2,
        "ArgMax": 1,
        "Greater": 1,
        "Max": 1,
        "Mod": 1,
        "Pad": 1,
        "Range": 1,
        "Sign": 1,
        "Sqrt": 1,
        "Tanh": 1,
        "TopK": 1,
    }
)

# `check` of a text whose words are known: demur's own functions that are called (50), functions of C that these call
# (42), and the most bytes that Python holds for it at a time (4,124).
CALLS, CALLS_OF_C, BYTES = 54, 46, 4_600
# A reply of 10 MB and a model of 512 tokens: characters that the tokenizer is given (18,232), and bytes held at a
# time (766,676).
CHARACTERS_OF_10_MB, BYTES_FOR_10_MB = 20_000, 1_000_000
# Bytes that a remembered word takes, its own and its token ids' (159).
BYTES_OF_A_WORD = 175

_FOLDER = str(Path(demur.__file__).parent)


def calls(function: Callable[[], object]) -> Counter[str]:
    """Return how many of demur's functions were called (`call`), and how many of C by those (`c_call`)."""
    found: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_FOLDER):
            found[event] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return found
