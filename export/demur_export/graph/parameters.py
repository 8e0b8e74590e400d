"""Reads a model's weights out of safetensors files, by the names that they have in PyTorch."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from demur.errors import CheckpointError
from demur_export.graph.weights import Array


class Parameters:
    """The tensors of a checkpoint, each read from the file when it is asked for.

    What was read is counted: `unread` names the rest.

    Args:
        paths: `model.safetensors`, or its shards.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._folder = paths[0].parent
        # subtle: through torch, since numpy has no bfloat16, in which many checkpoints are published.
        files = [safe_open(path, framework="pt") for path in paths]
        self._files = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        self._left = set(self._files)

    def parameter(self, name: str) -> Array:
        """Return the parameter `name`, such as `model.final_norm.weight`, in fp32.

        Raises:
            CheckpointError: The file has none of that name.
        """
        found = self.optional(name)
        if found is None:
            raise CheckpointError(
                f"{self._folder}: the weights have no tensor {name!r}; the architecture is not the expected one"
            )
        return found

    def optional(self, name: str) -> Array | None:
        """Return the parameter `name`, None if the checkpoint was made without it, as with many biases."""
        if name not in self._files:
            return None
        self._left.discard(name)
        array: Array = self._files[name].get_tensor(name).to(torch.float32).numpy()
        return array

    def unread(self) -> list[str]:
        """Return the names of the tensors that nothing has read."""
        return sorted(self._left)
