"""The packages of the `[data]` extra, which the base install does without."""

from importlib import import_module
from typing import Any

from demur.errors import DataExtraError


def need(module: str, purpose: str) -> Any:
    """Import a module of the `[data]` extra.

    Args:
        module: Its name, such as `pyarrow.parquet`.
        purpose: What it is needed for, as the beginning of the message.

    Raises:
        DataExtraError: Its package is not installed; the message gives the line that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise DataExtraError(f"{purpose} needs {package}: pip install 'demur[data]'") from error
