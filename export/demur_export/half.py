"""A graph in half precision, for CUDA: token ids in, fp32 logits out."""

import numpy as np
import onnx
from onnx import TensorProto

from demur._session import OUTPUT
from demur_export.graph.editor import Editor, node

# Where the classifier's last layer begins, in the graphs of all architectures.
_HEAD = "classifier.terms"
# Nodes whose constants stay in fp32: that layer's, and those of a table of n-grams.
_EXACT = ("classifier.", "encoder.logits", "ngrams.")
_MOST = float(np.finfo(np.float16).max)


def convert(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with all fp32 constants, and so all activations, in fp16, but for the classifier's last layer.

    LayerNormalization and the softmax in attention read and write fp16 and compute in fp32 inside, as onnxruntime's
    kernels do; a logit of fp16 would be rounded to one part in two thousand, so the last layer is in fp32. A value
    beyond 65,504 becomes infinite and the logits NaN, which no gate lets pass. On a CPU onnxruntime computes in fp32
    what it has no fp16 kernel for, rounding to fp16 in between.

    Args:
        model: The fp32 graph.
    """
    editor = Editor(model)
    head = next(n for n in editor.nodes if n.name == _HEAD)
    exact = [n for n in editor.nodes if n.name.startswith(_EXACT) or OUTPUT in n.output]
    kept = {name for n in exact for name in n.input}
    for name in dict.fromkeys(name for n in editor.nodes for name in n.input):
        value = editor.constant(name)
        if value is not None and value.dtype == np.float32 and name not in kept:
            # Masks have constants beyond what fp16 holds; of weights such a one would be no number of a model.
            editor.put(name, np.clip(value, -_MOST, _MOST).astype(np.float16))
    wide = node("Cast", f"{_HEAD}.input", [head.input[0]], to=TensorProto.FLOAT)
    head.input[0] = wide.output[0]
    editor.insert_before(head, [wide])
    return editor.model()
