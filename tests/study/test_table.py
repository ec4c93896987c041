"""The report's numbers fit each other, and its table is made from ours."""

import csv
import json

import numpy as np
import pytest
from made_runs import make_predictions, make_run
from PIL import Image
from scipy import stats

import evaluate
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.statistics.metrics import confusion_matrix
from alexnet_skip.study.source_report import CELLS, CLASS_NAMES
from alexnet_skip.study.table import least_paired_p, report_facts
from alexnet_skip.study.table_files import MAX_LISTED_PAIRS


@pytest.mark.parametrize("cell", CELLS)
def test_the_reports_matrices_fit_its_accuracies(cell):
    top1, top3, confusion = CELLS[cell]
    np.testing.assert_array_equal(confusion.sum(axis=1), 1000)
    assert np.trace(confusion) / 10_000 == top1 < top3


def test_the_reports_low_epoch_cells_are_the_same_and_its_high_ones_twelve_images_apart():
    np.testing.assert_array_equal(CELLS["low", False].confusion, CELLS["low", True].confusion)
    apart = np.trace(CELLS["high", True].confusion) - np.trace(CELLS["high", False].confusion)
    assert apart == 12
    table = [[8345, 8357], [1655, 1643]]
    p = stats.chi2_contingency(table, correction=False).pvalue
    facts = " ".join(report_facts())
    assert f"p = {p:.2f} (two proportions)" in facts
    assert "no difference can be claimed" in facts


def test_no_pair_of_predictions_with_these_matrices_is_more_significant(rng):
    """The bound holds for random pairs of classifiers, and is reached where nobody is right alone twice in a class."""
    for _ in range(50):
        labels = rng.integers(0, 4, 300)
        said = [np.where(rng.random(300) < level, labels, rng.integers(0, 4, 300)) for level in (0.6, 0.65)]
        a, b = (np.histogram2d(labels, s, bins=(range(5), range(5)))[0].astype(int) for s in said)
        right_a, right_b = (s == labels for s in said)
        only_a, only_b = (right_a & ~right_b).sum(), (right_b & ~right_a).sum()
        discordant, p = least_paired_p(a, b)
        assert discordant <= only_a + only_b
        assert p <= stats.binomtest(only_b, only_a + only_b).pvalue + 1e-12
    a, b = np.array([[5, 5], [4, 6]]), np.array([[8, 2], [5, 5]])
    assert least_paired_p(a, b) == (4, pytest.approx(stats.binomtest(1, 4).pvalue))


@pytest.fixture
def runs(tmp_path, rng):
    for variant, gain in (("none", 0.0), ("conv", 0.1)):
        for seed in (0, 1):
            evaluations = {"test-epoch-1": make_predictions(0.5 + gain, rng)}
            evaluations["test-epoch-4"] = make_predictions(0.7 + gain, rng)
            make_run(tmp_path / "s" / f"{variant}{seed}", evaluations, CLASS_NAMES, variant=variant, seed=seed)
        for epochs, accuracy in ((2, 0.5), (9, 0.7)):
            evaluations = {"test-last": make_predictions(accuracy + gain, rng)}
            make_run(tmp_path / f"{variant}-{epochs}", evaluations, CLASS_NAMES, variant=variant, epochs=epochs)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """No picture is made: what is said and kept is looked at."""
    for name in ("confusion_table_figure", "save_figure"):
        monkeypatch.setattr(f"alexnet_skip.study.table.{name}", lambda *_: None)


def table(runs, *names: str) -> int:
    return evaluate.main(["--table", *names, "--runs-dir", str(runs)])


def test_a_studys_table_stands_beside_the_reports(runs, capsys):
    assert table(runs, "s") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out.splitlines()[-1])
    assert list(result["columns"]) == ["report, no skip", "no skip", "report, skip", "skip (conv)"]
    text = (runs / "s" / "table" / "test.md").read_text(encoding="utf-8")
    ours = np.mean(result["columns"]["skip (conv)"]["top1"][1])
    for shown in ("78.65 / 94.83", "83.57 / 96.72", f"{100 * ours:.2f} / ", "Low epoch (1)", "p = 0.82"):
        assert shown in captured.err
        assert shown in text
    assert "902   1   8   8  24   1   2  14  37   3" in text, "the matrices are in it"
    with (runs / "s" / "table" / "test.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8
    (high,) = [line for line in lines if (line["epoch"], line["column"]) == ("high", "report, skip")]
    assert (high["top1"], high["cat as cat"], high["cat as dog"]) == ("0.835700", "829", "80")
    (own,) = [line for line in lines if (line["epoch"], line["column"]) == ("high", "skip (conv)")]
    hits = sum(int(own[f"{name} as {name}"]) for name in CLASS_NAMES)
    assert hits / (2 * 400) == pytest.approx(float(own["top1"]), abs=1e-6) == pytest.approx(ours, abs=1e-6)
    with Image.open(runs / "s" / "table" / "test.png") as image:
        pixels = np.array(image.convert("L"))
    assert (np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])) == 255).all(), "nothing is cut off"


