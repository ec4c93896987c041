"""Downloads: whole and verified or not there, resumed where they stopped, and from the server that gives them."""

import errno
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
from alexnet_skip.system.download import PIECE_BYTES, Pace, download
from alexnet_skip.system.locks import GUARD_NAME

CONTENT = np.random.default_rng(0).bytes(5 * PIECE_BYTES + 123)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
QUIET = Console(quiet=True)
TICK = 0.01
# A server is left after a tenth of a second in which it gave less than 300 kB a second.
BRISK = Pace(3e5, 0.1)
# A file that is small enough to come slowly, and its digest.
SMALL = CONTENT[:60_000]
SMALL_DIGEST = hashlib.sha256(SMALL).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file, as well or badly as its attributes say, and keeps what it was asked for.

    Attributes:
        cut: bytes after which each answer breaks off, None for whole answers.
        ranges: whether it honours Range.
        shift: bytes by which it misses the range that it was asked for.
        told: whether it says how long its answer is.
        rate: bytes a second, None for as fast as it can.
        elsewhere: where it says that the file is.
        asked: the Range header of each request.
    """

    daemon_threads = True
    content, cut, ranges, shift, told, pause = CONTENT, None, True, 0, True, 0.0
    rate: float | None = None
    elsewhere: str | None = None

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
        time.sleep(server.pause)
        if server.elsewhere:
            self.send_response(302)
            self.send_header("Location", server.elsewhere)
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        start += server.shift if start else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if server.told:
            self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.give(body[: server.cut])

    def give(self, body: bytes) -> None:
        step = max(1, int(self.server.rate * TICK)) if self.server.rate else len(body)
        try:
            for position in range(0, len(body), step):
                self.wfile.write(body[position : position + step])
                time.sleep(TICK if self.server.rate else 0)
        except ConnectionError:
            pass  # whoever asked has gone to another server

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """Three servers of the same file."""
    started = [Server() for _ in range(3)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.005,)) for server in started]
    for thread in threads:
        thread.start()
    yield started
    for server, thread in zip(started, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(servers: list[Server]) -> Server:
    return servers[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "some where" / "weights.bin"


def files_beside(place: Path) -> list[Path]:
    """What lies in its folder, without the empty file that the system's lock is on."""
    return [path for path in place.parent.iterdir() if path.name != GUARD_NAME]


def only_the_file(place: Path) -> bool:
    return files_beside(place) == [place] and place.read_bytes() == CONTENT


