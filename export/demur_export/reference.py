"""The PyTorch original: what every graph is measured against."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from demur.errors import CheckpointError
from demur_export import ngrams, transformers_4
from demur_export.checkpoint import Checkpoint


def torch_logits(checkpoint: Checkpoint, texts: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    """Return PyTorch's fp32 logits `[texts, labels]` for token ids `[1, n]` each, run one by one.

    What a table of n-grams beside the weights says is added.

    Raises:
        CheckpointError: transformers can't load the checkpoint.
    """
    try:
        with transformers_4.folder(checkpoint.folder, checkpoint.config) as folder:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                torch_dtype=torch.float32,
                output_loading_info=True,
                **_overrides(checkpoint),
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.folder}: transformers can't load this checkpoint ({error})") from error
    if report["missing_keys"]:
        raise CheckpointError(
            f"{checkpoint.folder}: model.safetensors lacks {', '.join(sorted(report['missing_keys'])[:5])}; "
            "transformers would fill them with random numbers"
        )
    model.eval()
    with torch.inference_mode():
        found = np.concatenate([_logits(model, torch.from_numpy(ids)) for ids in texts])
    table = ngrams.read(checkpoint.folder)
    if table is not None:
        found[:, checkpoint.refusal] += [table.score(ids[0]) for ids in texts]
    return found


def _overrides(checkpoint: Checkpoint) -> dict[str, Any]:
    # subtle: transformers compiles parts of ModernBERT wherever Triton is installed, on a CPU too.
    return {"reference_compile": False} if checkpoint.architecture == "modernbert" else {}


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> NDArray[np.float32]:
    # subtle: without a mask transformers takes a text for padded if it begins or ends with the configuration's padding
    # id, which in e5 is the tokenizer's <s>, and warns.
    found: NDArray[np.float32] = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()
    return found
