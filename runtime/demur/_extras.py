"""The packages of the extras, which the base install does without."""

from importlib import import_module
from typing import Any

from demur.errors import DataExtraError


def need(module: str, extra: str, purpose: str) -> Any:
    """Import a module that one of demur's extras brings.

    Args:
        module: Its name, such as `pyarrow.parquet`.
        extra: The extra, such as `data`.
        purpose: What needs it, as the beginning of the message.

    Raises:
        DataExtraError: Its package is not installed; the message gives the line that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise DataExtraError(f"{purpose} needs {package}: pip install 'demur[{extra}]' ({error})") from error
