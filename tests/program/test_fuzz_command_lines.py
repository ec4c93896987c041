"""Any command line is understood, or refused with 2; nothing else, and never a traceback."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_skip.settings import command_line, evaluate, train, train_arguments
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.system.errors import UserError

TRAIN = [
    "--skip", "--no-skip", "--skip-mode", "--recipe", "--weights", "--dataset", "--data-dir", "--data-archive",
    "--skip-unreadable", "--limit-train", "--limit-test", "--epochs", "--batch-size", "--lr", "--weight-decay",
    "--dropout", "--label-smoothing", "--class-weights", "--hflip", "--no-hflip", "--val-fraction", "--pca-basis",
    "--seed", "--mixed-precision", "--force-precision", "--cache-dir", "--cache", "--no-cache", "--runs-dir", "--name",
    "--snapshot-epochs", "--quiet", "--resume", "--checkpoint-minutes", "--checkpoint-epochs", "--keep-checkpoints",
    "--study", "--seeds",
]  # fmt: skip
EVALUATE = [
    "--topk", "--run", "--split", "--checkpoint", "--tta", "--dataset", "--runs-dir", "--quiet", "--images",
    "--compare", "--table", "--export", "--redraw", "--fit-temperature", "--explain", "--dry-run",
]  # fmt: skip
EMBED = ["--run", "--split", "--layer", "--checkpoint", "--runs-dir", "--quiet", "--components", "--dry-run"]
WORDS = ["conv", "identity", "auto", "no", "fp16", "report", "fast", "test", "val", "best", "epoch-1", "1 3"]
VALUES = st.one_of(
    st.sampled_from(
        ["conv", "identity", "auto", "no", "fp16", "report", "fast", "test", "val", "best", "epoch-1", "1 3"]
    ),
    st.integers(-3, 10**12).map(str),
    st.floats().map(repr),
    st.text(max_size=8),
    st.sampled_from(["", "-", "--", "=", "nan", "None", "../..", "a b", "\x00", "{}", "[]", "\u202e", "1e400", "0x10"]),
)


def lines(flags: list[str]) -> st.SearchStrategy[list[str]]:
    flag = st.sampled_from(flags)
    joined = st.tuples(flag, VALUES).map("=".join)
    misspelt = st.tuples(flag, st.integers(2, 12)).map(lambda pair: pair[0][: pair[1]])
    return st.lists(st.one_of(flag, flag, VALUES, joined, misspelt), max_size=8)


def understood(parse: Callable[[list[str]], Any], arguments: list[str]) -> Any:
    """The settings, or None for a command line that is refused as it should be."""
    said, code = io.StringIO(), 2
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parse(arguments)
    except UserError as error:
        said.write(str(error))
    except SystemExit as end:
        code = end.code
    assert code == 2 or "-h" in arguments or "--help" in arguments
    assert said.getvalue()
    assert "Traceback" not in said.getvalue()
    return None


def check_train(arguments: list[str]) -> None:
    found = understood(train_arguments.parse_train, arguments)
    if found is not None:
        assert command_line.from_dict(type(found), to_dict(found)) == found, "settings survive their JSON"


FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(lines(TRAIN))
def test_any_command_line_of_train(arguments):
    check_train(arguments)


@FEW
@given(lines(EVALUATE))
def test_any_command_line_of_evaluate(arguments):
    understood(evaluate.parse_evaluate, arguments)


@FEW
@given(lines(EMBED))
def test_any_command_line_of_embed(arguments):
    embed_config = pytest.importorskip("alexnet_skip.settings.embed")
    understood(embed_config.parse_embed, arguments)


@FEW
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(
                st.sampled_from(["skip", "training", "epochs", "data", "run", "dropout", "weights", "name"])
                | st.text(),
                s,
            )
        ),
    )
)
def test_settings_of_any_other_shape_are_refused_not_believed(values):
    try:
        found = command_line.from_dict(train.TrainSettings, values)
    except (UserError, TypeError, ValueError, AttributeError):
        return
    assert command_line.from_dict(train.TrainSettings, to_dict(found)) == found


@pytest.mark.soak
@pytest.mark.parametrize("script", ["train", "evaluate", "embed"])
def test_soak_five_thousand_command_lines(script):
    flags = {"train": TRAIN, "evaluate": EVALUATE, "embed": EMBED}[script]
    module = pytest.importorskip(f"alexnet_skip.settings.{script}")
    parse = getattr(module, f"parse_{script}")

    @MANY
    @given(lines(flags))
    def check(arguments):
        check_train(arguments) if script == "train" else understood(parse, arguments)

    check()


def test_a_resumed_run_of_a_damaged_config_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    for text in ("{", "{}", '{"settings": 3}', '{"settings": {"data": 1}, "dataset": {"source": 2}}', "\x00"):
        Path(tmp_path / "run" / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json"):
            train_arguments.parse_train(["--resume", "run", "--runs-dir", str(tmp_path)])
