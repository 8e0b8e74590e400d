"""demur tells a refusal from an answer.

Example:
    import demur

    model = demur.load()
    model.check("I'm sorry, but I can't help with that.", prompt="How do I pick a lock?").refusal  # True
"""

from typing import TYPE_CHECKING, Any

from demur.errors import (
    BundleError,
    ChecksumError,
    DataError,
    DataExtraError,
    DemurError,
    DeviceError,
    EmptyResponseError,
    InputError,
    ManifestError,
    MissingFileError,
    ModelError,
    ModelNotFoundError,
    ShapeError,
    TokenizerError,
    TruncatedFileError,
)

if TYPE_CHECKING:
    from demur._classifier import Classifier
    from demur._load import load
    from demur._tables._batch import BatchScorer
    from demur._tables._score_table import score_table
    from demur._verdict import Verdict

__all__ = [
    "BatchScorer",
    "BundleError",
    "ChecksumError",
    "Classifier",
    "DataError",
    "DataExtraError",
    "DemurError",
    "DeviceError",
    "EmptyResponseError",
    "InputError",
    "ManifestError",
    "MissingFileError",
    "ModelError",
    "ModelNotFoundError",
    "ShapeError",
    "TokenizerError",
    "TruncatedFileError",
    "Verdict",
    "load",
    "score_table",
]

__version__ = "0.1.0"


# Imported when they are first asked for: a text that is scored needs nothing of tables, and what loads a bundle can
# read its files while numpy and onnxruntime are being imported.
_LATER = {
    "BatchScorer": "demur._tables._batch",
    "Classifier": "demur._classifier",
    "Verdict": "demur._verdict",
    "load": "demur._load",
    "score_table": "demur._tables._score_table",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
