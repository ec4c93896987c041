"""Archives: looked into, and unpacked without leaving half of anything behind."""

import fnmatch
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError


class ArchiveError(UserError):
    """An archive that is here can't be unpacked."""


def holds(archive: Path, pattern: str) -> bool:
    """Whether a tar archive has a member whose name fits a shell pattern; what is no such archive has none."""
    try:
        with tarfile.open(archive) as tar:
            return any(fnmatch.fnmatch(member.name, pattern) for member in tar)
    except (tarfile.TarError, EOFError, OSError):
        return False


def unpack_folder(archive: Path, name: str, target: Path, console: Console) -> None:
    """Unpack a tar archive whose files all lie in the folder ``name``: that appears in ``target`` whole or not at all.

    Raises:
        ArchiveError: as :func:`unpack`.
    """
    with tempfile.TemporaryDirectory(dir=target, prefix=".unpacking-") as temporary:
        unpack(archive, Path(temporary), console)
        try:
            Path(temporary, name).rename(target / name)
        except OSError as error:
            raise _cannot(archive, target, error) from None


def unpack(archive: Path, target: Path, console: Console) -> None:
    """Unpack the files of a tar archive, each put in its place whole, so that several processes may do it at once.

    Raises:
        ArchiveError: before anything is written, if a member would leave the target folder or is a link or device;
            later, if the archive is damaged or there is no room.
    """
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if not member.isdir()]
            for member in members:
                path = PurePosixPath(member.name.replace("\\", "/"))
                inside = not path.is_absolute() and ".." not in path.parts and ":" not in member.name
                if not (inside and member.isfile()):
                    raise ArchiveError(
                        f"the archive {archive} holds {member.name}, which must not be unpacked; don't use it"
                    )
            target.mkdir(parents=True, exist_ok=True)
            with (
                tempfile.TemporaryDirectory(dir=target, prefix=".unpacking-") as temporary,
                console.progress(f"Unpack {archive.name}", len(members)) as progress,
            ):
                for member in members:
                    content = tar.extractfile(member)
                    assert content is not None  # it is a regular file
                    whole = Path(temporary, "file")
                    with content, whole.open("wb") as file:
                        shutil.copyfileobj(content, file)
                    place = target / member.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    whole.replace(place)
                    progress.advance(1)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _cannot(archive, target, error) from None


def _cannot(archive: Path, target: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        f"the archive {archive} can't be unpacked into {target} ({error}); make room there, or get it again if it is "
        "damaged"
    )
