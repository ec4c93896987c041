"""Downloads: whole and verified or not there, resumed where they stopped, given up when the server is silent."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from alexnet_skip.system import download as module
from alexnet_skip.system.console import Console
from alexnet_skip.system.download import PIECE_BYTES, download

CONTENT = np.random.default_rng(0).bytes(5 * PIECE_BYTES + 123)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
QUIET = Console(quiet=True)


class Server(ThreadingHTTPServer):
    """Serves one file, as well or badly as its attributes say, and keeps what it was asked for.

    Attributes:
        cut: bytes after which each answer breaks off, None for whole answers.
        ranges: whether it honours Range.
        asked: the Range header of each request.
    """

    daemon_threads = True
    content, cut, ranges, pause = CONTENT, None, True, 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        time.sleep(server.pause)
        self.wfile.write(body[: server.cut])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "some where" / "weights.bin"


def only_the_file(place: Path) -> bool:
    return [path.name for path in place.parent.iterdir()] == [place.name] and place.read_bytes() == CONTENT


def test_a_file_comes_whole_and_its_progress_is_shown(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alexnet_skip.system.console.PLAIN_PROGRESS_SECONDS", 0)
    download(server.url, place, DIGEST, Console())
    assert only_the_file(place)
    assert "Download weights.bin: 99 %" in capsys.readouterr().err


def test_the_beginning_of_a_digest_and_other_algorithms_do(server: Server, place: Path) -> None:
    download(server.url, place, DIGEST[:8], QUIET)
    download(server.url, place, hashlib.md5(CONTENT).hexdigest(), QUIET, algorithm="md5")
    assert only_the_file(place)
    assert server.asked == [None], "a file that is there and right is not fetched again"


def test_a_broken_connection_is_taken_up_again_until_all_is_there(server: Server, place: Path) -> None:
    server.cut = 2 * PIECE_BYTES
    download(server.url, place, DIGEST, QUIET)
    assert only_the_file(place)
    assert server.asked == [None, f"bytes={2 * PIECE_BYTES}-", f"bytes={4 * PIECE_BYTES}-"]


def test_a_later_call_goes_on_where_an_earlier_one_was_stopped(server: Server, place: Path) -> None:
    place.parent.mkdir()
    part = place.with_name("weights.bin.part")
    part.write_bytes(CONTENT[:1000])
    download(server.url, place, DIGEST, QUIET)
    assert only_the_file(place)
    assert server.asked == ["bytes=1000-"]
    place.rename(part)  # as when it was stopped between the last byte and the renaming
    download(server.url, place, DIGEST, QUIET)
    assert only_the_file(place)


def test_a_server_without_ranges_sends_everything_again(server: Server, place: Path) -> None:
    server.ranges = False
    place.parent.mkdir()
    place.with_name("weights.bin.part").write_bytes(CONTENT[:1000])
    download(server.url, place, DIGEST, QUIET)
    assert only_the_file(place)


def test_a_part_of_something_else_is_thrown_away(server: Server, place: Path) -> None:
    place.parent.mkdir()
    for wrong in (b"something else", bytes(len(CONTENT)), bytes(len(CONTENT) + 5)):
        place.unlink(missing_ok=True)
        place.with_name("weights.bin.part").write_bytes(wrong)
        download(server.url, place, DIGEST, QUIET)
        assert only_the_file(place)


def test_a_wrong_file_is_refused_and_what_was_there_stays(server: Server, place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(b"older")
    server.content = b"not what was asked for"
    with pytest.raises(OSError, match=f"sent 22 bytes with sha256 {hashlib.sha256(server.content).hexdigest()}, expec"):
        download(server.url, place, DIGEST, QUIET)
    assert [path.read_bytes() for path in place.parent.iterdir()] == [b"older"]


def test_a_server_that_brings_nothing_more_is_given_up_and_what_came_is_kept(server: Server, place: Path) -> None:
    server.ranges, server.cut = False, 1000
    with pytest.raises(OSError, match=r"the connection was closed .* bytes before the end"):
        download(server.url, place, DIGEST, QUIET)
    assert not place.exists()
    assert place.with_name("weights.bin.part").read_bytes() == CONTENT[:1000]


def test_a_silent_server_is_given_up(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    server.pause = 1.0
    with pytest.raises(OSError, match="timed out"):
        download(server.url, place, DIGEST, QUIET)


def test_of_several_that_want_the_same_file_one_fetches_it(server: Server, place: Path) -> None:
    server.pause = 0.3
    threads = [threading.Thread(target=download, args=(server.url, place, DIGEST, QUIET)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only_the_file(place)
    assert len(server.asked) == 1
