"""Archives on the Hugging Face Hub: three files to a repository, and back."""

from pathlib import Path
from types import ModuleType

from torch import nn

from torchmg.conversion.archive import ABOUT, FILES, Apply, check_archive, load_converted
from torchmg.errors import DataError, MissingExtraError


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload a network of torchmg",
) -> str:
    """Upload an archive to a repository of the Hugging Face Hub, which is made if there is none.

    Args:
        folder: what `save_converted` wrote. It is checked first; only its three files are uploaded.
        repo_id: `user/name`.
        private: of a repository that is made.
        token: of access; default: what `hf auth login` stored.
        message: of the commit.

    Returns:
        The repository's id as the Hub has it, which `from_pretrained` takes.

    Raises:
        DataError: the archive is damaged, or the Hub refuses or cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    check_archive(folder)
    hub = _hub("Uploading to the Hugging Face Hub")
    try:
        found = hub.create_repo(repo_id, private=private, token=token, repo_type="model", exist_ok=True)
        name = found.repo_id
        hub.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            token=token,
            repo_type="model",
            commit_message=message,
            allow_patterns=list(FILES),
        )
    except Exception as error:  # of the network, of its client, of the Hub
        raise DataError(f"{folder} cannot be uploaded to {repo_id}: {_reason(error)}") from error
    return name


def from_pretrained(
    source: str | Path,
    model: nn.Module | None = None,
    *,
    apply: Apply | None = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
) -> nn.Module:
    """A network from a folder or from the Hugging Face Hub, in evaluation mode.

    Args:
        source: a folder that `save_converted` wrote, or a repository `user/name`; a folder comes first.
        model: as in `load_converted`.
        apply: as in `load_converted`.
        revision: branch, tag or commit of a repository.
        token: of access to a private one; default: what `hf auth login` stored.
        cache_dir: where downloads are kept; default: the Hub client's own place.

    Raises:
        DataError, UsageError, UnknownNameError: as `load_converted`; no such folder; the Hub refuses or cannot be
            reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    if Path(source).is_dir():
        return load_converted(source, model, apply=apply)
    if isinstance(source, Path) or source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise DataError(f"There is no folder {source}. A repository of the Hugging Face Hub is written user/name.")
    hub = _hub("Loading from the Hugging Face Hub")
    options = {"revision": revision, "token": token, "cache_dir": cache_dir, "repo_type": "model"}
    try:
        folder = hub.snapshot_download(source, allow_patterns=list(FILES), **options)
    except Exception as error:  # of the network, of its client, of the Hub
        raise DataError(f"{source} is no folder here, and cannot be fetched: {_reason(error)}") from error
    if not (Path(folder) / ABOUT).is_file():
        raise DataError(f"{source} has no {ABOUT}, so it is no network of torchmg.")
    return load_converted(folder, model, apply=apply)


def _hub(what: str) -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError(what, "hub") from error
    return huggingface_hub


def _reason(error: Exception) -> str:
    """The kind of error and the first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