def test_a_file_comes_whole_and_its_progress_is_shown(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alexnet_skip.system.progress.PLAIN_PROGRESS_SECONDS", 0)
    download([server.url], place, DIGEST, Console())
    assert only_the_file(place)
    assert "Download weights.bin: 100 %" in capsys.readouterr().err


@pytest.mark.parametrize(("known", "told"), [(len(CONTENT), ": 100 %, about 0 s left"), (None, ": 0 s so far")])
def test_of_an_answer_without_an_end_the_share_is_told_where_the_files_size_is_known(
    server, place, monkeypatch, capsys, known, told
) -> None:
    monkeypatch.setattr("alexnet_skip.system.progress.PLAIN_PROGRESS_SECONDS", 0)
    server.told = False
    download([server.url], place, DIGEST, Console(), num_bytes=known)
    assert only_the_file(place)
    assert f"Download weights.bin{told}" in capsys.readouterr().err


def test_the_beginning_of_a_digest_and_other_algorithms_do(server: Server, place: Path) -> None:
    download([server.url], place, DIGEST[:8], QUIET)
    download([server.url], place, hashlib.md5(CONTENT).hexdigest(), QUIET, algorithm="md5")
    assert only_the_file(place)
    assert server.asked == [None], "a file that is there and right is not fetched again"


def test_a_broken_connection_is_taken_up_again_until_all_is_there(server: Server, place: Path) -> None:
    server.cut = 2 * PIECE_BYTES
    download([server.url], place, DIGEST, QUIET)
    assert only_the_file(place)
    assert server.asked == [None, f"bytes={2 * PIECE_BYTES}-", f"bytes={4 * PIECE_BYTES}-"]


def test_a_later_call_goes_on_where_an_earlier_one_was_stopped(server: Server, place: Path) -> None:
    place.parent.mkdir()
    part = place.with_name("weights.bin.part")
    part.write_bytes(CONTENT[:1000])
    download([server.url], place, DIGEST, QUIET)
    assert only_the_file(place)
    assert server.asked == ["bytes=1000-"]
    place.rename(part)  # as when it was stopped between the last byte and the renaming
    download([server.url], place, DIGEST, QUIET)
    assert only_the_file(place)


def test_a_server_without_ranges_sends_everything_again(server: Server, place: Path) -> None:
    server.ranges = False
    place.parent.mkdir()
    place.with_name("weights.bin.part").write_bytes(CONTENT[:1000])
    download([server.url], place, DIGEST, QUIET)
    assert only_the_file(place)


def test_a_part_of_something_else_is_thrown_away(server: Server, place: Path) -> None:
    place.parent.mkdir()
    for wrong in (b"something else", bytes(len(CONTENT)), bytes(len(CONTENT) + 5)):
        place.unlink(missing_ok=True)
        place.with_name("weights.bin.part").write_bytes(wrong)
        download([server.url], place, DIGEST, QUIET)
        assert only_the_file(place)


def test_a_wrong_file_is_refused_and_what_was_there_stays(server: Server, place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(b"older")
    server.content = b"not what was asked for"
    with pytest.raises(OSError, match=f"sent 22 bytes with sha256 {hashlib.sha256(server.content).hexdigest()}, expec"):
        download([server.url], place, DIGEST, QUIET)
    assert [path.read_bytes() for path in files_beside(place)] == [b"older"]


def test_a_server_that_brings_nothing_more_is_given_up_and_what_came_is_kept(server: Server, place: Path) -> None:
    server.ranges, server.cut = False, 1000
    with pytest.raises(OSError, match=r"the connection was closed .* bytes before the end"):
        download([server.url], place, DIGEST, QUIET)
    assert not place.exists()
    assert place.with_name("weights.bin.part").read_bytes() == CONTENT[:1000]


def test_a_silent_server_is_given_up(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    server.pause = 1.0
    with pytest.raises(OSError, match="timed out"):
        download([server.url], place, DIGEST, QUIET)


def test_of_several_that_want_the_same_file_one_fetches_it(server: Server, place: Path) -> None:
    server.pause = 0.3
    threads = [threading.Thread(target=download, args=([server.url], place, DIGEST, QUIET)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only_the_file(place)
    assert len(server.asked) == 1


def fetch_small(servers: list[Server], place: Path, **options: int) -> None:
    """Fetch the small file from whichever of the servers gives it."""
    urls = [server.url for server in servers]
    download(urls, place, SMALL_DIGEST, Console(), pace=BRISK, **options)
    assert place.read_bytes() == SMALL
    assert files_beside(place) == [place]


@pytest.fixture
def small(servers: list[Server]) -> list[Server]:
    """The three servers, with the small file."""
    for server in servers:
        server.content = SMALL
    return servers


def start_of(asked: str | None) -> int:
    return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0


def test_a_slow_server_is_left_and_the_next_goes_on_from_its_bytes(small, place, capsys) -> None:
    small[0].rate = 100_000
    fetch_small(small, place, num_bytes=len(SMALL))
    assert 0 < start_of(small[1].asked[0]) < len(SMALL)
    assert not small[2].asked
    assert f"{small[0].url} gives " in capsys.readouterr().err


def test_of_servers_that_are_all_slow_the_fastest_is_kept(small, place, capsys) -> None:
    for server, rate in zip(small, (50_000, 200_000, 100_000), strict=True):
        server.rate = rate
    fetch_small(small, place, num_bytes=len(SMALL))
    assert [len(server.asked) for server in small] == [1, 2, 1]
    starts = [start_of(asked) for server in (*small, small[1]) for asked in server.asked[-1:]]
    assert starts[3] > starts[2] > 0, "each goes on from what the others have sent"
    assert f"{small[1].url} was the fastest" in capsys.readouterr().err


def test_a_server_without_an_alternative_may_be_slow(small, place) -> None:
    small[0].rate = 200_000
    fetch_small(small[:1], place)
    assert small[0].asked == [None]


def test_a_dead_a_silent_and_a_missing_server_cost_little_and_are_named(small, place, capsys) -> None:
    dead, silent, good = small
    dead.server_close()
    silent.pause = 30.0
    began = time.monotonic()
    fetch_small([dead, silent, good], place)
    assert time.monotonic() - began < 10
    told = capsys.readouterr().err
    assert f"{dead.url}: [Errno" in told
    assert f"{silent.url}: timed out; asking another server" in told


def test_a_server_with_a_file_of_another_size_is_left_before_it_sends_and_what_came_is_kept(small, place, capsys):
    small[0].content, small[0].told = b"<html>Log in to use this network</html>" * 3, True
    small[1].content, small[1].told = b"<html>Log in to use this network</html>" * 3, False
    place.parent.mkdir()
    place.with_name("weights.bin.part").write_bytes(SMALL[:50])
    fetch_small(small, place, num_bytes=len(SMALL))
    assert small[2].asked == ["bytes=50-"], "its bytes were worth something, and theirs were not added"
    told = capsys.readouterr().err
    assert f"{small[0].url}: has 117 bytes, and the file has 60,000; asking" in told
    assert f"{small[1].url}: " in told


@pytest.mark.parametrize("told", [True, False])
def test_a_server_that_lies_in_a_file_of_the_right_size_is_named_and_not_asked_again(
    small, place, capsys, told
) -> None:
    small[0].content, small[0].told = bytes(len(SMALL)), told
    fetch_small(small, place, num_bytes=len(SMALL))
    assert (small[0].asked, small[1].asked) == ([None], [None])
    assert f"{small[0].url}: sent 60,000 bytes with sha256 " in capsys.readouterr().err


def test_an_answer_without_an_end_is_ended_at_the_files_size(small, place, capsys) -> None:
    small[0].content, small[0].told = bytes(50 * len(SMALL)), False
    fetch_small(small, place, num_bytes=len(SMALL))
    assert f"{small[0].url}: sent 60,000 bytes with" in capsys.readouterr().err


def test_where_one_of_two_that_sent_parts_has_lied_all_of_it_comes_from_one(small, place, capsys) -> None:
    small[0].content, small[0].rate = bytes(len(SMALL)), 100_000
    fetch_small(small, place, num_bytes=len(SMALL))
    assert start_of(small[1].asked[0]) > 0
    assert small[1].asked[1:] or small[2].asked, "fetched again, from the beginning"
    assert "is not the file: fetching all of it" in capsys.readouterr().err


def test_an_answer_with_another_range_than_asked_for_is_not_added(small, place, capsys) -> None:
    small[0].shift = 7
    place.parent.mkdir()
    place.with_name("weights.bin.part").write_bytes(SMALL[:1000])
    fetch_small(small[:1], place)
    assert small[0].asked == ["bytes=1000-", None]
    assert "is not the file" not in capsys.readouterr().err, "found out before its bytes were added"


def test_a_redirect_is_followed_with_the_range_that_was_asked_for(small, place) -> None:
    small[0].elsewhere = small[1].url
    place.parent.mkdir()
    place.with_name("weights.bin.part").write_bytes(SMALL[:1000])
    fetch_small(small[:1], place, num_bytes=len(SMALL))
    assert small[1].asked == ["bytes=1000-"]


def test_servers_that_send_each_other_the_asker_are_given_up(small, place, capsys) -> None:
    small[0].elsewhere, small[1].elsewhere = small[1].url, small[0].url
    fetch_small(small, place)
    assert f"{small[0].url}: " in capsys.readouterr().err


def test_a_full_disk_is_no_servers_fault(small, place, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(place))

    monkeypatch.setattr(module._Watch, "count", full)
    with pytest.raises(OSError, match="No space left"):
        fetch_small(small, place)
    assert not small[1].asked


def test_where_no_server_gives_the_file_the_error_names_all_with_their_reasons(small, place) -> None:
    small[0].content, small[1].content = b"short", bytes(len(SMALL))
    small[2].server_close()
    with pytest.raises(OSError, match="has 5 bytes") as caught:
        fetch_small(small, place, num_bytes=len(SMALL))
    assert all(server.url in str(caught.value) for server in small)
    assert "sent 60,000 bytes" in str(caught.value)
    assert files_beside(place) == []
