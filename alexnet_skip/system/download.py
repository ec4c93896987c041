"""Fetch a large file: in its place whole and verified or not at all, from the server that gives it, and going on where
an earlier try stopped."""

import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_skip.system.console import REFUSED, Console
from alexnet_skip.system.files import file_digest
from alexnet_skip.system.locks import folder_lock

# Of silence, in connecting and between two pieces; a server without an alternative may be as slow as it likes.
TIMEOUT_SECONDS = 15.0
PIECE_BYTES = 1 << 18


@dataclass(frozen=True)
class Pace:
    """What a server must give as long as there is another one: so much, on average over so long; nor be silent longer.

    The defaults leave a server that would take over nine minutes for CIFAR-10's 170 MB.
    """

    bytes_per_second: float = 300_000.0
    seconds: float = 10.0


class TooSlowError(OSError):
    """A server gives less than there might be elsewhere; ``rate`` is what it gave, in bytes a second."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"gives {rate / 1000:,.0f} kB/s")
        self.rate = rate


def download(
    urls: Sequence[str],
    path: Path,
    digest: str,
    console: Console,
    *,
    algorithm: str = "sha256",
    num_bytes: int | None = None,
    pace: Pace = Pace(),
) -> None:
    """Fetch a file that one or several servers have.

    What has come so far stays beside it as ``NAME.part``: a broken connection is taken up again as long as each try
    brings something, and another server, or a later call of this process or another, goes on from there. Of several
    that want the same file at once one fetches it and the others wait.

    Args:
        urls: tried in this order; one that is too slow is left for the next, and the fastest is kept if all are.
        path: where the file goes; its folder is made if it is missing.
        digest: the file's digest in hexadecimal, or how it begins.
        algorithm: of the digest; any name that hashlib knows.
        num_bytes: the file's size if it is known: a server that has another file is left at once.

    Raises:
        OSError: if no server can be reached, all are silent, or send another file; or if the folder can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with folder_lock(path.parent, console.line):
        if path.is_file() and file_digest(path, algorithm).startswith(digest):
            return  # fetched by whoever held the lock
        transfer = _Transfer(urls, part, console, num_bytes, pace)
        transfer.fetch()
        while not (found := file_digest(part, algorithm)).startswith(digest):
            transfer.reject(f"{algorithm} {found}, expected {digest}")
            transfer.fetch()
        part.replace(path)


