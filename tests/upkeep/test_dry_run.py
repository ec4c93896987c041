"""Know before you go: what is told agrees with what the command then does, and nothing is written."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from tiny_run import ARGUMENTS, HELD_OUT, LEARNT, TRAIN_IMAGES, copy_whole, shrink

import evaluate
import train
from alexnet_skip.features import cache
from alexnet_skip.features.cache import BLOCK_ROWS, FeatureCache, FeatureKey, compute_features
from alexnet_skip.images import dataset
from alexnet_skip.network import head
from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.settings.evaluate import parse_evaluate
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.upkeep import inventory, memory, speed_probe
from alexnet_skip.upkeep.inventory import look_into_cache, nothing_cached

SMALL = [
    "--dataset",
    "shapes",
    "--weights",
    "random",
    "--limit-train",
    "200",
    "--limit-test",
    "50",
    "--batch-size",
    "32",
]


@pytest.fixture
def fast(monkeypatch, tmp_path):
    """Rates by decree, and a folder that shows whatever is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset, "SHAPES_TRAIN", 300)
    monkeypatch.setattr(dataset, "SHAPES_TEST", 60)
    monkeypatch.setattr(speed_probe, "extraction_rate", lambda *_: 100.0)
    monkeypatch.setattr(speed_probe, "training_rate", lambda *_: 1000.0)
    monkeypatch.setattr(speed_probe, "multiplication_rate", lambda *_: 1e12)
    return tmp_path


def run(capsys, script, *arguments):
    code = script.main([*arguments, "--dry-run"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out.splitlines()[-1]) if code == 0 else None, captured.err


def test_a_training_is_told_and_nothing_is_written(fast, capsys):
    code, facts, shown = run(
        capsys, train, *SMALL, "--skip", "--epochs", "10", "--val-fraction", "0.2", "--pca-basis", "100"
    )
    assert code == 0
    assert facts["would_start"]
    assert facts["steps_per_epoch"] == 5  # 160 images in batches of 32
    assert facts["images_to_extract"] == 400  # as they are, and mirrored
    assert facts["expected_seconds"]["extract"] == pytest.approx(4)
    assert facts["expected_seconds"]["train"] == pytest.approx(1.6)
    # Main and tap of both views in fp16, and the coordinates of both views.
    coordinates = 2 * 200 * 100 * 2
    assert facts["disk_for_the_cache_needed"] == 4 * 200 * NUM_FEATURES * 2 + coordinates
    for text in ("precision", "fp32 on CPU", "random (seed 0)", "steps", "expected time", "Nothing was written"):
        assert text in shown
    assert not list(fast.iterdir())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--name", "there"], "--name there"),
        (["--dataset", "nowhere"], "--dataset is nowhere"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--dataset", "cifar10", "--data-archive", "nowhere.tar.gz"], "--data-archive is nowhere.tar.gz"),
        (["--val-fraction", "0.001"], "--val-fraction 0.001"),
    ],
)
def test_what_would_not_start_ends_with_2_and_says_why(fast, capsys, arguments, reason):
    (fast / "runs" / "there").mkdir(parents=True)
    code, _, shown = run(capsys, train, *SMALL, *arguments)
    assert code == 2
    assert reason in " ".join(shown.split())
    assert [path.name for path in fast.rglob("*")] == ["runs", "there"]


def test_too_little_disk_or_memory_is_a_reason_not_to_start(fast, capsys, monkeypatch):
    monkeypatch.setattr(machine, "free_disk_bytes", lambda folder: 1000)
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 1000)
    code, _, shown = run(capsys, train, *SMALL)
    assert code == 2
    told = " ".join(shown.split())
    for what in ("disk for the cache", "disk for the run", "memory"):
        assert f"{what}: " in told
    assert "choose another --cache-dir" in told


