"""evaluate.py --compare says what differs, refuses what can't be compared, and needs no model."""

import dataclasses
import json
import re

import numpy as np
import pytest
from made_runs import make_predictions, make_published, make_run

import evaluate
from alexnet_skip.images.dataset import Dataset, make_split
from alexnet_skip.runs import own_images
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.study.source_report import CLASS_NAMES

ACCURACY = {"none": 0.6, "identity": 0.62, "conv": 0.85}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of all runs: a study of three variants and three seeds, and beside it single runs."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("runs")
    for variant, accuracy in ACCURACY.items():
        for seed in (0, 1, 2):
            evaluations = {f"val-epoch-{epoch}": make_predictions(accuracy, rng) for epoch in (1, 4)}
            run = folder / "my study" / f"{variant}-seed{seed}"
            make_run(run, evaluations, CLASS_NAMES, variant=variant, seed=seed)
    good = make_predictions(0.8, rng)
    make_run(folder / "one", {"test-best": good}, CLASS_NAMES)
    make_run(folder / "two", {"test-best": make_predictions(0.6, rng)}, CLASS_NAMES, variant="conv")
    make_run(folder / "other data", {"test-best": dataclasses.replace(good, digest="e" * 64)}, CLASS_NAMES)
    make_run(folder / "other samples", {"test-best": dataclasses.replace(good, index=good.index + 1)}, CLASS_NAMES)
    make_run(folder / "no predictions", {}, CLASS_NAMES)
    make_run(folder / "damaged", {"test-best": good}, CLASS_NAMES)
    (folder / "no run").mkdir()
    (folder / "no run" / "config.json").write_text("{}")
    predictions = folder / "damaged" / "evaluation" / "test-best" / "predictions.npz"
    predictions.write_bytes(predictions.read_bytes()[:-30])
    return folder


@pytest.fixture(autouse=True)
def images(monkeypatch):
    """The dataset that the made runs were evaluated on."""
    split = make_split(np.zeros((400, 8, 8, 3), np.uint8), np.arange(400) % 10, CLASS_NAMES)
    dataset = Dataset("pictures", "nowhere", CLASS_NAMES, {"val": dataclasses.replace(split, digest="d" * 64)})
    monkeypatch.setattr(own_images, "load_images", lambda *_, **options: dataset)


@pytest.fixture
def undrawn(monkeypatch):
    """No picture is made: what is said and kept is looked at."""
    monkeypatch.setattr("alexnet_skip.study.compare._draw", lambda *_: None)


def compare(runs, *names: str) -> int:
    return evaluate.main(["--compare", *names, "--runs-dir", str(runs)])


def test_a_study_is_compared_with_the_variant_without_the_skip(runs, capsys):
    assert compare(runs, "my study") == 0
    captured = capsys.readouterr()
    pairs = {pair["b"]: pair for pair in json.loads(captured.out.splitlines()[-1])["pairs"]}
    assert set(pairs) == {"skip (identity)", "skip (conv)"}
    assert [pairs[name]["claimed"] for name in ("skip (conv)", "skip (identity)")] == [True, False]
    for p in (pairs, {name: pair["over_seeds"] for name, pair in pairs.items()}):
        conv, identity = (p[name] for name in ("skip (conv)", "skip (identity)"))
        assert (conv["p_holm"], identity["p_holm"]) == (2 * conv["p"], identity["p"])  # Holm: the smaller one of two
    last = captured.err.splitlines()[-1]
    assert last == pairs["skip (conv)"]["verdict"]
    assert last.startswith("On pictures (val, n = 400) skip (conv) changes top-1 by +2")
    assert last.endswith(" for other seeds too (3 each; p corrected for 2 comparisons): it helps.")
    assert captured.err.count("p (Holm, 2 pairs)") == 2
    files = {path.name for path in (runs / "my study" / "comparison" / "val-epoch-4").iterdir()}
    stems = {f"{variant}-against-none" for variant in ("identity", "conv")}
    assert files >= {f"{stem}{end}" for stem in stems for end in (".json", ".png", "-only-none.png")}
    assert "conv-against-none-only-conv.png" in files


