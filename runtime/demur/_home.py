"""Where bundles lie that were made on this machine, and what loading keeps for the next time.

`demur-export NAME` puts bundles there, `demur.load` looks there.
"""

import os
import sys
from pathlib import Path

VARIABLE, CACHE = "DEMUR_HOME", "DEMUR_CACHE"
# What $DEMUR_CACHE says where nothing is to be kept.
OFF = "off"


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


def cache() -> Path | None:
    """Return `$DEMUR_CACHE`, or else the folder `demur` in the platform's folder for caches.

    That one is `$XDG_CACHE_HOME` or `~/.cache` (the same specification), `~/Library/Caches` on macOS, and
    `%LOCALAPPDATA%` on Windows, whose applications keep their data there too. It need not exist.

    Returns:
        An absolute path, or None where the variable says `off` or the user has no home folder.
    """
    try:
        if chosen := os.environ.get(CACHE):
            return None if chosen == OFF else Path(chosen).expanduser().absolute()
        return _caches(sys.platform)
    except RuntimeError:  # a user without a home folder, as some containers have
        return None


def _caches(platform: str) -> Path:
    if platform == "win32":
        return _data(platform) / "demur" / "cache"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "demur"
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path.home() / ".cache") / "demur"


def _data(platform: str) -> Path:
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    variable, usual = ("LOCALAPPDATA", "AppData/Local") if platform == "win32" else ("XDG_DATA_HOME", ".local/share")
    stated = Path(os.environ.get(variable, ""))
    return stated if stated.is_absolute() else Path.home() / usual
