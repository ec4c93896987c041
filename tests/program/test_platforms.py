"""What Windows and macOS would refuse, as far as it can be found out elsewhere."""

import ast
import errno
import gc
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from PIL import Image

import evaluate
import train
from alexnet_skip.features import cache, coordinates
from alexnet_skip.features.coordinates import CoordinateSource, open_basis
from alexnet_skip.features.source import CachedFeatures
from alexnet_skip.images import dataset
from alexnet_skip.system.console import Console
from alexnet_skip.system.locks import GUARD_NAME

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    ROOT / "train.py",
    ROOT / "evaluate.py",
    *ROOT.glob("embed.py"),
    *sorted((ROOT / "alexnet_skip").rglob("*.py")),
]
# What Windows does not have, or demands a privilege for. Hard links it has (os.link, on NTFS, without a privilege).
FOREIGN = {"fork", "forkpty", "symlink", "symlink_to", "mkfifo", "getuid", "setsid", "killpg"}
# Modules that Windows does not have; allowed inside a try that expects their absence.
POSIX_ONLY = {"fcntl", "resource", "pwd", "grp", "termios"}
RESERVED = re.compile(r'[<>:"|?*\\]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            yield node, function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_nothing_is_called_that_only_posix_has():
    found = [
        (path.name, name)
        for path in SOURCES
        for _, name in calls(ast.parse(path.read_text("utf-8")))
        if name in FOREIGN
    ]
    assert not found


def test_modules_that_only_posix_has_are_imported_where_their_absence_is_expected():
    for path in SOURCES:
        tree = ast.parse(path.read_text("utf-8"))
        guarded = {id(node) for block in ast.walk(tree) if isinstance(block, ast.Try) for node in ast.walk(block)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in guarded:
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & POSIX_ONLY, (path.name, names)


def test_text_files_are_read_and_written_in_utf_8_whatever_the_platforms_own_encoding_is():
    for path in SOURCES:
        for node, name in calls(ast.parse(path.read_text("utf-8"))):
            text = name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)
            if name == "open" and isinstance(node.func, ast.Attribute):
                # Image.open, tarfile.open and caches' open have no text.
                mode = [a.value for a in node.args if isinstance(a, ast.Constant)]
                text = bool(mode) and isinstance(mode[0], str) and mode[0] in ("r", "w", "a")
            if text:
                given = {keyword.arg for keyword in node.keywords}
                assert "encoding" in given or len(node.args) > 1, (path.name, node.lineno)


def test_what_other_programs_say_is_read_whatever_its_encoding_is():
    for path in SOURCES:
        for node, name in calls(ast.parse(path.read_text("utf-8"))):
            given = {keyword.arg for keyword in node.keywords}
            if name in ("run", "Popen", "check_output") and given & {"text", "encoding", "universal_newlines"}:
                assert "errors" in given, (path.name, node.lineno)


def test_no_file_of_the_project_has_a_name_that_windows_refuses():
    folders = ("alexnet_skip", "benchmarks", "docs", "tests", ".ci")
    paths = [
        p
        for p in (*ROOT.glob("*.*"), *(p for f in folders for p in (ROOT / f).rglob("*")))
        if "__pycache__" not in p.parts
    ]
    listed = [path.relative_to(ROOT).as_posix() for path in paths]
    assert not [part for line in listed for part in line.split("/") if RESERVED.search(part)]
    assert len({line.lower() for line in listed}) == len(listed), "names that differ in case only"


@pytest.fixture
def like_windows(monkeypatch, tmp_path):
    """Refuse to replace or remove a file that this process has open or mapped, as Windows does."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("open and mapped files are looked up in Linux's /proc")
    busy: list[str] = []

    def refuse_if_in_use(path):
        place = os.path.realpath(path)
        if not place.startswith(str(tmp_path)):
            return
        maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        mapped = any(line.endswith(" " + place) for line in maps)
        opened = any(_target(number) == place for number in os.listdir("/proc/self/fd"))
        if mapped or opened:
            busy.append(place)
            raise PermissionError(errno.EACCES, "The process cannot access the file: it is in use", place)

    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, _checked(getattr(os, name), refuse_if_in_use, 2))
    for name in ("unlink", "remove"):
        monkeypatch.setattr(os, name, _checked(getattr(os, name), refuse_if_in_use, 1))
    return busy


def _target(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def _checked(real, check, num_paths):
    def call(*args, **options):
        if "dir_fd" not in options or options["dir_fd"] is None:
            for path in args[:num_paths]:
                check(path)
        return real(*args, **options)

    return call


def test_no_file_is_replaced_or_removed_while_it_is_open_or_mapped(like_windows, monkeypatch, tmp_path, capsys):
    tiny_run.shrink(monkeypatch.setattr)
    for module, name, few in ((dataset, "SHAPES_TRAIN", 40), (dataset, "SHAPES_TEST", 10), (cache, "BLOCK_ROWS", 8)):
        monkeypatch.setattr(module, name, few)
    # What is in a picture takes seconds to draw; how its file is replaced does not depend on it.
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: Image.new("L", (2, 2)).save(path, "PNG"))
    places = ["--cache-dir", str(tmp_path / "cache"), "--runs-dir", str(tmp_path / "runs")]
    few = ["--epochs", "2", "--batch-size", "16", "--snapshot-epochs", "1"]
    arguments = [*tiny_run.ARGUMENTS, *few, "--checkpoint-epochs", "1", "--keep-checkpoints", "1", *places]
    assert train.main([*arguments, "--name", "first"]) == 0
    gc.collect()  # the commands are processes of their own: what one has open ends with it
    # A damaged basis and a damaged block are written again over files that the command has just read.
    for path in [*(tmp_path / "cache").glob("*/basis-*.npy"), *(tmp_path / "cache").glob("*/main.npy")]:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert train.main([*arguments, "--name", "second"]) == 0
    gc.collect()
    assert evaluate.main(["--runs-dir", str(tmp_path / "runs")]) == 0
    assert evaluate.main(["--runs-dir", str(tmp_path / "runs")]) == 0, "over the files of the evaluation before"
    # The file of the system's lock goes while it is open on POSIX alone (system/locks.py asks which it is).
    assert [place for place in like_windows if Path(place).name != GUARD_NAME] == []


def test_the_check_itself_notices_a_map(like_windows, tmp_path):
    import numpy as np

    array = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=np.uint8, shape=(10,))
    (tmp_path / "b.npy").write_bytes(b"new")
    with pytest.raises(PermissionError):
        (tmp_path / "b.npy").replace(tmp_path / "a.npy")
    del array
    (tmp_path / "b.npy").replace(tmp_path / "a.npy")


def test_an_interruption_while_coordinates_are_written_leaves_no_map_of_their_file(like_windows, monkeypatch, tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float16)
    source = CachedFeatures([(values, None)], torch.device("cpu"), tmp_path)
    monkeypatch.setattr(coordinates, "PROJECT_ROWS", 16)

    def interrupted(found, rows, fetch=CoordinateSource.fetch):
        if rows[0]:
            raise KeyboardInterrupt
        return fetch(found, rows)

    monkeypatch.setattr(CoordinateSource, "fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_basis(source, np.arange(30), "none", 8, Accelerator(cpu=True), Console(quiet=True), mirrored=False)
    assert [place for place in like_windows if Path(place).name != GUARD_NAME] == []
    assert not list(tmp_path.glob("basis-*"))