@pytest.mark.usefixtures("undrawn")
def test_four_runs_make_the_table_in_any_order(runs, capsys):
    assert table(runs, "conv-9", "none-2", "conv-2", "none-9", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)
    columns = result["columns"]
    assert columns["no skip"]["top1"][0][0] < columns["no skip"]["top1"][1][0]
    low, high = ([read_predictions(runs / f"{form}-{n}" / "evaluation" / "test-last") for form in ("none", "conv")]
                 for n in (2, 9))  # fmt: skip
    for column, name in enumerate(("no skip", "skip (conv)")):
        assert columns[name]["top1"] == [[low[column].correct.mean()], [high[column].correct.mean()]]
    assert list(columns) == ["report, no skip", "no skip", "report, skip", "skip (conv)"]
    assert table(runs, "conv-9", "none-2", "conv-2") == 2
    assert "name a study, or four runs" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_the_table_of_four_runs_is_kept_under_the_names_of_all_and_of_their_model(runs, rng, capsys):
    other = {"test-last": make_predictions(0.9, rng), "test-epoch-1": make_predictions(0.9, rng)}
    make_run(runs / "other", other, CLASS_NAMES, variant="conv", epochs=9)
    for partner in ("conv-9", "other"):
        assert table(runs, partner, "none-2", "conv-2", "none-9", "--quiet") == 0
    folder = runs / "none-9" / "table"
    expected = {f"test-last-with-{partner}+none-2+conv-2.md" for partner in ("conv-9", "other")}
    assert {path.name for path in folder.glob("*.md")} == expected
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0]["table"] == str(folder / "test-last-with-conv-9+none-2+conv-2.md")


@pytest.mark.usefixtures("undrawn")
def test_what_a_studys_table_leaves_out_stands_below_it(runs, capsys):
    (runs / "s" / "conv1" / "summary.json").unlink()
    assert table(runs, "s") == 0
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)["left_out"]) == {"conv1", "none1"}
    for text in (captured.err, (runs / "s" / "table" / "test.md").read_text(encoding="utf-8")):
        assert "Left out, 2 of the study's runs: conv1 (not finished); none1" in " ".join(text.split())


def test_other_classes_stand_alone(tmp_path, rng, capsys):
    for variant in ("none", "conv"):
        evaluations = {f"test-epoch-{epoch}": make_predictions(0.5, rng, classes=12) for epoch in (1, 4)}
        make_run(tmp_path / "s" / variant, evaluations, tuple("abcdefghijkl"), variant=variant)
    assert table(tmp_path, "s") == 0
    captured = capsys.readouterr()
    assert "not the report's ten classes" in captured.err
    assert list(json.loads(captured.out)["columns"]) == ["no skip", "skip (conv)"]


def study_of(folder, rng, classes: int):
    """A study without and with the skip, and its files' names without their endings."""
    names = tuple(f"c{number}" for number in range(classes))
    for variant in ("none", "conv"):
        evaluations = {f"test-epoch-{epoch}": make_predictions(0.5, rng, classes=classes) for epoch in (1, 4)}
        make_run(folder / "s" / variant, evaluations, names, variant=variant)
    return folder / "s" / "table" / "test"


def test_of_two_classes_only_top1_is_shown(tmp_path, rng, capsys):
    files = study_of(tmp_path, rng, 2)
    assert table(tmp_path, "s", "--quiet") == 0
    assert all(set(column) == {"top1"} for column in json.loads(capsys.readouterr().out)["columns"].values())
    text = files.with_suffix(".md").read_text(encoding="utf-8")
    assert "top-1 %\n" in text
    assert "top-3" not in text + files.with_suffix(".csv").read_text(encoding="utf-8")


def test_of_many_classes_the_most_confused_pairs_are_listed_and_that_is_said(tmp_path, rng, capsys):
    files = study_of(tmp_path, rng, 300)
    assert table(tmp_path, "s") == 0
    said = f"Of 300 classes the files list the {MAX_LISTED_PAIRS} most confused pairs"
    assert said in " ".join(capsys.readouterr().err.split())
    assert said in files.with_suffix(".md").read_text(encoding="utf-8")
    assert files.with_suffix(".md").stat().st_size < 10_000
    with files.with_suffix(".csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    pairs = [name.split(" as ") for name in lines[0] if " as " in name]
    assert len(pairs) == MAX_LISTED_PAIRS
    matrices = {}
    for variant, column in (("none", "no skip"), ("conv", "skip (conv)")):
        for epoch, name in ((1, "low"), (4, "high")):
            found = read_predictions(tmp_path / "s" / variant / "evaluation" / f"test-epoch-{epoch}")
            matrices[name, column] = confusion_matrix(found.labels, found.predicted, 300)
    total = sum(matrices.values())
    np.fill_diagonal(total, 0)
    listed = [tuple(int(name[1:]) for name in pair) for pair in pairs]
    assert sorted(total[pair] for pair in listed) == sorted(np.sort(total, axis=None)[-MAX_LISTED_PAIRS:])
    for line in lines:
        matrix = matrices[line["epoch"], line["column"]]
        assert [int(line[" as ".join(pair)]) for pair in pairs] == [matrix[pair] for pair in listed]
