"""What figures depend on is told of every run, and the commands make these very figures again."""

import pytest
from made_runs import make_predictions, make_run, tell

from alexnet_skip.report import facts
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.settings.evaluate import parse_evaluate
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.study.source_report import CLASS_NAMES

TEXT = load_text("en")


def words_after(script: str, command: str) -> list[str]:
    assert script in command
    return command.partition(script)[2].split()


def test_settings_images_and_machines_in_which_runs_differ_are_told_of_each(tmp_path):
    for name, seed in (("a", 0), ("b", 7)):
        make_run(tmp_path / name, {}, CLASS_NAMES, seed=seed)
    tell(tmp_path / "a", num_train=900, num_val=100, device="cpu", environment={"torch": "2.14.1"})
    tell(tmp_path / "b", num_train=700, num_val=100, device="cuda", environment={"torch": "2.14.1"},
         settings={"training": {"lr": 0.5}, "finetuning": {"finetune": 2}})  # fmt: skip
    subject = find_subject(tmp_path, ["a", "b"])
    settings, data = dict(facts.settings_rows(subject, TEXT)), dict(facts.data_rows(subject, TEXT))
    assert settings["--lr"] == "0.002 (a); 0.5 (b)"
    assert settings["--seed"] == "0 (a); 7 (b)"
    assert settings["--finetune"] == "– (a); 2 (b)"
    assert settings["--epochs"] == "4"
    assert data["images trained on"] == "900 (a); 700 (b)"
    assert data["device × processes"] == "cpu × 1 (a); cuda × 1 (b)"
    assert (data["images held out"], data["torch"]) == ("100", "2.14.1")


def test_a_run_of_a_study_that_another_machine_trained_is_told(tmp_path):
    for seed in (0, 1):
        run = make_run(tmp_path / "s" / f"conv-seed{seed}", {}, CLASS_NAMES, variant="conv", seed=seed)
        tell(run, device=("cpu", "cuda")[seed])
    subject = find_subject(tmp_path, ["s"])
    assert dict(facts.data_rows(subject, TEXT))["device × processes"] == "cpu × 1 (conv-seed0); cuda × 1 (conv-seed1)"
    assert dict(facts.settings_rows(subject, TEXT))["--seed"] == "0 1"


@pytest.mark.parametrize(
    ("done", "asked"),
    [
        ((), [("test", "best")]),
        (("test-best",), [("test", "best")]),
        (("val-best",), [("val", "best")]),
        (("val-last",), [("val", "last")]),
        (("test-epoch-1", "test-epoch-4"), [("test", "epoch-1"), ("test", "epoch-4")]),
    ],
)
def test_the_commands_of_a_run_evaluate_the_split_and_the_models_that_the_page_is_of(tmp_path, rng, done, asked):
    make_run(tmp_path / "a", {name: make_predictions(0.6, rng) for name in done}, CLASS_NAMES)
    _, *evaluations = facts.commands(find_subject(tmp_path, ["a"]), TEXT)
    read = [parse_evaluate(words_after("evaluate.py", command)) for command in evaluations]
    assert [(settings.split, settings.checkpoint) for settings in read] == asked
    assert {settings.run for settings in read} == {(tmp_path / "a").as_posix()}


def child_of(parent, **more):
    child = make_run(parent.parent / "child", {}, CLASS_NAMES, variant="conv")
    tell(child, settings={"finetuning": {"finetune": 2, "finetune_from": str(parent)}, **more})
    return child


@pytest.mark.parametrize("names", [["child"], ["child", "parent"], ["parent", "child"]])
def test_the_run_that_another_begins_with_is_made_first_and_once(tmp_path, names):
    parent = make_run(tmp_path / "parent", {}, CLASS_NAMES, variant="conv", epochs=3)
    child_of(parent)
    commands = facts.commands(find_subject(tmp_path, names), TEXT)
    first, second, *rest = [command for command in commands if "train.py" in command]
    assert not rest
    assert parse_train(words_after("train.py", first)).training.epochs == 3
    assert "finetune" not in first
    assert f"--finetune-from {parent}" in second
    if names[0] == "child":
        place = parse_train(words_after("train.py", first)).run
        assert place.runs_dir / (place.name or "") == parent, "where the second looks for it"


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_parent_that_is_gone_is_named(tmp_path, lang):
    child_of(tmp_path / "gone")
    text = load_text(lang)
    first, *_ = facts.commands(find_subject(tmp_path, ["child"]), text)
    assert first == f"# {text('again.no_parent', parent=(tmp_path / 'gone').as_posix())}"
