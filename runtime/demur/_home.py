"""Where bundles lie that were made on this machine: `demur-export NAME` puts them there, `demur.load` looks there."""

import os
import sys
from pathlib import Path

VARIABLE = "DEMUR_HOME"


def folder() -> Path | None:
    """Return `$DEMUR_HOME`, or else the folder `demur` in the platform's folder for data of applications.

    That one is `$XDG_DATA_HOME` or `~/.local/share` (XDG Base Directory Specification 0.8, which has relative paths
    ignored), `~/Library/Application Support` on macOS, and `%LOCALAPPDATA%` on Windows. It need not exist.

    Returns:
        An absolute path, or None where no variable names a folder and the user has no home folder.
    """
    try:
        if chosen := os.environ.get(VARIABLE):
            return Path(chosen).expanduser().absolute()
        return _data(sys.platform) / "demur"
    except RuntimeError:  # a user without a home folder, as some containers have
        return None


def _data(platform: str) -> Path:
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    variable, usual = ("LOCALAPPDATA", "AppData/Local") if platform == "win32" else ("XDG_DATA_HOME", ".local/share")
    stated = Path(os.environ.get(variable, ""))
    return stated if stated.is_absolute() else Path.home() / usual
