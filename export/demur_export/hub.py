"""A checkpoint from the Hugging Face Hub: only the files that an export reads, and of weights only safetensors.

The only module that imports `huggingface_hub`. Endpoint, token, cache and offline mode are that library's own
(`HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`).
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import huggingface_hub
from huggingface_hub import constants, errors

import demur
from demur.errors import CheckpointError
from demur_export import checkpoint

# What a repository may go without: `tokenizer.json` says by itself how texts are tokenised.
_OPTIONAL = ("tokenizer_config.json", "special_tokens_map.json")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# Of a file in Git LFS, as weights are, the Hub's ETag is its sha256, which is also the blob's name in the cache.
_SHA256 = re.compile("[0-9a-f]{64}")


class Snapshot(NamedTuple):
    """A checkpoint in the cache: its folder, and the commit that it is of."""

    folder: Path
    commit: str


def fetch(
    repository: str, revision: str | None = None, *, offline: bool = False, admit: Callable[[Path], None] | None = None
) -> Snapshot:
    """Download a checkpoint, or find it in the cache.

    Args:
        repository: `owner/name`.
        revision: Commit, tag or branch; by default `main`.
        offline: Take the cache only, as with `HF_HUB_OFFLINE=1`.
        admit: Called with the folder as soon as it has its `config.json`; what it raises ends the download before
            anything large is fetched.

    Raises:
        CheckpointError: The repository, its revision or one of the files can't be had, or it has no safetensors.
    """
    remote = _Remote(repository, revision, offline)
    # subtle: the client keeps a snapshot in a folder named by its commit. All other files are asked for at that
    # commit, so that a branch that moves meanwhile can't mix two versions.
    folder = remote.get("config.json").parent
    remote = _Remote(repository, folder.name, offline)
    if admit is not None:
        admit(folder)
    remote.get("tokenizer.json")
    for name in _OPTIONAL:
        remote.find(name)
    if remote.find(checkpoint.WEIGHTS) is None:
        if remote.find(checkpoint.INDEX) is None:
            remote.refuse()
        for name in checkpoint.shards(folder):
            remote.get(name)
    return Snapshot(folder, folder.name)


class _Remote:
    """One repository at one revision."""

    def __init__(self, repository: str, revision: str | None, offline: bool) -> None:
        self.repository, self.revision = repository, revision or constants.DEFAULT_REVISION
        self._cache_only = offline
        self.offline = offline or constants.HF_HUB_OFFLINE

    @property
    def _where(self) -> str:
        return f"{self.repository} at revision {self.revision}"

    def find(self, name: str) -> Path | None:
        """Fetch a file that may be missing."""
        # The client remembers what a commit has not; that spares a request, and a wait where there is no network.
        known = huggingface_hub.try_to_load_from_cache(self.repository, name, revision=self.revision)
        if known is not None and not isinstance(known, str):
            return None
        try:
            return self._download(name)
        except errors.LocalEntryNotFoundError as error:
            # subtle: where only the cache is looked at, a file that is missing there counts as missing in the
            # repository: weights come last, so a cache that has them has what there was of the others.
            if self.offline:
                return None
            raise self._unreachable(name, error) from error
        except errors.EntryNotFoundError:
            return None

    def get(self, name: str) -> Path:
        """Fetch a file that has to be there."""
        try:
            return self._download(name)
        except errors.LocalEntryNotFoundError as error:
            raise self._unreachable(name, error) from error
        except errors.EntryNotFoundError as error:
            raise CheckpointError(
                f"{self._where}: there is no {name}; a checkpoint has config.json, tokenizer.json and "
                f"{checkpoint.WEIGHTS}, as transformers' save_pretrained writes them with a fast tokenizer"
            ) from error

    def refuse(self) -> NoReturn:
        """Say why a repository without safetensors is no checkpoint.

        Raises:
            CheckpointError: Always.
        """
        if self.offline:
            raise self._unreachable(checkpoint.WEIGHTS)
        try:
            listed = huggingface_hub.model_info(self.repository, revision=self.revision)
        except (OSError, ValueError) as error:
            self._explain("its list of files", error)
        pickles = sorted(file.rfilename for file in listed.siblings or () if file.rfilename.endswith(_PICKLES))
        held = f"only {', '.join(pickles)}, which can run code when it is read" if pickles else "no weights"
        raise CheckpointError(
            f"{self._where}: there is no {checkpoint.WEIGHTS}; the repository holds {held}. No weight was "
            "downloaded; convert them where you trust them (save_pretrained with safe_serialization=True), and "
            "export that folder"
        )

    def _download(self, name: str) -> Path:
        try:
            path = huggingface_hub.hf_hub_download(
                self.repository,
                name,
                revision=self.revision,
                local_files_only=self._cache_only,
                library_name="demur",
                library_version=demur.__version__,
            )
        except errors.EntryNotFoundError:
            raise
        except (OSError, ValueError) as error:
            self._explain(name, error)
        found = Path(path)
        _verify(found)
        return found

    def _unreachable(self, name: str, error: Exception | None = None) -> CheckpointError:
        if self.offline:
            return CheckpointError(
                f"{self._where}: {name} is not in the cache ({constants.HF_HUB_CACHE}), and this run is offline; "
                "run once without --offline and HF_HUB_OFFLINE, or give the folder of a checkpoint"
            )
        cause = error.__cause__ if error is not None and error.__cause__ is not None else error
        return CheckpointError(
            f"{self._where}: {constants.ENDPOINT} can't be reached for {name}, and it is not in the cache "
            f"({_line(cause)}); check the connection, HF_ENDPOINT and proxies, and run again"
        )

    def _explain(self, name: str, error: Exception) -> NoReturn:
        """Turn an error of the client into one of ours.

        Raises:
            CheckpointError: Always.
        """
        page = f"{constants.ENDPOINT}/{self.repository}"
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, errors.HFValidationError):
            reason = f"not a repository's id ({_line(error)}); expected owner/name"
        elif isinstance(error, errors.GatedRepoError):
            reason = f"its files are given out on request only; ask for access at {page} and set HF_TOKEN"
        elif isinstance(error, errors.RepositoryNotFoundError):
            reason = f"no such repository at {constants.ENDPOINT}, or a private one; check the name, or set HF_TOKEN"
        elif isinstance(error, errors.RevisionNotFoundError):
            reason = f"the repository has no such revision; see {page}/commits, or leave out --revision"
        elif status in (401, 403):
            reason = f"{constants.ENDPOINT} refused access (HTTP {status}); set HF_TOKEN to a token that may read it"
        elif status == 416 or "Consistency check failed" in str(error):
            reason = (
                f"what came of {name} has another size than was announced ({_line(error)}); delete "
                f"{self._blobs / '*.incomplete'} and run again"
            )
        else:
            reason = f"{name} could not be downloaded ({_line(error)}); run again, and it goes on where it stopped"
        raise CheckpointError(f"{self._where}: {reason}") from error

    @property
    def _blobs(self) -> Path:
        return Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}" / "blobs"


def _verify(path: Path) -> None:
    """Compare a file's contents with its ETag where that is a sha256; the client itself compares sizes only."""
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    with blob.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != blob.name:
        raise CheckpointError(
            f"{path}: its sha256 is {found}, but the Hub's ETag says {blob.name}; delete {blob} and run again"
        )


def _line(error: object) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
