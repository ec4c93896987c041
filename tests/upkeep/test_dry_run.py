"""Know before you go: what is told agrees with what the command then does, and nothing is written."""

import json
from types import SimpleNamespace

import pytest

import evaluate
import train
from alexnet_skip.features.cache import BLOCK_ROWS, FeatureCache, FeatureKey
from alexnet_skip.images import dataset
from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.settings.evaluate import parse_evaluate
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console, size
from alexnet_skip.system.errors import UserError
from alexnet_skip.upkeep import dry_run, inventory, speed_probe
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
    cache, names = FeatureCache(tmp_path / "entry", key), ("main", "main_mirrored")
    assert look_into_cache(cache, names).missing_images == 4 * BLOCK_ROWS
    assert not cache.folder.exists(), "looking makes nothing"
    cache.prepare(names, lambda line: None)
    (cache.folder / "progress-0000.jsonl").write_text('["main", 0, 1]\n["main", 1, 1]\n["main_mirrored", 0, 1]\n')
    state = look_into_cache(cache, names)
    assert (state.hits, state.blocks, state.missing_images, state.missing_bytes) == (3, 4, BLOCK_ROWS, 0)
    assert nothing_cached(10, names).missing_images == 20


def test_the_probes_measure_something(monkeypatch):
    monkeypatch.setattr(speed_probe, "PART_SECONDS", 0.01)
    device = dry_run.torch.device("cpu")
    assert speed_probe.rate(lambda: 3, device) > 3
    assert speed_probe.multiplication_rate(device) > 1e8


def test_room_is_unknown_where_the_platform_does_not_tell():
    plan = dry_run.Plan(SimpleNamespace())
    plan.tell_room("memory", 10, None, "do something")
    assert plan.problems == []
    assert "unknown" in plan.rows[0][1]
    assert (size(3 * 2**30), size(5 * 2**20)) == ("3.0 GiB", "5 MiB")


@pytest.mark.parametrize(
    ("train_on", "sizes"),
    [(None, {"train": 50_000, "test": 10_000}), (20_000, {"train": 20_000, "val": 5_000, "test": 10_000}),
     (60_000, {"train": 45_000, "val": 5_000, "test": 10_000})],
)  # fmt: skip
def test_of_images_that_are_still_to_come_the_run_would_train_on_so_many_and_hold_out_of_all(tmp_path, train_on, sizes):
    asked = DataSettings(dataset="cifar10", data_dir=tmp_path, train_on=train_on)
    found = inventory.find_images(asked, Console(quiet=True), None, val_fraction=0.1)
    assert found.sizes == sizes
