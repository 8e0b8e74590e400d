"""What an actor of Ray needs to know: the cores that it was given, and where its model is."""

import tempfile
from pathlib import Path
from typing import Any

import ray

from demur import _bundle, _machine
from demur._classifier import Classifier


class Shipped:
    """A bundle in Ray's object store, for nodes that don't have it.

    Args:
        files: A reference to the contents of its files by their names.
    """

    def __init__(self, files: Any) -> None:
        self._files = files

    def unpack(self) -> tuple[Path, "tempfile.TemporaryDirectory[str]"]:
        """Return the bundle in a folder of its own, and what keeps that folder until it is let go."""
        home = tempfile.TemporaryDirectory(prefix="demur-")
        for name, data in ray.get(self._files).items():
            path = Path(home.name) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return Path(home.name), home


Model = Classifier | Shipped | str | Path | None


def ship(model: str | Path | None = None) -> Shipped:
    """Put a bundle into Ray's object store, once for all actors.

    Args:
        model: Its name or folder; by default the one that comes with demur.

    Raises:
        BundleError: There is none.
    """
    folder = _bundle.find(model)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Shipped(ray.put({path.relative_to(folder).as_posix(): path.read_bytes() for path in files}))


def found(model: Model) -> tuple[Classifier | str | Path | None, object]:
    """Return what a classifier is opened of here, and what must be kept as long as it is used."""
    return model.unpack() if isinstance(model, Shipped) else (model, None)


def workers() -> int:
    """Return how many texts to judge at a time: the CPUs of the actor, or in no actor the cores granted."""
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return _machine.cores()
    given = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    return max(1, int(given))
