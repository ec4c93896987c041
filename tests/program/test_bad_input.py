"""What users get wrong and what disks refuse: exit code 2, a message that names it, nothing lost or half-written."""

import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_run import ARGUMENTS, copy_whole, outcome, shrink, train_in

import evaluate
import train
from alexnet_skip.network import state_files
from alexnet_skip.network.weights import load_weights
from alexnet_skip.system import files


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)


def evaluate_in(folder: Path, *arguments: str) -> int:
    return evaluate.main([*arguments, "--runs-dir", str(folder / "runs")])


def told(capsys) -> str:
    """What was said, without the frame that tyro draws and the line breaks."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join((captured.out + captured.err).replace("│", " ").split())


def image(path: Path, size=(8, 8), seed=0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def images(folder: Path, classes=("cat", "dog"), count=6) -> Path:
    for split in ("train", "test"):
        for name in classes:
            for number in range(count):
                image(folder / split / name / f"{number}.png", seed=number)
    return folder


def huge_png(path: Path) -> None:
    """A PNG of a few bytes that says it is 60,000 × 60,000."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


# What is done to a sound folder of two classes, and what is said. {place} is the folder.
FOLDERS = {
    "no train": (lambda f: remove(f / "train"), "has no folder train; it must hold train/<class>/*"),
    "no class": (
        lambda f: [remove(f / "train" / c) for c in ("cat", "dog")],
        "holds no class folder; at least two folders",
    ),
    "one class": (lambda f: remove(f / "train" / "dog"), "holds one class (cat); at least two folders"),
    "a class without images": (
        lambda f: [p.unlink() for p in (f / "train" / "dog").iterdir()],
        "train/dog holds no image",
    ),
    "other classes in test": (
        lambda f: (f / "test" / "dog").rename(f / "test" / "fox"),
        "differ in the classes dog, fox; make them equal",
    ),
    "a truncated image": (
        lambda f: (f / "train/cat/0.png").write_bytes((f / "train/cat/0.png").read_bytes()[:90]),
        "0.png can't be read as an image",
    ),
    "an empty file": (
        lambda f: (f / "train/cat/0.png").write_bytes(b""),
        "0.png can't be read as an image: the file is",
    ),
    "text as an image": (
        lambda f: (f / "train/cat/0.png").write_text("hello"),
        "0.png can't be read as an image: its content is none of JPEG",
    ),
    "a decompression bomb": (lambda f: huge_png(f / "train/cat/0.png"), "0.png can't be read as an image"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_is_no_dataset_is_refused_by_name(tmp_path, capsys, case):
    spoil, message = FOLDERS[case]
    folder = images(tmp_path / "images")
    spoil(folder)
    assert train_in(tmp_path, *ARGUMENTS[2:], "--dataset", str(folder)) == 2
    text = told(capsys)
    assert message in text
    assert str(folder) in text
    assert not (tmp_path / "runs").exists()


def test_every_odd_but_sound_image_is_taken(tmp_path, capsys):
    folder = images(tmp_path / "images")
    grey16 = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(grey16).save(folder / "train/cat/16-bit.png")
    Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(folder / "train/cat/cmyk.jpg")
    frames = [Image.new("P", (8, 8), n) for n in range(3)]
    frames[0].save(folder / "train/dog/animated.gif", save_all=True, append_images=frames[1:])
    image(folder / "train/dog/one-pixel.png", (1, 1))
    image(folder / "train/dog/large.png", (700, 500))
    assert train_in(tmp_path, *ARGUMENTS[2:], "--dataset", str(folder), "--val-fraction", "0.3", "--quiet") == 0
    assert '"dataset": "images"' in told(capsys)


class Bomb:
    """Unpickled freely it makes the file that its path names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def weights_file(folder: Path, kind: str) -> Path:
    state = dict(load_weights("random").state)
    path = folder / f"weights.{'pth' if 'pickle' in kind else 'safetensors'}"
    if kind == "pickle bomb":
        path.write_bytes(pickle.dumps({"0.weight": Bomb(folder / "exploded")}))
    elif kind == "pickle bomb in a torch file":
        torch.save({"0.weight": Bomb(folder / "exploded")}, path)
    elif kind == "truncated":
        save_file(state, str(path))
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "not finite":
        state["0.bias"] = torch.full((64,), float("nan"))
        save_file(state, str(path))
    elif kind == "another shape":
        state["0.bias"] = torch.zeros(65)
        save_file(state, str(path))
    elif kind == "a layer missing":
        del state["10.bias"]
        save_file(state, str(path))
    else:
        path = folder / "weights.txt"
        path.write_text("hello")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickle bomb", "cannot be read as .pth"),
        ("pickle bomb in a torch file", "cannot be read as .pth"),
        ("truncated", "cannot be read as .safetensors"),
        ("not finite", "0.bias"),
        ("another shape", "0.bias in"),
        ("a layer missing", "has no 10.bias"),
        ("another suffix", "has the suffix '.txt'; allowed are .pth, .pt and .safetensors"),
    ],
)
def test_weights_that_are_none_are_refused_and_never_executed(tmp_path, capsys, kind, message):
    path = weights_file(tmp_path, kind)
    assert train_in(tmp_path, *ARGUMENTS, "--weights", str(path)) == 2
    text = told(capsys)
    assert "--weights" in text
    assert message in text
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "runs").exists()


def test_a_pickle_in_a_checkpoints_place_is_not_executed(whole_run, tmp_path, capsys):
    copy_whole(whole_run, tmp_path / "copy")
    places = sorted((tmp_path / "copy/runs/run/checkpoints").iterdir())
    for place in places:
        torch.save({"a": Bomb(tmp_path / "exploded")}, place / "state.safetensors")
        (place / "state.json").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    run = tmp_path / "copy/runs/run"
    published = (run / "model/model.safetensors").read_bytes()
    assert train_in(tmp_path / "copy", "--resume", "run", "--epochs", "4") == 2, "what is published is not begun again"
    assert (run / "model/model.safetensors").read_bytes() == published
    assert not (tmp_path / "exploded").exists()
    told(capsys)
    for kind in ("model", "last"):
        shutil.rmtree(run / kind)
    assert train_in(tmp_path / "copy", "--resume", "run", "--epochs", "4") == 0
    text = told(capsys)
    assert text.count("does not fit its checksum): not used") == len(places)
    assert "run has no complete checkpoint: it begins with its first epoch again" in text
    assert not (tmp_path / "exploded").exists()


def code_of(body):
    """The exit code of a script, whether it is returned or, by what reads the command line, left with."""
    try:
        return body()
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs is 0, but must be at least 1"),
        (["--epochs", "many"], "invalid"),
        (["--batch-size", "-1"], "--batch-size is -1, but must be 0 (chosen from the images) or more"),
        (["--lr", "nan"], "--lr is nan, but must be a positive number"),
        (["--lr", "inf"], "--lr is inf, but must be a positive number"),
        (["--weight-decay", "-1"], "--weight-decay is -1.0, but must be 0 or more"),
        (["--dropout", "0", "0", "1"], "three numbers from 0 to below 1"),
        (["--label-smoothing", "1"], "--label-smoothing is 1.0, but must be from 0 to below 1"),
        (["--val-fraction", "-0.1"], "--val-fraction is -0.1, but must be from 0 to below 1"),
        (["--pca-basis", "-1"], "--pca-basis is -1, but must be 0 (off) or a number of coordinates"),
        (["--seed", "-1"], "--seed is -1, but must be from 0 to 4294967295"),
        (["--limit-test", "0"], "--limit-test is 0, but must be at least 1"),
        (["--snapshot-epochs", "0"], "--snapshot-epochs is (0,), but must be 1 or more"),
        (["--snapshot-epochs", "9"], "--snapshot-epochs is [9], but must be at most --epochs (3)"),
        (["--name", "a/b"], "--name is 'a/b', but must be a folder name without any of"),
        (["--name", ""], "--name is ''"),
        (["--mixed-precision", "fp8"], "invalid"),
        (["--force-precision"], "--force-precision is given, but must be left out unless --mixed-precision is fp16"),
        (["--checkpoint-minutes", "nan"], "--checkpoint-minutes is nan, but must be 0 or more"),
        (["--checkpoint-epochs", "-2"], "--checkpoint-epochs is -2, but must be 0 or more"),
        (["--keep-checkpoints", "0"], "--keep-checkpoints is 0, but must be at least 1"),
        (["--skip-mode", "add"], "invalid"),
        (["--unknown"], "--unknown"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(tmp_path, capsys, arguments, message):
    assert code_of(lambda: train_in(tmp_path, *ARGUMENTS, *arguments)) == 2
    assert message.lower() in told(capsys).lower()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nowhere"], "--dataset is nowhere, which is neither auto, cifar10"),
        (["--val-fraction", "0.001"], "--val-fraction 0.001 leaves class circle with 0 of"),
        (["--val-fraction", "0.999"], "images in val; each class needs at least one on both sides"),
        (["--mixed-precision", "fp16"], "--mixed-precision is fp16, but the device is CPU; use auto, no or bf16 there"),
        (["--name", "run"], "exists already; choose another name or remove that folder"),
        (
            ["--weights", "nowhere.pth"],
            "'nowhere.pth' is neither a file nor a known name; allowed are imagenet",
        ),
        (
            ["--dataset", "cifar10", "--data-archive", "none.tar.gz"],
            "--data-archive is none.tar.gz, which can't",
        ),
        (["--resume", "nowhere"], "--resume is nowhere, but neither"),
        (["--resume", "run", "--lr", "1"], "--lr is 1.0, but was 0.02"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(whole_run, tmp_path, monkeypatch, capsys, arguments, message):
    copy_whole(whole_run, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    before = outcome(tmp_path / "copy/runs/run")
    base = () if "--resume" in arguments else ARGUMENTS
    assert train_in(tmp_path / "copy", *base, *arguments) == 2
    assert message in told(capsys)
    assert outcome(tmp_path / "copy/runs/run") == before
    assert [p.name for p in (tmp_path / "copy/runs").iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topk", "12"], "--topk is 12, but"),
        (["--run", "nowhere"], "--run nowhere: no run there nor in --runs-dir"),
        (["--checkpoint", "epoch-7"], "--checkpoint is epoch-7, but"),
        (["--dataset", "nowhere"], "--dataset is nowhere"),
        (["--images", "nowhere.png"], "nowhere.png"),
    ],
)
def test_evaluations_that_cannot_be_done_are_refused_by_name(whole_run, tmp_path, capsys, arguments, message):
    shutil.copytree(whole_run / "runs", tmp_path / "runs")
    assert evaluate_in(tmp_path, *arguments) == 2
    assert message in told(capsys)
    assert not (tmp_path / "runs/run/evaluation").exists()


@pytest.mark.parametrize("k", ["0", "-1", "x"])
def test_a_k_that_is_none_is_refused(tmp_path, capsys, k):
    assert code_of(lambda: evaluate_in(tmp_path, "--topk", k)) == 2
    assert "topk" in told(capsys)


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--runs-dir", "--runs-dir {place} can't be written (Not a directory)"), ("--cache-dir", "--cache-dir {place}:")],
)
def test_a_file_where_a_folder_should_be_is_named(tmp_path, capsys, flag, message):
    place = tmp_path / "file"
    place.write_text("mine")
    assert (
        train.main(
            [*ARGUMENTS, "--cache-dir", str(tmp_path / "c"), "--runs-dir", str(tmp_path / "r"), flag, str(place)]
        )
        == 2
    )
    assert message.format(place=place) in told(capsys)
    assert place.read_text() == "mine"


def as_somebody_without_rights(tmp_path: Path) -> dict[str, str]:
    """Environment of a process that may write only where everybody may: the superuser, who may anywhere, is nobody."""
    if os.geteuid() != 0:
        return {}
    for needed in (Path(sys.prefix), Path(train.__file__).resolve()):
        closed = [folder for folder in (needed, *needed.parents) if not folder.stat().st_mode & 0o004]
        if closed:
            pytest.skip(f"{closed[0]} is closed to other users: Python could not import from {needed} as one of them")
    for folder in tmp_path.parents:
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    return {"RUN_AS": "65534"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which Windows can't")
@pytest.mark.parametrize("what", ["runs", "cache"])
def test_a_folder_without_permission_is_named(zygote, tmp_path, what):
    for name in ("runs", "cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o555 if name == what else 0o777)
    log = tmp_path / "log"
    log.touch(0o666)
    more = as_somebody_without_rights(tmp_path)
    command = [*ARGUMENTS, "--cache-dir", f"{tmp_path}/cache", "--runs-dir", f"{tmp_path}/runs"]
    assert zygote.wait(zygote.start(command, log, **more)) == 2, log.read_text()
    assert "(Permission denied)" in log.read_text()
    assert f"--{what}-dir {tmp_path / what}" in log.read_text()
    assert "Traceback" not in log.read_text()
    (tmp_path / what).chmod(0o777)


def test_a_cache_that_may_only_be_read_serves_a_run(whole_run, tmp_path, zygote):
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked, which Windows can't")
    shutil.copytree(whole_run / "cache", tmp_path / "cache")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o777)
    (tmp_path / "log").touch(0o666)
    for path in (tmp_path / "cache").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    more = as_somebody_without_rights(tmp_path)
    command = [*ARGUMENTS, "--name", "run", "--cache-dir", f"{tmp_path}/cache", "--runs-dir", f"{tmp_path}/runs"]
    assert zygote.wait(zygote.start(command, tmp_path / "log", **more)) == 0, (tmp_path / "log").read_text()
    assert outcome(tmp_path / "runs/run") == outcome(whole_run / "runs/run")
    for path in (tmp_path / "cache").rglob("*"):
        path.chmod(0o755)


def fails_after(calls: int, call):
    """A function that does its work so many times and then finds the disk full."""
    count = [0]

    def limited(*arguments, **options):
        count[0] += 1
        if count[0] > calls:
            raise OSError(28, "No space left on device", str(arguments[0]) if arguments else None)
        return call(*arguments, **options)

    return limited


@pytest.mark.parametrize("calls", [0, 2])
def test_a_disk_that_fills_up_while_caching_is_named_and_costs_nothing(tmp_path, monkeypatch, capsys, calls):
    with monkeypatch.context() as patch:
        patch.setattr("alexnet_skip.features.cache.reserve", fails_after(calls, files.reserve))
        assert train_in(tmp_path, *ARGUMENTS, "--name", "run") == 2
    assert "No space left on device; make room or choose a folder that can be written" in told(capsys)
    assert train_in(tmp_path, "--resume", "run") == 0


@pytest.mark.parametrize("models", [0, 1])
def test_a_disk_that_fills_up_while_publishing_leaves_a_run_that_goes_on(
    whole_run, tmp_path, monkeypatch, capsys, models
):
    shutil.copytree(whole_run / "cache", tmp_path / "cache")
    command = [*ARGUMENTS, "--name", "run", "--checkpoint-epochs", "1"]
    with monkeypatch.context() as patch:
        calls = len(state_files.NAMES) * models
        patch.setattr("alexnet_skip.network.state_files.save_tensors", fails_after(calls, state_files.save_tensors))
        assert train_in(tmp_path, *command) == 2
    assert "No space left on device; make room" in told(capsys)
    assert not list((tmp_path / "runs/run").glob("*/config.json"))[models:]
    assert train_in(tmp_path, "--resume") == 0
    assert outcome(tmp_path / "runs/run") == outcome(whole_run / "runs/run")


def test_a_disk_that_fills_up_while_checkpointing_does_not_end_the_run(whole_run, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole_run / "cache", tmp_path / "cache")
    monkeypatch.setattr("alexnet_skip.runs.checkpoints.save_tensors", fails_after(0, None))
    assert train_in(tmp_path, *ARGUMENTS, "--name", "run", "--checkpoint-epochs", "1") == 0
    text = told(capsys)
    assert text.count("can't be written (No space left on device): the run goes on, with older checkpoints only") == 3
    assert outcome(tmp_path / "runs/run") == outcome(whole_run / "runs/run")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted: that needs the superuser of a Linux machine")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(whole_run, tmp_path, small_disk, capsys):
    """3 MiB hold neither the cache of 4 MiB nor a published model of 11."""
    assert train.main([*ARGUMENTS, "--cache-dir", f"{small_disk}/c", "--runs-dir", f"{tmp_path}/runs"]) == 2
    assert "MiB free, but the features need 4 MiB; choose another --cache-dir" in told(capsys)
    (small_disk / "filler").write_bytes(bytes(2 << 20))
    command = [*ARGUMENTS, "--cache-dir", str(whole_run / "cache"), "--name", "run"]
    assert train.main([*command, "--runs-dir", f"{small_disk}/runs"]) == 2
    assert "MiB of room, but the 3 models of this run need" in told(capsys), "before the first epoch"
    assert not list(small_disk.glob("**/*.tmp"))
    assert not list(small_disk.glob("runs/run/metrics.jsonl"))
    assert not list(small_disk.glob("runs/run/model/config.json"))


def test_paths_with_spaces_and_letters_of_any_script(whole_run, tmp_path, monkeypatch, capsys):
    place = tmp_path / "räume & ünter 空白" / "a [b] 'c'"
    shutil.copytree(whole_run / "cache", place / "der cache é")
    places = ["--cache-dir", str(place / "der cache é"), "--runs-dir", str(place / "läufe 走")]
    few = ["--epochs", "1", "--snapshot-epochs", "1", "--checkpoint-epochs", "1"]
    assert train.main([*ARGUMENTS, *places, "--name", "erster Lauf ß", *few]) == 0
    assert evaluate.main(["--runs-dir", str(place / "läufe 走"), "--split", "val"]) == 0
    assert train.main(["--resume", "erster Lauf ß", "--runs-dir", str(place / "läufe 走"), "--epochs", "2"]) == 0
    run = place / "läufe 走" / "erster Lauf ß"
    assert [line["epoch"] for line in outcome(run)["metrics"]] == [1, 2]
    told(capsys)
