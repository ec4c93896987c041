"""However a flag is spelt, all that read the command line read the same."""

import functools
import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis import settings as limits

from alexnet_skip.settings.command_line import arguments_or_own, last_value, to_dict
from alexnet_skip.settings.train import RunSettings, TrainSettings
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.system.files import write_sealed_json

# Values hold what must be left as it is: underscores, an equals sign.
GIVEN = {
    "--runs-dir": "my_runs=a-b", "--recipe": "report", "--cache-dir": "a_b", "--val-fraction": "0.25", "--name": "x_y",
    "--limit-train": "100", "--class-weights": "balanced",
}  # fmt: skip


@functools.cache
def plainly_spelt() -> TrainSettings:
    return parse_train([word for pair in GIVEN.items() for word in pair])


@st.composite
def spelt(draw, flag: str, value: str):
    flag = "--" + "".join(draw(st.sampled_from("-_")) if letter == "-" else letter for letter in flag[2:])
    return draw(st.sampled_from(([flag, value], [f"{flag}={value}"])))


@given(st.data())
@limits(max_examples=20, deadline=None)
def test_any_mix_of_spellings_in_any_order_gives_the_same_settings(data):
    order = data.draw(st.permutations(list(GIVEN.items())))
    found = parse_train([word for flag, value in order for word in data.draw(spelt(flag, value))])
    assert found == plainly_spelt()
    assert found.training.epochs == 100  # the recipe's, found before the parser proper


@given(st.data(), st.lists(st.sampled_from(["a_b", "c", "d-e", "f=g"]), min_size=1, max_size=4))
@limits(max_examples=20, deadline=None)
def test_the_last_of_several_counts_whatever_their_spellings_as_for_the_parser(data, values):
    arguments = [word for value in values for word in data.draw(spelt("--runs-dir", value))]
    assert last_value(arguments_or_own(arguments), "--runs-dir") == values[-1]
    assert parse_train(arguments).run.runs_dir == Path(values[-1])


def unfinished(runs_dir: Path, name: str) -> Path:
    folder = runs_dir / name
    folder.mkdir(parents=True)
    config = {"settings": to_dict(TrainSettings(run=RunSettings(runs_dir))), "dataset": {"name": "shapes"}}
    write_sealed_json(folder / "config.json", config | {"created": json.dumps(str(folder))})
    (folder / "metrics.jsonl").touch()
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runs_dir", "other", "--resume"], ["--runs_dir=other", "--resume"], ["--resume", "--runs-dir=other"],
        ["--resume", "--runs_dir", "other"], ["--runs-dir", "runs", "--resume=", "--runs_dir", "other"],
        ["--resume=in_other", "--runs_dir", "other"], ["--runs_dir", "other", "--resume", "in_other"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_resume_looks_into_the_folder_that_was_named(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unfinished(Path("runs"), "in_runs")
    unfinished(Path("other"), "in_other")
    assert Path(parse_train(arguments).checkpoints.resume) == Path("other/in_other")