@pytest.mark.usefixtures("undrawn")
def test_the_newest_study_is_taken_where_none_is_named(runs, capsys):
    assert compare(runs, "--checkpoint", "epoch-1") == 0
    assert "my study" in capsys.readouterr().out
    assert (runs / "my study" / "comparison" / "val-epoch-1" / "conv-against-none.json").is_file()


@pytest.mark.usefixtures("undrawn")
def test_runs_are_compared_with_the_first_of_them(runs, capsys):
    assert compare(runs, "one", "two") == 0
    (pair,) = json.loads(capsys.readouterr().out.splitlines()[-1])["pairs"]
    assert (pair["a"], pair["b"], pair["p"]) == ("one", "two", pair["p_holm"])
    told = "On pictures (test, n = 400), two instead of one: these two models differ in top-1 by −"
    assert pair["verdict"].startswith(told)
    assert pair["verdict"].endswith("p < 0.001; one run each can't say that the skip is why.")
    assert (pair["models_differ"], pair["over_seeds"], pair["claimed"]) == (True, None, False)


@pytest.mark.parametrize(
    ("split", "checkpoint", "said"), [("val", "best", True), ("val", "last", False), ("test", "best", False)]
)
def test_that_val_has_chosen_the_best_epoch_is_said_of_it_alone(
    tmp_path, capsys, rng, monkeypatch, split, checkpoint, said
):
    monkeypatch.setattr("alexnet_skip.study.compare._draw", lambda *_: None)
    for name, accuracy in (("one", 0.6), ("two", 0.7)):
        made = {f"{split}-{checkpoint}": make_predictions(accuracy, rng)}
        make_run(tmp_path / name, made, CLASS_NAMES)
    assert compare(tmp_path, "one", "two", "--split", split, "--checkpoint", checkpoint) == 0
    assert ("its figures flatter" in " ".join(capsys.readouterr().err.split())) == said


@pytest.mark.parametrize("count", [10, 30])
def test_up_to_25_classes_stand_in_their_order_and_of_more_those_that_differ_most(
    tmp_path, capsys, rng, monkeypatch, count
):
    monkeypatch.setattr("alexnet_skip.study.compare._draw", lambda *_: None)
    names = tuple(f"kind{number:02}" for number in range(count))
    made = [make_predictions(accuracy, rng, classes=count) for accuracy in (0.5, 0.6)]
    for name, predictions in zip(("one", "two"), made, strict=True):
        make_run(tmp_path / name, {"test-best": predictions}, names)
    assert compare(tmp_path, "one", "two") == 0
    table = capsys.readouterr().err.partition("Recall per class")[2]
    shown = list(dict.fromkeys(re.findall(r"kind\d\d", table)))
    right = [[one.correct[one.labels == label].mean() for label in range(count)] for one in made]
    gains = np.round(np.subtract(right[1], right[0]), 6)
    assert len(shown) == min(count, 25)
    if count == 10:
        assert shown == list(names)
    else:
        sizes = [abs(gains[names.index(name)]) for name in shown]
        assert sizes == sorted(sizes, reverse=True)


