"""Care of the runs: listed as they are, and removed only by name, whole, and when nobody uses them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_predictions, make_run, tell

from alexnet_skip.runs.checkpoints import CheckpointStore
from alexnet_skip.settings.train_arguments import find_unfinished
from alexnet_skip.system.files import write_json
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.upkeep import runs as runs_care

NAMES = ("cat", "dog")


def publish(run: Path, *places: str) -> None:
    for place in places:
        (run / place).mkdir(parents=True)
        (run / place / "model.safetensors").write_bytes(b"w" * 100_000)
        write_json(run / place / "config.json", {"skip_mode": "none", "class_names": NAMES})


@pytest.fixture
def runs(tmp_path, rng) -> Path:
    """A finished run with models, one that was interrupted, one that only began, and a study of two."""
    folder = tmp_path / "runs"
    some = {"test-best": make_predictions(0.8, rng, n=20, classes=2)}
    publish(make_run(folder / "done", some, NAMES, variant="concat"), "model", "snapshots/epoch-0001")
    write_json(folder / "done" / "summary.json", {"epochs": 4, "best": {"val_top1": 0.875}})
    for name in ("stopped", "barely"):
        (make_run(folder / name, {}, NAMES) / "summary.json").unlink()
    CheckpointStore(folder / "stopped" / "checkpoints", 1).save(3, {"a": np.ones(3)})
    for seed in (0, 1):
        publish(make_run(folder / "study" / f"none-seed{seed}", {}, NAMES, seed=seed), "last")
    (folder / "study" / "report.html").write_text("a page")
    return folder


def run(capsys, runs: Path, *arguments: str):
    try:
        code = runs_care.main([arguments[0], "--runs-dir", str(runs), *arguments[1:]])
    except SystemExit as refused:
        code = refused.code
    captured = capsys.readouterr()
    said = " ".join(captured.err.split())
    return code, json.loads(captured.out.splitlines()[-1]) if code == 0 else None, said


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_run_that_is_trained_further_is_interrupted_until_it_has_come_to_its_new_end(runs, capsys):
    """As a bare --resume finds it: its summary is of before."""
    tell(runs / "done", created="2026-02-01", settings={"training": {"epochs": 9}})
    CheckpointStore(runs / "done" / "checkpoints", 1).save(3, {"a": np.ones(3)})
    _, result, _ = run(capsys, runs, "list")
    assert {entry["name"]: entry["state"] for entry in result["runs"]}["done"] == "interrupted"
    assert find_unfinished(runs, "") == runs / "done"


def test_list_tells_what_each_run_is_and_how_far_it_came(runs, capsys):
    (runs / "broken").mkdir()
    (runs / "broken" / "config.json").write_text("{")
    code, result, shown = run(capsys, runs, "list")
    assert code == 0
    told = {entry["name"]: entry for entry in result["runs"]}
    assert {name: (entry["state"], tuple(entry["models"])) for name, entry in told.items()} == {
        "done": ("finished", ("best", "epoch-1")),
        "stopped": ("interrupted", ()),
        "barely": ("begun", ()),
        "broken": ("damaged", ()),
        "study/none-seed0": ("finished", ("last",)),
        "study/none-seed1": ("finished", ("last",)),
    }
    assert (told["done"]["val_top1"], told["done"]["skip"]) == (0.875, "concat")
    assert told["done"]["usage"]["num_bytes"] >= 200_000
    assert result["num_bytes"] >= 400_000
    assert "87.50" in shown
    assert "study/" in shown
    assert "2 runs" in shown


def test_a_run_in_training_is_in_use_and_nothing_of_it_or_of_others_is_removed(runs, capsys):
    before = files(runs)
    with folder_lock(runs / "stopped", print):
        _, result, _ = run(capsys, runs, "list")
        assert {entry["name"]: entry["state"] for entry in result["runs"]}["stopped"] == "in use"
        code, _, said = run(capsys, runs, "prune", "--runs", "barely", "stopped", "--yes")
    assert code == 2
    assert "stopped is in use by" in said
    assert files(runs) == before
    with folder_lock(runs / "study", print):
        assert run(capsys, runs, "prune", "--runs", "study/none-seed0", "--published", "--yes")[0] == 2
    assert files(runs) == before


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_without_yes_it_is_only_said_what_would_go_and_how_much(runs, capsys, flags):
    os.link(runs / "done" / "model" / "model.safetensors", runs / "twin.safetensors")
    before = files(runs)
    code, result, said = run(capsys, runs, "prune", "--runs", "done", "--published", *flags)
    assert (code, result["removed"], files(runs)) == (0, [], before)
    whole = next(entry for entry in run(capsys, runs, "list")[1]["runs"] if entry["name"] == "done")["usage"]
    assert result["frees_bytes"] == whole["own_bytes"] <= whole["num_bytes"] - 100_000
    assert "Nothing was removed; give --yes" in said
    assert "are other runs' as well, and stay" in said


def test_what_is_named_goes_and_a_published_model_only_when_that_is_asked_for(runs, capsys):
    before = files(runs)
    for names in (["done"], ["study"], ["barely", "study/none-seed1"]):
        code, _, said = run(capsys, runs, "prune", "--runs", *names, "--yes")
        assert code == 2
        assert "with a published model: nothing is removed; give --published" in said
        assert files(runs) == before
    assert run(capsys, runs, "prune", "--runs", "barely", str(runs / "stopped"), "--yes")[1]["removed"] == [
        "barely",
        "stopped",
    ]
    assert sorted(path.name for path in runs.iterdir()) == ["done", "study"]
    assert run(capsys, runs, "prune", "--runs", "study/none-seed0", "--published", "--yes")[0] == 0
    assert sorted(path.name for path in (runs / "study").iterdir()) == ["none-seed1", "report.html"]
    assert run(capsys, runs, "prune", "--runs", "study/", "--published", "--yes")[0] == 0
    assert sorted(path.name for path in runs.iterdir()) == ["done"]


def test_a_copied_model_among_the_runs_counts_as_published(runs, capsys):
    publish(runs, "copied")
    assert run(capsys, runs, "prune", "--runs", "copied", "--yes")[0] == 2
    assert (runs / "copied" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--yes",), "--runs is empty"),
        (("--runs", "nothing"), "--runs names nothing, which"),
        (("--runs", ".."), "it holds"),
        (("--runs", "done", "--yes", "--dry-run"), "--dry-run is given"),
    ],
)
def test_what_can_not_be_meant_is_refused(runs, capsys, arguments, told):
    before = files(runs)
    code, _, said = run(capsys, runs, "prune", *arguments)
    assert code == 2
    assert told in said
    assert files(runs) == before
    assert runs_care.main(["list", "--runs-dir", str(runs / "nowhere")]) == 2


def test_a_copy_of_a_snapshot_is_no_snapshot(runs, capsys):
    publish(runs / "done", "snapshots/epoch-0001 - Copy", "snapshots/epoch-old")
    code, result, _ = run(capsys, runs, "list")
    assert code == 0
    (models,) = (entry["models"] for entry in result["runs"] if entry["name"] == "done")
    assert models == ["best", "epoch-1"]
