"""Fetch a large file: in its place whole and verified or not at all, and going on where an earlier try stopped."""

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from alexnet_skip.system.console import Console
from alexnet_skip.system.files import file_digest
from alexnet_skip.system.locks import folder_lock

# Of silence, in connecting and between two pieces; a slow server may take as long as it needs.
TIMEOUT_SECONDS = 15.0
PIECE_BYTES = 1 << 18


def download(url: str, path: Path, digest: str, console: Console, *, algorithm: str = "sha256") -> None:
    """Fetch a file.

    What has come so far stays beside it as ``NAME.part``: a broken connection is taken up again as long as each try
    brings something, and a later call, of this process or another, goes on from there. Of several that want the same
    file at once one fetches it and the others wait.

    Args:
        path: where the file goes; its folder is made if it is missing.
        digest: the file's digest in hexadecimal, or how it begins.
        algorithm: of the digest; any name that hashlib knows.

    Raises:
        OSError: if the server can't be reached, is silent, or sends another file; or if the folder can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with folder_lock(path.parent, console.line):
        if path.is_file() and file_digest(path, algorithm).startswith(digest):
            return  # fetched by whoever held the lock
        began_at = _size(part)
        _fetch_all(url, part, console)
        found = file_digest(part, algorithm)
        if began_at and not found.startswith(digest):
            console.line(f"{part} was not the beginning of {url}: fetching all of it")
            part.unlink()
            _fetch_all(url, part, console)
            found = file_digest(part, algorithm)
        if not found.startswith(digest):
            size = _size(part)
            part.unlink()
            raise OSError(f"{url} sent {size:,} bytes with {algorithm} {found}, expected {digest}; they were not kept")
        part.replace(path)


def _fetch_all(url: str, part: Path, console: Console) -> None:
    """Fetch what the part lacks, in as many tries as it takes while each brings something."""
    while True:
        before = _size(part)
        try:
            return _fetch(url, part, console)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            if _size(part) <= before:
                raise OSError(reason) from error
            console.line(f"{url}: {reason}; going on from {_size(part):,} bytes")


def _fetch(url: str, part: Path, console: Console) -> None:
    have = _size(part)
    headers = {"User-Agent": "alexnet-skip"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return  # nothing is left to send; whether it is the file, its digest tells
        raise
    with response, part.open("ab") as file:
        if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            file.truncate(0)  # a server that sends whole files only
        with console.progress(f"Download {part.stem}", response.length or 0) as progress:
            while piece := response.read(PIECE_BYTES):
                file.write(piece)
                progress.advance(len(piece))
        if response.length:
            raise OSError(f"the connection was closed {response.length:,} bytes before the end")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
