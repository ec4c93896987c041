"""A mode takes the flags that its function looks at and refuses all others by name, those of other modes included."""

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import make_predictions, make_run
from PIL import Image
from tiny_run import copy_whole, shrink

import embed
import evaluate
from alexnet_skip.embedding import output
from alexnet_skip.evaluation import export
from alexnet_skip.settings import embed as embed_settings
from alexnet_skip.settings import evaluate as evaluate_settings
from alexnet_skip.settings.embed import EmbedSettings, parse_embed
from alexnet_skip.settings.evaluate import EvaluateSettings, parse_evaluate
from alexnet_skip.settings.modes import chosen_mode
from alexnet_skip.study import compare, explain, table
from alexnet_skip.study.source_report import CLASS_NAMES
from alexnet_skip.system.errors import UserError
from alexnet_skip.upkeep import speed_probe

# Every flag, with a value that is not its default.
FLAGS = {
    "evaluate": {
        "topk": "--topk 1 2", "images": "--images photo.png", "run": "--run mine", "split": "--split val",
        "checkpoint": "--checkpoint last", "tta": "--tta", "dataset": "--dataset shapes", "export": "--export torch",
        "fit_temperature": "--fit-temperature", "redraw": "--redraw", "compare": "--compare a b",
        "table": "--table", "report": "--report", "explain": "--explain 4",
        "lang": "--report --lang ko", "out": "--report --out page.html",
        "runs_dir": "--runs-dir elsewhere", "dry_run": "--dry-run", "quiet": "--quiet",
        "json": "--json", "verify_images": "--verify-images",
    },
    "embed": {
        "run": "--run mine", "split": "--split val", "layer": "--layer hidden2", "skip_view": "--skip-view tap",
        "checkpoint": "--checkpoint last", "components": "--components 2",
        "projector_components": "--projector-components 5",
        "max_points": "--max-points 9", "fit": "--fit split", "compare": "--compare other",
        "dataset": "--dataset shapes", "thumbnails": "--thumbnails 0", "runs_dir": "--runs-dir elsewhere",
        "dry_run": "--dry-run", "quiet": "--quiet", "json": "--json", "verify_images": "--verify-images",
    },
}  # fmt: skip
KIND = {"evaluate": EvaluateSettings, "embed": EmbedSettings}
PARSE = {"evaluate": parse_evaluate, "embed": parse_embed}
SCRIPT = {"evaluate": evaluate, "embed": embed}
OWN_WORK = {"evaluate": evaluate.evaluate, "embed": embed.embed}
MODES = {"evaluate": evaluate_settings.MODES, "embed": embed_settings.MODES}

# What is done to see what each mode's function looks at: with every flag that it takes, and on both of its ways if it
# has two. "" is the script's own work.
MINE = "--run run --split val --checkpoint last --tta --topk 1 2"
DONE = {
    "evaluate": {
        "": [f"{MINE} --dataset shapes --fit-temperature", MINE, "--run run --split val --checkpoint last"],
        "images": ["--images photo.png --run run --checkpoint last --topk 2"],
        "export": ["--export torch --run run --checkpoint last"],
        "explain": [
            "--explain 2 --run run --split val --checkpoint last",
            "--explain 2 --compare run run --split val --checkpoint last --dataset shapes",
        ],
        "compare": ["--compare none-2 conv-2 --checkpoint last --topk 2", "--compare study --split test"],
        "table": ["--table study", "--table none-2 none-9 conv-2 conv-9 --checkpoint last"],
        "report": ["--report study --lang ko --out page.html"],
        "redraw": [f"{MINE} --redraw"],
        "dry_run": [f"{MINE} --dataset shapes --dry-run", f"{MINE} --dry-run"],
    },
    "embed": {
        "": [
            "--run run --checkpoint last --skip-view tap "
            "--components 2 --max-points 9 --fit split --compare run --thumbnails 0 "
            "--dataset shapes"
        ],
        "dry_run": [
            "--run run --split val --checkpoint last --dry-run",
            "--run run --split val --dataset shapes --dry-run",
        ],
    },
}


