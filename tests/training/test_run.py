"""What a run says of itself: before it begins, and when it has ended."""

import dataclasses
import json
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_run import HELD_OUT, LEARNT, shrink
from torch import nn

from alexnet_skip.devices import agreement
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.records import read_run_config
from alexnet_skip.settings.shared import CheckpointSettings
from alexnet_skip.settings.train import RunSettings, TrainSettings
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.training import run


def test_config_says_what_the_run_was_made_of_and_where(whole_run, monkeypatch):
    shrink(monkeypatch.setattr)
    config = read_run_config(whole_run / "runs" / "run")
    images, weights = load_dataset("shapes"), load_weights("random")
    assert (config.dataset.name, config.dataset.digest) == ("shapes", images.splits["train"].digest)
    assert (config.weights.source, config.weights.sha256) == (weights.source, weights.sha256)
    assert (config.num_train, config.num_val, config.image_size, config.skipped_files) == (
        LEARNT,
        HELD_OUT,
        (32, 32),
        (),
    )
    assert (config.device, config.num_processes, config.precision.mixed_precision) == ("cpu", 1, "no")
    assert (config.settings.skip, config.settings.training.epochs, config.parent_sha256) == (True, 3, None)
    assert config.environment["torch"] == version("torch")


def test_config_says_how_many_processes_and_when(whole_run, monkeypatch):
    shrink(monkeypatch.setattr)
    about = SimpleNamespace(
        dataset=dataclasses.replace(load_dataset("shapes")), positions=range(5), num_val=2,
        weights=SimpleNamespace(source="somewhere", sha256="s" * 64),
        accelerator=SimpleNamespace(device="cuda:1", num_processes=3),
        precision=SimpleNamespace(mixed_precision="bf16", reason="a test"),
    )  # fmt: skip
    config = run.describe_run(TrainSettings(), about)
    assert (config.device, config.num_processes, config.num_train, config.num_val) == ("cuda:1", 3, 5, 2)
    assert (config.precision.mixed_precision, config.precision.reason) == ("bf16", "a test")
    assert (config.weights.source, config.weights.sha256) == ("somewhere", "s" * 64)
    passed = datetime.now(timezone.utc) - datetime.fromisoformat(config.created)
    assert timedelta(0) <= passed < timedelta(minutes=1)


def test_summary_says_what_came_of_the_run(whole_run):
    folder = whole_run / "runs" / "run"
    summary = read_json(folder / "summary.json")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: (line["val_top1"], -line["val_loss"]))
    assert (summary["dataset"], summary["skip_mode"], summary["epochs"]) == ("shapes", "conv", len(lines))
    assert summary["best_epoch"] == best["epoch"]
    for figures, line in ((summary["best"], best), (summary["last"], lines[-1])):
        assert figures["val_loss"] == line["val_loss"]
        assert figures["train_loss"] == line["train_loss"]
    seconds = summary["seconds"]
    assert {*seconds} == {"load", "extract", "basis", "train", "validate", "publish", "report"}
    assert min(seconds.values()) > 0
    assert seconds["train"] + seconds["validate"] <= lines[-1]["seconds"], "parts of what all epochs took"
    assert summary["peak_memory_mib"] > 50


@pytest.mark.parametrize("kept", [(), (1, 2, 3)])
def test_there_is_room_for_the_models_to_the_last_byte(monkeypatch, kept):
    """The best epoch's, the last one's, and each that is kept; of a head and the convolutions."""
    head, convolutions = nn.Linear(3, 2), nn.Linear(5, 1)
    needed = (2 + len(kept)) * 4 * (8 + 6)
    stand_in = SimpleNamespace(
        inputs=SimpleNamespace(published_form=lambda state: head), model=head, folder=Path("runs/one"),
        session=SimpleNamespace(backbone=convolutions),
        settings=TrainSettings(run=RunSettings(snapshot_epochs=kept)),
    )  # fmt: skip
    monkeypatch.setattr(run, "free_disk_bytes", lambda folder: needed)
    run._try_publishing(stand_in)
    monkeypatch.setattr(run, "free_disk_bytes", lambda folder: needed - 1)
    with pytest.raises(UserError, match=f"the {2 + len(kept)} models of this run need"):
        run._try_publishing(stand_in)