def test_images_and_weights_that_would_be_downloaded_are_told_and_not_fetched(fast, capsys, monkeypatch):
    def unreachable(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("alexnet_skip.network.weights._hub_path", lambda: fast / "no hub" / "alexnet.pth")
    monkeypatch.setattr("alexnet_skip.network.weights.LPIPS_PACKAGE", "no-such-package")
    code, facts, shown = run(capsys, train, "--skip")
    assert code == 0
    assert (facts["images_here"], facts["weights_here"]) == (False, False)
    assert "163 MiB" in shown
    assert "drawn shapes" in " ".join(shown.split())
    assert facts["images_to_extract"] == 100_000


def test_an_evaluation_without_a_run_is_refused_like_the_real_one(fast, capsys):
    code, _, shown = run(capsys, evaluate)
    assert code == 2
    assert "accelerate launch --quiet train.py --skip" in shown


def test_dry_run_goes_with_evaluation_only():
    with pytest.raises(UserError, match="--dry-run"):
        parse_evaluate(["--dry-run", "--export", "torch"])


def test_the_cache_is_looked_into_block_by_block(tmp_path):
    key = FeatureKey("data", "weights", 2 * BLOCK_ROWS)
    entry, names = FeatureCache(tmp_path / "entry", key), ("main", "main_mirrored")
    assert look_into_cache(entry, names).missing_images == 4 * BLOCK_ROWS
    assert not entry.folder.exists(), "looking makes nothing"
    entry.prepare(names, lambda line: None)
    (entry.folder / "progress-0000.jsonl").write_text('["main", 0, 1]\n["main", 1, 1]\n["main_mirrored", 0, 1]\n')
    state = look_into_cache(entry, names)
    assert (state.hits, state.blocks, state.missing_images, state.missing_bytes) == (3, 4, BLOCK_ROWS, 0)
    assert nothing_cached(10, names).missing_images == 20


def test_a_split_held_out_before_the_limit_has_features_of_its_own(fast, capsys):
    few = ["--train-on", "100", "--val-fraction", "0.2", "--pca-basis", "0", "--skip"]
    code, facts, _ = run(capsys, train, *SMALL, *few)
    assert code == 0
    # 40 of 200 are held out and never mirrored; 100 of the others in both views.
    assert facts["images_to_extract"] == 2 * 100 + 40
    assert facts["disk_for_the_cache_needed"] == (4 * 100 + 2 * 40) * NUM_FEATURES * 2


def test_a_study_named_like_a_single_run_would_not_start(fast, capsys):
    (fast / "runs" / "single").mkdir(parents=True)
    (fast / "runs" / "single" / "config.json").write_text("{}")
    code, _, shown = run(capsys, train, *SMALL, "--study", "--name", "single")
    assert code == 2
    assert "single is a single run; choose another name for the study" in " ".join(shown.split())


def test_a_study_that_nothing_is_left_to_judge_on_would_not_start(fast, capsys):
    for split in ("train", "val"):
        for number in range(4):
            folder = fast / "two" / split / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    study = ["--study", "--weights", "random", "--dataset", str(fast / "two")]
    assert run(capsys, train, *study, "--val-fraction", "0")[0] == 0
    shutil.rmtree(fast / "two" / "val")
    code, _, shown = run(capsys, train, *study, "--val-fraction", "0")
    assert code == 2
    assert "two has no test split: nothing is left to judge a study on" in " ".join(shown.split())


STUDIED, JUDGED = 30, 10


class Study(NamedTuple):
    """A study that was told, and then trained."""

    folder: Path
    arguments: list[str]
    told: dict
    extracted: int


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A tiny study of two variants in two stages."""
    place, extracted = tmp_path_factory.mktemp("told"), []

    def count(backbone, images, names):
        extracted.append(len(images) * len({name.endswith("mirrored") for name in names}))
        return compute_features(backbone, images, names)

    single = [a for a in ARGUMENTS[: ARGUMENTS.index("--snapshot-epochs")] if a != "--skip"]
    arguments = [
        *single, "--epochs", "2", "--study", "--study-variants", "none", "concat", "--seeds", "1", "--name", "study",
        "--quiet", "--finetune", "1", "--finetune-epochs", "1", "--checkpoint-epochs", "1", "--keep-checkpoints", "1",
        "--cache-dir", str(place / "cache"), "--runs-dir", str(place / "runs"),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        patch.setattr(dataset, "SHAPES_TRAIN", STUDIED)
        patch.setattr(dataset, "SHAPES_TEST", JUDGED)
        patch.setattr(memory, "HIDDEN_SIZES", head.HIDDEN_SIZES)
        patch.setattr(speed_probe, "multiplication_rate", lambda *_: 1e12)
        patch.setattr("alexnet_skip.report.write.report_study", lambda *_: "")  # drawing takes longer than all the rest
        told = facts_of(*arguments)
        assert not (place / "cache").exists()
        patch.setattr(cache, "compute_features", count)
        with contextlib.redirect_stdout(io.StringIO()):
            assert train.main(arguments) == 0
        patch.setattr(cache, "compute_features", compute_features)
        yield Study(place / "runs" / "study", arguments, told, sum(extracted))


def facts_of(*arguments):
    """What a dry run tells programs."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert train.main([*arguments, "--dry-run"]) == 0
    return json.loads(output.getvalue())


def size_of(folder, pattern):
    """Bytes in files below a folder, those with several names as often."""
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def test_a_study_extracts_the_images_that_are_told(study):
    assert study.told["images_to_extract"] == study.extracted == 2 * STUDIED + JUDGED


def test_a_study_whose_runs_have_other_settings_would_not_start(study, capsys):
    assert train.main([*study.arguments, "--lr", "0.5", "--dry-run"]) == 2
    assert "--lr is 0.5, but " in " ".join(capsys.readouterr().err.split())
    assert train.main([*study.arguments, "--dry-run"]) == 0


def test_a_study_writes_the_disk_that_is_told(study):
    written = size_of(study.folder.parents[1] / "cache", "*.npy")
    assert study.told["disk_for_the_cache_needed"] <= written < study.told["disk_for_the_cache_needed"] + 10_000
    # Best, last and two snapshots of each run; and of each three checkpoints while it is trained.
    runs = [study.folder / name for name in ("none-seed1", "concat-seed1")]
    models = [place for run in runs for place in (run / "model", run / "last", *(run / "snapshots").iterdir())]
    assert len(models) == 8
    newest = [max((run / "checkpoints").iterdir()) for run in runs]
    written = sum(size_of(place, "*.safetensors") for place in (*models, *newest, *newest, *newest))
    assert study.told["disk_for_the_run_needed"] == pytest.approx(written, rel=0.01)


def test_the_passes_over_what_a_study_is_judged_on_are_told_where_no_features_are_kept(study):
    """Of each run's second epoch, whose convolutions were trained."""
    seconds = study.told["expected_seconds"]
    assert seconds["evaluate"] / seconds["extract"] == pytest.approx(2 * JUDGED / study.extracted)


def test_of_a_finished_study_nothing_is_left(study):
    facts = facts_of(*study.arguments)
    assert (facts["runs"], facts["runs_left"], facts["epochs"], facts["finetune_epochs"]) == (2, 0, 0, 0)
    assert facts["images_to_extract"] == facts["disk_for_the_cache_needed"] == facts["disk_for_the_run_needed"] == 0
    assert sum(facts["expected_seconds"].values()) == 0


def test_of_a_half_finished_study_the_other_half_is_left(study):
    other = study.folder / "concat-seed1"
    hidden = other.rename(study.folder.parents[1] / "hidden")
    facts = facts_of(*study.arguments)
    hidden.rename(other)
    assert (facts["runs_left"], facts["epochs"], facts["finetune_epochs"]) == (1, 2, 1)
    assert 0 < facts["disk_for_the_run_needed"] < study.told["disk_for_the_run_needed"]
    assert facts["memory_needed"] == study.told["memory_needed"], "concat is the larger one"


@pytest.mark.parametrize(
    ("arguments", "epochs", "finetune_epochs"),
    [(["--resume", "run", "--epochs", "5"], 2, None),
     (["--finetune-from", "run", "--finetune", "1", "--finetune-epochs", "2"], 0, 2)],
)  # fmt: skip
def test_what_is_done_is_not_told_again(whole_run, fast, capsys, monkeypatch, arguments, epochs, finetune_epochs):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(speed_probe, "tuning_rate", lambda *_: 10.0)
    place = copy_whole(whole_run, fast)
    places = ["--cache-dir", str(place / "cache"), "--runs-dir", str(place / "runs")]
    code, facts, _ = run(capsys, train, *arguments, *places)
    assert code == 0
    assert (facts["epochs"], facts.get("finetune_epochs")) == (epochs, finetune_epochs)
    seconds = facts["expected_seconds"]
    assert seconds["train"] == pytest.approx(epochs * LEARNT / 1000)
    if finetune_epochs:
        assert seconds["fine-tune"] == pytest.approx(finetune_epochs * (LEARNT / 10 + HELD_OUT / 100))
    # Features, basis and coordinates are there.
    assert (seconds["extract"], facts["disk_for_the_cache_needed"]) == (0, 0)
    assert "basis" not in seconds


def test_coordinates_that_were_removed_are_needed_again(whole_run, fast, capsys, monkeypatch):
    shrink(monkeypatch.setattr)
    place = copy_whole(whole_run, fast)
    (coordinates,) = place.glob("cache/*/basis-*.npy")
    coordinates.unlink()
    places = ["--cache-dir", str(place / "cache"), "--runs-dir", str(place / "runs")]
    code, facts, _ = run(capsys, train, "--resume", "run", "--epochs", "5", *places)
    assert code == 0
    assert facts["disk_for_the_cache_needed"] == 2 * TRAIN_IMAGES * 8 * 2
    assert facts["expected_seconds"]["basis"] > 0


@pytest.mark.parametrize(
    ("train_on", "sizes"),
    [(None, {"train": 50_000, "test": 10_000}), (20_000, {"train": 20_000, "val": 5_000, "test": 10_000}),
     (60_000, {"train": 45_000, "val": 5_000, "test": 10_000})],
)  # fmt: skip
def test_of_images_that_are_still_to_come_the_run_would_train_on_so_many_and_hold_out_of_all(tmp_path, train_on, sizes):
    asked = DataSettings(dataset="cifar10", data_dir=tmp_path, train_on=train_on)
    found = inventory.find_images(asked, Console(quiet=True), None, val_fraction=0.1)
    assert found.sizes == sizes