def recorded(settings: Any, function: Callable[[Any], Any]) -> set[str]:
    """The fields of the settings that a function reads."""
    read: set[str] = set()
    names = {field.name for field in dataclasses.fields(settings)}

    class Recorder(type(settings)):
        def __post_init__(self):
            """Checked already, by reading every field."""

        def __getattribute__(self, name):
            if name in names:
                read.add(name)
            return super().__getattribute__(name)

    recorder = Recorder(**{name: getattr(settings, name) for name in names})
    assert not read
    function(recorder)
    return read


@pytest.fixture(scope="module")
def looked_at(whole_run, tmp_path_factory) -> dict[tuple[str, str], set[str]]:
    """By script and mode, the fields that were read while it did real work."""
    folder, rng = copy_whole(whole_run, tmp_path_factory.mktemp("modes"), checkpoints=False), np.random.default_rng(0)
    for skip in ("none", "conv"):
        for epochs in (2, 9):
            done = {"test-last": make_predictions(0.5, rng)}
            make_run(folder / "runs" / f"{skip}-{epochs}", done, CLASS_NAMES, variant=skip, epochs=epochs)
        done = {f"test-epoch-{epoch}": make_predictions(0.5, rng) for epoch in (1, 4)}
        make_run(folder / "runs" / "study" / skip, done, CLASS_NAMES, variant=skip)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shrink(patch.setattr)
        # Nothing is drawn: figures are made from what was read.
        for module, name in (
            (output, "write_pictures"), (compare, "_draw"), (compare, "find_split"), (table, "confusion_table_figure"),
            (table, "save_figure"), (explain, "save_figure"), (explain, "heatmaps_figure"),
        ):  # fmt: skip
            patch.setattr(module, name, lambda *_: None)
        patch.setattr(export, "export_network", lambda network, path, form: path.write_bytes(b"") or 0.0)
        patch.setattr(speed_probe, "extraction_rate", lambda *_: 100.0)
        return {
            (script, mode): set().union(*(looked_at_by(script, mode, line) for line in lines))
            for script, modes in DONE.items()
            for mode, lines in modes.items()
        }


def looked_at_by(script: str, mode: str, line: str) -> set[str]:
    settings = PARSE[script](line.split())
    assert (settings.mode.setting if settings.mode else "") == mode
    return recorded(settings, settings.mode.load() if settings.mode else OWN_WORK[script])


def flag(name: str) -> str:
    """A field of the settings as the command line has it."""
    return "--" + name.replace("_", "-")


def given(script: str, *names: str) -> dict[str, Any]:
    """The values that flags give to their fields; no name is no flag."""
    return {name: value_of(script, name) for name in names if name}


@functools.cache
def value_of(script: str, name: str) -> Any:
    return getattr(PARSE[script](FLAGS[script][name].split()), name)


@pytest.mark.parametrize("script", ["evaluate", "embed"])
def test_every_flag_and_every_mode_is_among_those_that_are_tried(script):
    assert set(FLAGS[script]) == {field.name for field in dataclasses.fields(KIND[script])}
    for name in FLAGS[script]:
        assert given(script, name)[name] != getattr(KIND[script](), name)
    assert set(DONE[script]) == {"", *(mode.setting for mode in MODES[script])}


def asks_for_another(script: str, mode: str, other: str) -> bool:
    """Whether a flag is another mode's, which takes this one's."""
    return any(row.setting == other and mode in row.takes for row in MODES[script])


PAIRS = [
    (script, mode, other)
    for script, modes in DONE.items()
    for mode in modes
    for other in FLAGS[script]
    # Beside the script's own work another mode's flag asks for that mode.
    if other != mode and (mode or other not in modes) and not asks_for_another(script, mode, other)
]