class _Transfer:
    """One file on its way: what of it has come and from whom, and what each server is worth."""

    def __init__(self, urls: Sequence[str], part: Path, console: Console, num_bytes: int | None, pace: Pace) -> None:
        self.urls, self.part, self.console, self.num_bytes, self.pace = urls, part, console, num_bytes, pace
        self.rates: dict[str, float] = {}  # of those that were too slow
        self.failures: dict[str, str] = {}
        self.sources = {"an earlier try"} if _size(part) else set()

    def fetch(self) -> None:
        """Fetch what the part lacks, from whoever gives it.

        Raises:
            OSError: if nobody does; with every server's reason.
        """
        while True:
            url, pace = self._choose()
            try:
                return self._fetch_from(url, pace)
            except TooSlowError as slow:
                self.rates[url] = slow.rate
                self.console.line(f"{url} {slow}; looking for a faster server")
            except (OSError, http.client.HTTPException) as error:
                if _is_the_disks(error):
                    raise
                self._give_up(url, _reason(error))

    def reject(self, told: str) -> None:
        """Throw the part away, which is whole and not the file, and whoever sent all of it."""
        size, sources = _size(self.part), self.sources
        self._begin_again()
        if len(sources) == 1 and (sender := next(iter(sources))) in self.urls:
            self._give_up(sender, f"sent {size:,} bytes with {told}; they were not kept")
        else:
            self.console.line(f"{self.part} from {' and '.join(sorted(sources))} is not the file: fetching all of it")

    def _choose(self) -> tuple[str, Pace | None]:
        """The server to ask, and what it must give: the first one not tried yet, else the fastest."""
        left = [url for url in self.urls if url not in self.failures]
        if not left:
            raise OSError("; ".join(f"{url}: {reason}" for url, reason in self.failures.items()))
        fresh = [url for url in left if url not in self.rates]
        if fresh:
            return fresh[0], self.pace if len(left) > 1 else None
        best = max(left, key=lambda url: self.rates[url])
        if len(left) > 1:
            self.console.line(f"{best} was the fastest: going on with it")
        return best, None

    def _give_up(self, url: str, reason: str) -> None:
        self.failures[url] = reason
        if len(self.failures) < len(self.urls):
            self.console.line(f"{url}: {reason}; asking another server")

    def _begin_again(self) -> None:
        self.part.unlink(missing_ok=True)
        self.sources = set()

    def _fetch_from(self, url: str, pace: Pace | None) -> None:
        """Fetch what the part lacks from one server, in as many tries as it takes while each brings something."""
        watch = _Watch(pace) if pace else None
        while True:
            before = _size(self.part)
            try:
                return self._fetch_once(url, watch)
            except TooSlowError:
                raise
            except (OSError, http.client.HTTPException) as error:
                if _size(self.part) <= before or _is_the_disks(error):
                    raise
                self.console.line(f"{url}: {_reason(error)}; going on from {_size(self.part):,} bytes")

    def _fetch_once(self, url: str, watch: "_Watch | None") -> None:
        have, known = _size(self.part), self.num_bytes
        if known and have >= known:
            return  # whether it is the file, its digest tells
        timeout = min(TIMEOUT_SECONDS, watch.pace.seconds) if watch else TIMEOUT_SECONDS
        try:
            response, start = _ask(url, have, timeout)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have and not known:
                return  # nothing is left to send
            raise
        with response:
            length = response.length
            if known and length is None and have:
                raise OSError("does not say how much it sends, and could be no file at all")
            if known and length is not None and start + length != known:
                raise OSError(f"has {start + length:,} bytes, and the file has {known:,}")
            if not start:
                self._begin_again()  # one that sends whole files only
            self._receive(response, url, length, watch)
        if known and _size(self.part) != known:
            size = _size(self.part)
            self._begin_again()
            raise OSError(f"sent {size:,} bytes, and the file has {known:,}")

    def _receive(
        self, response: http.client.HTTPResponse, url: str, length: int | None, watch: "_Watch | None"
    ) -> None:
        """Add what a server sends to the part.

        Raises:
            OSError: if it sends less than it promised.
            TooSlowError: if it does not keep the pace.
        """
        received, most = 0, length if length is not None else self.num_bytes or sys.maxsize
        with (
            self.part.open("ab") as file,
            self.console.progress(f"Download {self.part.stem}", length or self.num_bytes or 0) as progress,
        ):
            # read1: what there is; read would wait for a whole piece, however slowly it comes.
            while piece := response.read1(min(PIECE_BYTES, most - received)):
                self.sources.add(url)
                file.write(piece)
                received += len(piece)
                progress.advance(len(piece))
                if watch:
                    watch.count(len(piece))
        if length is not None and received < length:
            raise OSError(f"the connection was closed {length - received:,} bytes before the end")


class _Watch:
    """Watches what a server gives, over spans of the pace's seconds."""

    def __init__(self, pace: Pace) -> None:
        self.pace, self.began, self.received = pace, time.monotonic(), 0

    def count(self, num_bytes: int) -> None:
        """Take notice of bytes received; raises :class:`TooSlowError` at the end of a span with too few."""
        self.received += num_bytes
        seconds = time.monotonic() - self.began
        if seconds >= self.pace.seconds:
            if (rate := self.received / seconds) < self.pace.bytes_per_second:
                raise TooSlowError(rate)
            self.began, self.received = time.monotonic(), 0


def _ask(url: str, have: int, timeout: float) -> tuple[http.client.HTTPResponse, int]:
    """Ask for a file from a byte on, or for all of it where the server sends another part; with where it begins."""
    for wanted in dict.fromkeys((have, 0)):
        headers = {"User-Agent": "alexnet-skip"} | ({"Range": f"bytes={wanted}-"} if wanted else {})
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            return response, 0
        if response.headers.get("Content-Range", "").startswith(f"bytes {wanted}-"):
            return response, wanted
        response.close()
    raise OSError("sends a part of the file that was not asked for")


def _is_the_disks(error: Exception) -> bool:
    """Whether no server is to blame for an error."""
    return isinstance(error, OSError) and error.errno in REFUSED


def _reason(error: Exception) -> str:
    # HTTPError is a URLError whose own words say more than its reason.
    wrapped = isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)
    reason = getattr(error, "reason", error) if wrapped else error
    return str(reason) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
