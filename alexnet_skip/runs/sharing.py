"""Equal files of published models lie on the disk once, under all their names (hard links).

Each folder stays complete: moved or copied it has files of its own, and removed it takes nothing from the others. Files
of published models are only ever replaced whole, under another name first, so none is changed by way of another.
"""

from collections.abc import Iterator
from pathlib import Path

from alexnet_skip.runs.folders import runs_in, snapshot_folders
from alexnet_skip.settings.records import is_published, read_model_config
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import file_digest, link_to


def published_models(run: Path) -> list[Path]:
    """Folders of a run's published models, the best first."""
    places = (run / "model", run / "last", *snapshot_folders(run))
    return [place for place in places if is_published(place)]


def share_files(published: Path, run: Path) -> list[str]:
    """Make files of a published model one with equal files of other models of its run, or of the runs beside that.

    Where the disk has no links, or they are damaged or can't be read, the model keeps its own.

    Returns:
        Names of the files that are shared now.
    """
    others, shared = list(_others(published, run)), []
    for name, digest in read_model_config(published).files.items():
        path = published / name
        twins = (folder / name for folder, files in others if files.get(name) == digest)
        twin = next((twin for twin in twins if _is_whole(twin, path, digest)), None)
        # Where this one can't be linked to, mostly no other can: to read them all would take longer than to publish.
        if twin is not None and (path.samefile(twin) or link_to(path, twin)):
            shared.append(name)
    return shared


def _is_whole(twin: Path, path: Path, digest: str) -> bool:
    """Whether a file of another model can be read, and is what that model says that it is."""
    try:
        return path.samefile(twin) or file_digest(twin) == digest
    except OSError:
        return False


def _others(published: Path, run: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Other published models, those of the same run first, with the digests of their files."""
    beside = (other for other in runs_in(run.parent) if other != run)
    for folder in (place for one in (run, *beside) for place in published_models(one)):
        if folder == published:
            continue
        try:
            yield folder, read_model_config(folder).files
        except (UserError, OSError):
            continue  # damaged, or another user's: nothing is shared with it