@pytest.mark.parametrize(("script", "mode", "other"), PAIRS)
def test_a_mode_takes_the_flags_that_its_function_looks_at_and_no_others(looked_at, script, mode, other):
    settings = given(script, mode, other)
    # The JSON line is printed by what runs a script, whatever it does.
    if other in looked_at[script, mode] | {"json"}:
        chosen = KIND[script](**settings).mode
        assert (chosen.setting if chosen else "") == mode
    else:
        with pytest.raises(UserError, match="has no effect with") as refusal:
            KIND[script](**settings)
        for name in (mode, other):
            assert flag(name) in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--images x.jpg --compare y", "--compare is y, which has no effect with --images: only --topk, --run, "),
        ("--compare y --images x.jpg", "--compare is y, which has no effect with --images: only --topk, --run, "),
        ("--images x.jpg --split val", "leave out --images, or --split"),
        ("--export onnx --redraw", "--redraw is given, which has no effect with --export: only --run, --checkpoint,"),
        ("--table --tta", "--checkpoint, --runs-dir, --quiet and --json have; leave out --table, or --tta"),
        ("--compare a b --run x", "--run is x, which has no effect with --compare"),
        (
            "--explain 2 --compare a b --topk 1",
            "--topk is 1, which has no effect with --explain: only --run, --compare,",
        ),
        ("--table --topk 1 --tta", "--topk is 1 and --tta is given, which has no effect with --table"),
        ("--redraw --dry-run --fit-temperature", "leave out --redraw, or --fit-temperature and --dry-run"),
        ("--dry-run --table", "--dry-run is given, which has no effect with --table"),
        ("--redraw --images a.png b.png --table", "--redraw is given and --table is given, which has no effect with"),
    ],
)
def test_a_refusal_names_flags_values_what_is_allowed_and_what_to_do(capsys, line, told):
    code, captured = evaluate.main(line.split()), capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert told in " ".join(captured.err.split())
    assert "Traceback" not in captured.err


def test_settings_made_in_python_are_held_to_the_same():
    with pytest.raises(UserError, match="--layer is logits, which has no effect with --dry-run: only --run, --split,"):
        EmbedSettings(layer="logits", dry_run=True)


@pytest.mark.parametrize("line", ["--images x.jpg --split test --no-tta", "--table --export none --checkpoint best"])
def test_a_flag_with_its_default_value_does_no_harm(line):
    assert parse_evaluate(line.split()) == parse_evaluate(line.split()[: 2 if "x.jpg" in line else 1])


@pytest.mark.parametrize(
    ("script", "mode"), [(script, mode.setting) for script, modes in MODES.items() for mode in modes]
)
def test_the_function_in_the_table_is_the_one_that_is_called(monkeypatch, capsys, script, mode):
    for row in MODES[script]:
        monkeypatch.setattr(row.place.replace(":", "."), lambda _, row=row: ({"called": row.place}, True))
    own = MODES[script][[row.setting for row in MODES[script]].index(mode)].place
    assert SCRIPT[script].main(FLAGS[script][mode].split()) == 0
    assert json.loads(capsys.readouterr().out) == {"called": own}


def test_the_documentation_shows_the_same_table():
    page = (Path(evaluate.__file__).parent / "docs" / "running.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.split("instead of evaluating |")[1].split("\n\n")[0].splitlines()]
    shown = {re.findall(r"--[a-z-]+", own)[0]: re.findall(r"--[a-z-]+", others) for own, others in rows[2:]}
    everywhere = evaluate_settings.EVERYWHERE
    assert shown == {
        flag(mode.setting): [flag(name) for name in mode.takes if name not in everywhere]
        for mode in evaluate_settings.MODES
    }


def test_without_a_modes_flag_the_script_does_its_own_work():
    assert chosen_mode(EvaluateSettings(fit_temperature=True, tta=True), evaluate_settings.MODES) is None
    assert chosen_mode(EmbedSettings(compare="other"), embed_settings.MODES) is None


def test_the_table_of_a_study_refuses_a_checkpoint(tmp_path, rng, capsys):
    for skip in ("none", "conv"):
        done = {f"test-epoch-{epoch}": make_predictions(0.5, rng) for epoch in (1, 4)}
        make_run(tmp_path / "study" / skip, done, CLASS_NAMES, variant=skip)
    assert evaluate.main(["--table", "study", "--checkpoint", "epoch-1", "--runs-dir", str(tmp_path)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--checkpoint is epoch-1, which has no effect with --table of a study" in told
    assert not (tmp_path / "study" / "table").exists()
