"""What only a card can show: python -m pytest -m gpu, less than eight minutes on one card.

GPU_TESTS_ON=cpu rehearses all of it on the CPU, as small as the other tests.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from accelerate.state import AcceleratorState, PartialState
from fp16_stand_in import with_fp16
from tiny_run import outcome, shrink
from torch import nn
from torch.nn import functional as F

import train
from alexnet_skip.devices import launch
from alexnet_skip.devices.precision import describe
from alexnet_skip.devices.self_test import fp16_self_test
from alexnet_skip.features import source
from alexnet_skip.network.backbone import IMAGE_SIZE, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.runs.checkpoints import CheckpointStore
from alexnet_skip.system.machine import peak_memory_mib
from alexnet_skip.training.trainer import READ_STEPS, Trainer

ROOT = Path(__file__).resolve().parents[2]
REHEARSAL = os.environ.get("GPU_TESTS_ON") == "cpu"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not REHEARSAL and not torch.cuda.is_available(),
        reason="torch sees no GPU here; GPU_TESTS_ON=cpu rehearses these tests on the CPU",
    ),
]
DEVICE = torch.device("cpu" if REHEARSAL else "cuda")
# On a card the head's real widths; in the rehearsal those of tiny_run.
SCRIPT = ROOT / ("tests/tiny_train.py" if REHEARSAL else "train.py")
SIZES = ["--batch-size", "16", "--pca-basis", "8"] if REHEARSAL else [
    "--limit-train", "1200", "--limit-test", "100", "--batch-size", "128", "--pca-basis", "512",
]  # fmt: skip
ARGUMENTS = [
    "--dataset", "shapes", "--weights", "random", "--val-fraction", "0.2", "--epochs", "3", "--lr", "1e-3", *SIZES,
]  # fmt: skip
NO_DROPOUT = ["--dropout", "0", "0", "0"]  # whose masks on a GPU are others than on a CPU
# The user's card: a GTX 1660 SUPER.
CARD_BYTES = 6 * 2**30
# What CUDA's context and a desktop take of it, about.
TAKEN_BYTES = 2**30


@pytest.fixture(scope="module", autouse=True)
def here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
        if REHEARSAL:
            patch.setenv("ACCELERATE_USE_CPU", "1")
            shrink(patch.setattr)
        yield


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("card")
    return ["--cache-dir", str(folder / "cache"), "--runs-dir", str(folder / "runs")]


@pytest.fixture
def measured(record_property):
    """Notes a figure for the table at the end."""
    return lambda what, figure: record_property("measured", (what, figure))


@contextmanager
def seconds(measured, what: str):
    wait_for_device()
    began = time.perf_counter()
    yield
    wait_for_device()
    measured(what, f"{time.perf_counter() - began:.2f} s")


def wait_for_device() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def train_here(places, name: str, *arguments: str) -> int:
    AcceleratorState._reset_state(True)
    PartialState._reset_state()
    return train.main([*arguments, *places, "--name", name, "--quiet"] if name else [*arguments, *places, "--quiet"])


def figures(places, name: str) -> list[dict]:
    return outcome(Path(places[-1]) / name)["metrics"]


def config(places, name: str) -> dict:
    return json.loads((Path(places[-1]) / name / "config.json").read_text(encoding="utf-8"))


def speed(places, name: str, first: int = 0) -> str:
    lines = (Path(places[-1]) / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[first:]
    return f"{max(json.loads(line)['images_per_second'] for line in lines):,.0f} images/s"


def assert_same_curve(found, expected, tolerance: float) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for name in ("train_loss", "val_loss"):
            assert a[name] == pytest.approx(b[name], rel=tolerance), name


@pytest.fixture(scope="module")
def curve_of_cpu(places) -> list[dict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "1")
        assert train_here(places, "cpu", *ARGUMENTS, "--skip", *NO_DROPOUT, "--mixed-precision", "no") == 0
    return figures(places, "cpu")


def test_features_are_torchvisions_in_true_fp32(measured):
    weights = load_weights("random").state
    rng = np.random.default_rng(0)
    layers = torchvision.models.alexnet(weights=None).features.double().eval()
    layers.load_state_dict(weights)
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    backbone = FrozenAlexNet(weights).to(DEVICE)
    for side in (32, IMAGE_SIZE, 300):
        images = rng.integers(0, 256, (8, side, side, 3), dtype=np.uint8)
        pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255 - mean) / std
        if side != IMAGE_SIZE:
            pixels = F.interpolate(pixels, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=side > IMAGE_SIZE)
        with torch.no_grad():
            tap = layers[:9](pixels)
            main = layers[9:](tap.clone())
            found = backbone(torch.from_numpy(images).to(DEVICE))
        for a, b in zip(found, (main, F.adaptive_avg_pool2d(tap, 6)), strict=True):
            # TF32 would be 6e-4 away.
            assert float((a.cpu().double() - b).norm() / b.norm()) < 2e-5, side
    batch = torch.from_numpy(rng.integers(0, 256, (16 if REHEARSAL else 512, 32, 32, 3), dtype=np.uint8)).to(DEVICE)
    backbone(batch)
    with seconds(measured, f"features of {len(batch)} images"):
        backbone(batch)


def test_the_head_passes_its_self_test_in_fp16_at_the_batch_size_of_training(measured):
    measured("device", describe(DEVICE).name)
    with seconds(measured, "self-test of fp16"):
        assert fp16_self_test(DEVICE, 16 if REHEARSAL else 512) is None


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 2e-3), ("bf16", 3e-2), ("fp16", 1e-2)])
def test_the_second_stage_follows_the_cpus_curve(places, monkeypatch, measured, precision, tolerance):
    """Convolutions that learn, forward and back: in fp16 they stay in fp32, where a GTX 16xx would give NaN."""
    if REHEARSAL and precision == "fp16":
        pytest.skip("the rehearsal has no scaler in two stages")
    few = ["--limit-train", "20" if REHEARSAL else "400", "--val-fraction", "0.5", "--epochs", "1", *NO_DROPOUT]
    second = ["--finetune", "1" if REHEARSAL else "3", "--finetune-epochs", "1", "--finetune-lr", "1e-4"]
    arguments = [*ARGUMENTS, "--skip", *few, *second]
    if not (Path(places[-1]) / "cpu-tuned").exists():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ACCELERATE_USE_CPU", "1")
            assert train_here(places, "cpu-tuned", *arguments, "--mixed-precision", "no") == 0
    with seconds(measured, f"run of both stages in {precision}"):
        assert train_here(places, f"tuned-{precision}", *arguments, "--mixed-precision", precision) == 0
    found = figures(places, f"tuned-{precision}")
    assert_same_curve(found, figures(places, "cpu-tuned"), tolerance)
    assert found[-1]["layer10_moved"] > 0
    measured(f"fine-tuning in {precision}", speed(places, f"tuned-{precision}", -1))


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 2e-3), ("bf16", 3e-2), ("fp16", 1e-2)])
def test_training_follows_the_cpus_curve(places, curve_of_cpu, monkeypatch, measured, precision, tolerance):
    if REHEARSAL and precision == "fp16":
        start = launch.start

        def on_cpu(mixed_precision, *arguments, **options):
            accelerator, chosen = start("no", *arguments, **options)
            return with_fp16(accelerator), chosen

        monkeypatch.setattr(launch, "start", on_cpu)
    arguments = [*ARGUMENTS, "--skip", *NO_DROPOUT, "--mixed-precision", precision]
    with seconds(measured, f"run in {precision}, with features where they lack"):
        assert train_here(places, precision, *arguments) == 0
    assert_same_curve(figures(places, precision), curve_of_cpu, tolerance)
    if not (REHEARSAL and precision == "fp16"):
        assert config(places, precision)["precision"]["mixed_precision"] == precision
    assert config(places, precision)["device"].startswith(DEVICE.type)
    measured(f"training in {precision}", speed(places, precision))


@pytest.mark.parametrize("skip", ["--no-skip", "--skip"])
def test_resident_and_streamed_features_train_alike(places, monkeypatch, measured, skip):
    gather, curves, used = source.CachedFeatures._gather, {}, []
    monkeypatch.setattr(
        source.CachedFeatures, "_gather", lambda f, *a: [used.append(bool(f._resident)), gather(f, *a)][1]
    )
    for how, room in (("resident", 10**12), ("streamed", 0)):
        monkeypatch.setattr(source, "free_device_bytes", lambda device, room=room: room)
        used.clear()
        name = how + skip
        assert train_here(places, name, *ARGUMENTS, skip, *NO_DROPOUT) == 0
        assert set(used) == {how == "resident"}
        measured(f"training from {how} features, {skip}", speed(places, name))
        curves[how] = figures(places, name)
    assert_same_curve(curves["resident"], curves["streamed"], 1e-3)


def test_an_interrupted_run_goes_on_to_the_same_end(places, monkeypatch):
    """With dropout: the card's random numbers are saved, too."""
    arguments = [*ARGUMENTS, "--no-skip", "--dropout", "0.2", "0.4", "0.3"]
    arguments += [] if REHEARSAL else ["--batch-size", "32"]  # 30 steps an epoch: within it a card looks each 16
    assert train_here(places, "whole", *arguments) == 0
    after_step, steps = Trainer._after_step, []

    def stop(trainer):
        steps.append(1)
        if len(steps) == trainer.steps_per_epoch + 2:
            signal.raise_signal(signal.SIGTERM)  # which Windows, unlike os.kill, lets a process catch
        after_step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_after_step", stop)
        assert train_here(places, "stopped", *arguments) == 143
    _, saved = CheckpointStore(Path(places[-1]) / "stopped" / "checkpoints", keep=1).newest(pytest.fail)
    assert (saved["run"]["epoch"], saved["run"]["progress"]["steps"]) == (2, 2 if REHEARSAL else READ_STEPS)
    assert train_here(places, "", "--resume", "stopped") == 0
    assert_same_curve(figures(places, "stopped"), figures(places, "whole"), 1e-3)


