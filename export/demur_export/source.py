"""What a user calls a checkpoint, and where it is then: a folder, a name of the catalogue, or a Hub id."""

import re
from dataclasses import dataclass
from pathlib import Path

from demur import _catalogue
from demur._catalogue import Entry
from demur._manifest import MANIFEST
from demur.errors import CheckpointError
from demur_export import checkpoint, hub

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """A checkpoint that was asked for, not yet fetched.

    Attributes:
        folder: Where it lies, for a folder.
        repository: Its Hub id, for all others.
        entry: What the catalogue says of it; None for a folder and for a repository that the catalogue has not.
    """

    folder: Path | None = None
    repository: str = ""
    entry: Entry | None = None


def find(asked: str) -> Source:
    """Return what `asked` means: a folder if there is one, else a name of the catalogue, else a Hub id.

    A Hub id that the catalogue has is the same as its name there.

    Raises:
        CheckpointError: It is none of them.
    """
    catalogue = _catalogue.entries()
    if asked and Path(asked).is_dir():
        if asked in catalogue and (Path(asked) / MANIFEST).is_file():
            raise CheckpointError(
                f"{asked}: the folder of this name is a bundle, no checkpoint; for the catalogue's {asked} "
                f"give its repository: {catalogue[asked].repository}"
            )
        if (Path(asked) / MANIFEST).is_file() and not (Path(asked) / "config.json").exists():
            raise CheckpointError(
                f"{asked}: this is a bundle already, which demur runs as it is (demur check --model {asked}); to make "
                "another, give the checkpoint that it was made from"
            )
        return Source(folder=Path(asked))
    for entry in catalogue.values():
        if asked in (entry.name, entry.repository):
            return Source(repository=entry.repository, entry=entry)
    if _HUB_ID.fullmatch(asked):
        return Source(repository=asked)
    raise CheckpointError(
        f"{asked}: no such folder, no model of the catalogue ({', '.join(catalogue)}), and no Hub id (owner/name); "
        "give one of them, a folder being a checkpoint as transformers' save_pretrained writes it"
    )


def fetch(source: Source, revision: str | None, *, offline: bool = False) -> hub.Snapshot:
    """Download a checkpoint that is no folder, or find it in the Hub client's cache.

    Args:
        source: What `find` returned.
        revision: Commit, tag or branch; by default the catalogue's, or else `main`.
        offline: Take the cache only.

    Raises:
        CheckpointError: It can't be had, or is not one that demur exports.
    """
    pinned = source.entry.revision if source.entry is not None else None
    return hub.fetch(source.repository, revision or pinned, offline=offline, admit=checkpoint.admit)