def test_runs_that_differ_in_their_seeds_alone_are_no_evidence_for_or_against_a_method(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("alexnet_skip.study.compare._draw", lambda *_: None)
    rng = np.random.default_rng(3)
    names = [f"conv-{seed}" for seed in range(6)]
    for seed, name in enumerate(names):
        evaluations = {"test-best": make_predictions(0.6 + 0.04 * seed, rng)}
        make_run(tmp_path / name, evaluations, CLASS_NAMES, variant="conv", seed=seed)
    assert compare(tmp_path, *names) == 0
    captured = capsys.readouterr()
    pairs = json.loads(captured.out.splitlines()[-1])["pairs"]
    assert {pair["models_differ"] for pair in pairs} == {True, False}
    assert not any(pair["claimed"] for pair in pairs)
    assert {pair["verdict"].endswith("; one run each can't say why.") for pair in pairs if pair["models_differ"]} == {
        True
    }
    assert all(word not in captured.out + captured.err for word in ("it helps", "it hurts", "the skip"))


@pytest.mark.usefixtures("undrawn")
def test_a_study_of_one_seed_claims_nothing_of_the_method(tmp_path, capsys):
    rng = np.random.default_rng(4)
    for variant, accuracy in ACCURACY.items():
        evaluations = {"test-epoch-4": make_predictions(accuracy, rng)}
        make_run(tmp_path / "s" / variant, evaluations, CLASS_NAMES, variant=variant)
    assert compare(tmp_path, "s") == 0
    captured = capsys.readouterr()
    pairs = {pair["b"]: pair for pair in json.loads(captured.out.splitlines()[-1])["pairs"]}
    assert (pairs["skip (conv)"]["models_differ"], pairs["skip (conv)"]["claimed"]) == (True, False)
    assert pairs["skip (conv)"]["verdict"].endswith("one run each can't say that the skip is why.")
    assert "other seeds" not in captured.err


def test_runs_of_one_name_have_files_of_their_own(tmp_path, capsys, monkeypatch, rng):
    monkeypatch.setattr("alexnet_skip.study.compare._draw", lambda *_: None)
    runs = [tmp_path / place / "conv-seed0" for place in "abc"]
    for run in runs:
        make_run(run, {"test-best": make_predictions(0.6, rng)}, CLASS_NAMES)
    assert compare(tmp_path / "elsewhere", *map(str, runs)) == 0
    assert [pair["b"] for pair in json.loads(capsys.readouterr().out)["pairs"]] == ["b/conv-seed0", "c/conv-seed0"]
    assert {path.name for path in (runs[0] / "comparison" / "test-best").iterdir()} == {
        "b-conv-seed0-against-a-conv-seed0.json",
        "c-conv-seed0-against-a-conv-seed0.json",
    }


def test_a_folder_of_plain_runs_is_refused_by_name(tmp_path, capsys, rng):
    for name in ("one", "two"):
        make_run(tmp_path / name, {"test-best": make_predictions(0.6, rng)}, CLASS_NAMES, snapshot_epochs=())
    for command in ("--compare", "--table"):
        assert evaluate.main([command, str(tmp_path)]) == 2
        assert "is no study: --snapshot-epochs of" in " ".join(capsys.readouterr().err.split())


def test_a_run_with_itself_is_identical(runs, capsys):
    assert compare(runs, "one", "one") == 0
    assert "the predictions of these two models are identical." in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one", "other data"], "other data are other ones than those of"),
        (["one", "other samples"], "was evaluated on other samples of the same images than"),
        (["one", "no predictions"], 'no predictions" --split test --checkpoint best'),
        (["one", "damaged"], "predictions.npz is damaged"),
        (["one", "no run"], "is no run's config (it lacks 'settings')"),
        (["one"], "one run has nothing to be compared with"),
        (["one", "nowhere"], "--run nowhere: no run there"),
        (["my study", "one"], "give one study alone, or only runs"),
        (["my study", "--split", "train"], "no predictions of epoch-4 on train"),
        (["my study", "--checkpoint", "epoch-3"], "no predictions of epoch-3 on test"),
    ],
)
def test_what_can_not_be_compared_is_refused_with_a_way_out(runs, capsys, names, message):
    assert compare(runs, *names) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_without_its_images_only_the_galleries_are_missing(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        own_images, "load_images", lambda *_, **options: Dataset("pictures", "nowhere", CLASS_NAMES, {})
    )
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        make_run(tmp_path / name, {"test-best": make_predictions(0.5, rng)}, CLASS_NAMES)
    earlier = tmp_path / "a" / "comparison" / "test-best" / "b-against-a-only-b.png"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of earlier predictions")
    assert compare(tmp_path, "a", "b") == 0
    assert "No gallery" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "a" / "comparison" / "test-best").iterdir()) == [
        "b-against-a.json",
        "b-against-a.png",
    ]