@pytest.mark.parametrize("main", [True, False])
def test_a_run_that_goes_on_is_locked_by_its_main_process_while_it_does(tmp_path, monkeypatch, main):
    settings = TrainSettings(checkpoints=CheckpointSettings(resume=str(tmp_path / "one")))
    (tmp_path / "one").mkdir()
    monkeypatch.setattr(run, "require_way_on", lambda *_: None)
    about = SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=main), console=SimpleNamespace(line=pytest.fail)
    )
    taken = pytest.raises(UserError, match="in use") if main else nullcontext()
    with run._run_folder(settings, about) as folder:
        assert folder == tmp_path / "one"
        with taken, folder_lock(folder, pytest.fail, wait=False):
            pass
    with folder_lock(folder, pytest.fail, wait=False):
        pass


def test_a_run_in_use_is_refused_on_every_process_alike(tmp_path, monkeypatch):
    """One that went on alone would end with a traceback of a broken connection."""
    settings, sent = TrainSettings(checkpoints=CheckpointSettings(resume=str(tmp_path))), []
    monkeypatch.setattr(run, "require_way_on", lambda *_: None)
    monkeypatch.setattr(agreement, "broadcast_object_list", lambda found: sent.append(found) or found)
    with folder_lock(tmp_path, pytest.fail):
        for main in (True, False):
            about = SimpleNamespace(
                accelerator=SimpleNamespace(is_main_process=main), console=SimpleNamespace(line=pytest.fail)
            )
            with pytest.raises(UserError, match="in use"), run._run_folder(settings, about):
                pytest.fail("it is in use")
            monkeypatch.setattr(agreement, "broadcast_object_list", lambda _: sent[len(sent) - 1])


SECOND = {"stage": 2, "parts": {"model": "its network"}}


@pytest.mark.parametrize(
    ("resume", "parent", "newest", "done", "told"),
    [
        (None, None, "not looked for", [], 0),
        (None, "runs/parent", "not looked for", ["parent"], 0),
        ("runs/one", None, None, [], 1),
        ("runs/one", "runs/parent", None, ["parent"], 1),
        ("runs/one", "runs/parent", ("step-5", {"stage": 1}), ["restored step-5"], 0),
        ("runs/one", None, ("step-5", {}), ["restored step-5"], 0),  # of a version with one stage
        ("runs/one", None, ("step-9", SECOND), ["second with its network", "restored step-9"], 0),
    ],
)
def test_a_run_begins_anew_with_its_parent_or_where_its_newest_checkpoint_stands(
    monkeypatch, resume, parent, newest, done, told
):
    def stand_in():
        finetuning = FinetuneSettings(finetune=1, finetune_from=parent)
        return SimpleNamespace(
            settings=TrainSettings(checkpoints=CheckpointSettings(resume=resume), finetuning=finetuning),
            session=SimpleNamespace(console=SimpleNamespace(line=lines.append)), folder=Path("runs/one"), state="fresh",
            checkpointer=SimpleNamespace(newest=lambda: looked.append(1) or newest),
            restore=lambda name, saved: found.append(f"restored {name}"),
        )  # fmt: skip

    lines, found, looked, second = [], [], [], []
    second_trainer = lambda first, saved: found.append(f"second with {saved}") or second.append(stand_in()) or second[0]  # noqa: E731
    monkeypatch.setattr(run, "second_trainer", second_trainer)
    monkeypatch.setattr(run, "state_of_parent", lambda trainer: found.append("parent") or "behind its parent")
    first = stand_in()
    begun = run._begin(first)
    assert begun is (second[0] if second else first)
    assert (found, len(looked)) == (done, resume is not None)
    assert first.state == ("behind its parent" if "parent" in done else "fresh")
    assert ["has no complete checkpoint" in line for line in lines] == [True] * told