def start_script(places, name: str, log: Path, *launcher: str) -> subprocess.Popen:
    command = [sys.executable, *launcher, str(SCRIPT), *ARGUMENTS, "--no-skip", *places, "--name", name]
    with log.open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)


def test_accelerate_launch_starts_it_on_the_card(places, tmp_path):
    launcher = ("-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no")  # fmt: skip
    started = start_script(places, "launched", tmp_path / "log", *launcher)
    assert started.wait(timeout=200) == 0, (tmp_path / "log").read_text()
    assert config(places, "launched")["device"].startswith(DEVICE.type)


def test_two_trainings_share_a_card_and_a_cold_cache(tmp_path, measured):
    places = ["--cache-dir", str(tmp_path / "cache"), "--runs-dir", str(tmp_path / "runs")]
    with seconds(measured, "two trainings at once, cold"):
        started = [start_script(places, name, tmp_path / name) for name in ("one", "two")]
        codes = [process.wait(timeout=240) for process in started]
    assert codes == [0, 0], "".join((tmp_path / name).read_text() for name in ("one", "two"))
    assert_same_curve(figures(places, "one"), figures(places, "two"), 1e-3)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.fixture
def small_card(monkeypatch) -> int:
    """A card of 6 GB, or what a larger one is like that gives no more; returns its bytes."""
    if DEVICE.type == "cuda":
        _, total = torch.cuda.mem_get_info()
        room = min(CARD_BYTES, total) - TAKEN_BYTES
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_per_process_memory_fraction(room / total)
        free = source.free_device_bytes
        capped = lambda device: min(free(device), room - torch.cuda.memory_allocated(device))  # noqa: E731
        monkeypatch.setattr(source, "free_device_bytes", capped)
        yield room
        torch.cuda.set_per_process_memory_fraction(1.0)
    else:
        monkeypatch.setattr(source, "free_device_bytes", lambda device: CARD_BYTES // 1000)
        yield CARD_BYTES


@pytest.mark.parametrize(("recipe", "skip"), [("fast", "conv"), ("report", "concat")])
def test_the_widest_heads_train_on_a_card_of_6_gb(small_card, places, measured, recipe, skip):
    wide = ["--skip-mode", skip, "--recipe", recipe, "--epochs", "1"]
    wide += [] if REHEARSAL else ["--batch-size", "512", *(["--pca-basis", "2048"] if recipe == "fast" else [])]
    basis = [] if recipe == "fast" else ["--pca-basis", "0"]
    assert train_here(places, f"wide-{skip}", *ARGUMENTS, "--skip", *wide, *basis) == 0
    if DEVICE.type == "cuda":
        # That it is below the cap, the allocator has seen to.
        measured(f"peak memory, {recipe} with {skip}", f"{torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB")
    else:
        measured(f"peak memory, {recipe} with {skip}", f"{peak_memory_mib() or 0:,.0f} MiB (of the process)")


@pytest.mark.parametrize(("num_arrays", "resident"), [(1, True), (4, False)])
def test_of_cifars_features_a_card_of_6_gb_holds_one_array_and_streams_four(small_card, num_arrays, resident):
    rows = 50 if REHEARSAL else 50_000
    arrays = [np.ones((rows, 9216), np.float16) for _ in range(num_arrays)]
    views = [(arrays[0], None)] if num_arrays == 1 else [(arrays[0], arrays[1]), (arrays[2], arrays[3])]
    features = source.CachedFeatures(views, DEVICE)
    main, _ = features.fetch(np.arange(0, rows, 7))
    assert main.device.type == DEVICE.type
    assert main.mean().item() == 1
    assert bool(features._resident) == resident


def test_a_step_from_a_loss_that_is_not_finite_is_not_taken_on_the_device():
    """The fused optimizer obeys the flag that the device itself has set."""
    layer = nn.Linear(8, 4).to(DEVICE)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    before = layer.weight.detach().clone()
    layer(torch.ones(2, 8, device=DEVICE)).sum().backward()
    optimizer.found_inf = torch.ones((), device=DEVICE)
    optimizer.step()
    assert torch.equal(layer.weight, before)
    optimizer.found_inf = torch.zeros((), device=DEVICE)
    optimizer.step()
    assert not torch.equal(layer.weight, before)