def test_captions_tell_probabilities_as_the_models_do_and_never_the_true_class_as_a_mistake(
    tmp_path, capsys, monkeypatch
):
    """Of three seeds two take cats for dogs, a little surer than the third for birds; the mean says cat."""
    drawn = {}
    monkeypatch.setattr("alexnet_skip.study.compare.save_figure", lambda figure, path: drawn.setdefault(path.stem))
    monkeypatch.setattr(
        "alexnet_skip.study.compare.image_grid_figure", lambda images, captions, title: drawn.update({title: captions})
    )
    labels = np.arange(400) % 10
    sure = make_predictions(1.0, np.random.default_rng(0))
    cats = labels == CLASS_NAMES.index("cat")
    for seed, says in enumerate(("dog", "dog", "bird")):
        logits = sure.logits.copy()
        logits[cats] = 0
        logits[cats, CLASS_NAMES.index("cat")], logits[cats, CLASS_NAMES.index(says)] = 4, 4 + 0.1
        for variant, given in (("none", dataclasses.replace(sure, logits=logits)), ("conv", sure)):
            run = tmp_path / "s" / f"{variant}-{seed}"
            make_run(run, {"test-epoch-4": given}, CLASS_NAMES, variant=variant, seed=seed)
            make_published(run / "snapshots" / "epoch-0004", CLASS_NAMES, 2.0 if variant == "none" else 0.5)
    assert compare(tmp_path, "s") == 0
    (captions,) = (found for title, found in drawn.items() if found and "only skip (conv) is right" in title)
    dog = np.mean([np.exp(a / 2) / (np.exp(4 / 2) + np.exp(4.1 / 2) + 8) for a in (4.1, 4.1, 0)])
    assert {caption.splitlines()[1] for caption in captions} == {f"≠ dog {100 * dog:.0f} %"}
    told = {round(100 * float(softmax(2 * row[None])[0, 3])) for row in sure.logits[cats]}
    assert {int(re.search(r"cat (\d+) %", caption)[1]) for caption in captions} <= told


@pytest.mark.usefixtures("undrawn")
def test_an_unfinished_study_is_compared_at_the_seeds_that_all_variants_have(runs, tmp_path, capsys):
    rng = np.random.default_rng(2)
    for variant, seeds in (("none", (0, 1, 2)), ("conv", (1, 2))):
        for seed in seeds:
            evaluations = {"test-epoch-4": make_predictions(0.5, rng)}
            make_run(tmp_path / "s" / f"{variant}-{seed}", evaluations, CLASS_NAMES, variant=variant, seed=seed)
    (tmp_path / "s" / "conv-2" / "summary.json").unlink()
    assert compare(tmp_path, "s") == 0
    told = capsys.readouterr()
    result = json.loads(told.out.splitlines()[-1])
    assert set(result["left_out"]) == {"conv-2", "none-0", "none-2"}
    assert "Left out, 3 of the study's runs: conv-2 (not finished); none-0" in " ".join(told.err.split())
    (kept,) = (tmp_path / "s" / "comparison" / "test-epoch-4").glob("*.json")
    assert json.loads(kept.read_text(encoding="utf-8"))["left_out"] == result["left_out"]
    (tmp_path / "s" / "conv-1" / "summary.json").unlink()
    assert compare(tmp_path, "s") == 2
    assert "no seed that two variants have finished" in capsys.readouterr().err


@pytest.mark.parametrize(("names", "told"), [(("one", "two"), "one"), (("my study",), "my study")])
def test_a_figure_of_more_classes_than_there_are_is_refused_and_never_left_out_unsaid(runs, capsys, names, told):
    assert compare(runs, *names, "--topk", "1", "11") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"--topk is 11, but {told} has 10 classes; give 1 to 10" in message
