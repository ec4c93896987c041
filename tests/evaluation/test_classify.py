"""evaluate.py on images of one's own: table, JSON, contact sheet."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import evaluate
from alexnet_skip.evaluation import classify
from alexnet_skip.network import model
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.weights import load_weights
from alexnet_skip.plots.gallery import contact_sheet_figure
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.system.files import write_json


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs")
    backbone = FrozenAlexNet(load_weights("random").state)
    about = ModelConfig("none", ("cat", "dog", "ship", "[frog]"), image_size=(32, 32), created="2026-01-01")
    model.publish(folder / "mine" / "model", SkipHead("none", 4), backbone, about)
    write_json(folder / "mine" / "config.json", {"created": "2026-01-01"})
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, shape in (("tall.png", (90, 40, 3)), ("grey.png", (32, 32)), ("deep/wide.jpg", (30, 200, 3))):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "deep" / "phone.heic").write_bytes(b"not read here")
    return folder


def run(capsys, *arguments):
    code = evaluate.main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_folder_is_classified_and_what_cannot_be_read_is_listed(runs, photos, capsys):
    code, out, err = run(capsys, "--images", photos, "--runs-dir", runs)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert [entry["path"] for entry in result["images"]] == [
        str(photos / name) for name in ("deep/wide.jpg", "grey.png", "tall.png")
    ]
    for entry in result["images"]:
        shares = [place["probability"] for place in entry["top"]]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1
    assert list(result["unreadable"]) == [str(photos / "broken.jpg")]
    assert "Left out: " in err
    assert "--images, left out: 1 file (1 .heic), first: " in " ".join(err.split())
    assert "wide.jpg" in err
    assert "█" in err
    with Image.open(result["contact_sheet"]) as sheet:
        assert sheet.width > 500
    (file,) = (runs / "mine" / "predictions").glob("*/predictions.json")
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["images"] == result["images"]


def test_a_copied_model_folder_serves_as_the_run_and_topk_says_how_many(runs, photos, capsys, tmp_path):
    (tmp_path / "copy").mkdir()
    for path in (runs / "mine" / "model").iterdir():
        if path.is_file():
            (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    code, out, err = run(capsys, "--images", photos / "tall.png", "--run", tmp_path / "copy", "--topk", "4", "--quiet")
    assert (code, err) == (0, "")
    (entry,) = json.loads(out)["images"]
    assert {place["class"] for place in entry["top"]} == {"cat", "dog", "ship", "[frog]"}
    assert sum(place["probability"] for place in entry["top"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "broken.jpg"], "broken.jpg can't be read as an image"),
        (["--images", "nothing.jpg"], "does not exist"),
        (["--images", "tall.png", "--topk", "5"], "--topk is 5"),
        (["--images", "tall.png", "--run", "nowhere"], "--run nowhere: no run there"),
        (["--images", "tall.png", "--export", "torch"], "--export is torch"),
    ],
)
def test_mistakes_end_with_2_and_write_nothing(runs, photos, capsys, monkeypatch, arguments, message):
    before = sorted(runs.rglob("*"))
    monkeypatch.chdir(photos)
    code, out, err = run(capsys, *arguments, "--runs-dir", runs)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert sorted(runs.rglob("*")) == before


def test_a_named_model_is_used_and_not_another_that_checkpoint_asks_for(runs, photos, capsys):
    for asked in (["--images", photos / "tall.png"], ["--export", "torch"]):
        code, out, err = run(capsys, *asked, "--run", runs / "mine" / "model", "--checkpoint", "last")
        assert (code, out) == (2, "")
        assert "--checkpoint is last, but --run" in " ".join(err.split())
        assert "is one model already; give the run's folder, or leave --checkpoint out" in " ".join(err.split())


def test_photographs_are_in_memory_at_their_full_size_one_at_a_time(runs, tmp_path, rng, monkeypatch):
    network, _ = model.load_published(runs / "mine" / "model")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    expected = [prediction.probabilities for prediction in network.predict(paths)]
    sizes, predict = [], network.predict
    monkeypatch.setattr(network, "predict", lambda images: (sizes.extend(i.shape for i in images), predict(images))[1])
    _, predictions, thumbnails, _ = classify.predict_files(network, paths, set(paths))
    assert sizes == [(32, 32, 3)] * 3
    np.testing.assert_array_equal([prediction.probabilities for prediction in predictions], expected)
    assert [thumbnail.shape for thumbnail in thumbnails] == [(90, 120, 3)] * 3


def test_a_bar_is_as_long_as_the_probability():
    lengths = [len(classify.bar(share)) for share in (0, 0.25, 0.5, 1)]
    assert lengths == [0, 6, 12, classify.BAR_LETTERS]
    assert classify.bar(0.01) == "▎"


def test_a_contact_sheet_shows_names_classes_and_probabilities_of_the_first_images():
    images = [np.zeros((20, 30, 3), np.uint8), np.zeros((208, 50, 3), np.uint8)]
    names = ["a.jpg", "a very long name of a photograph.jpg", "not shown.jpg"]
    figure = contact_sheet_figure(images, names, [[("cat", 0.75), ("dog", 0.25)]] * 3, "mine")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:5] == ["a.jpg", "cat", "75.0\u00a0%", "dog", "25.0\u00a0%"]
    assert "not shown.jpg" not in texts
    assert figure.get_suptitle() == "mine: the first 2"
    assert max(map(len, texts)) <= 24


@pytest.mark.skipif(sys.platform != "linux", reason="only there may names be any bytes")
def test_files_whose_names_are_not_utf_8_are_classified_and_shown_as_they_can_be(runs, tmp_path, capsys):
    for ending, content in (("png", None), ("jpg", b"no image")):
        path = tmp_path / os.fsdecode(f"고양이.{ending}".encode("cp949"))
        path.write_bytes(content) if content else Image.new("RGB", (40, 30)).save(path)
    code, out, err = run(capsys, "--images", tmp_path, "--runs-dir", runs)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    shown = str(tmp_path / r"\xb0\xed\xbe\xe7\xc0\xcc")
    assert [entry["path"] for entry in result["images"]] == [f"{shown}.png"]
    assert list(result["unreadable"]) == [f"{shown}.jpg"]
    assert result["unreadable"][f"{shown}.jpg"].startswith(f"{shown}.jpg can't be read")
    assert r"\xb0\xed\xbe\xe7\xc0\xcc.png" in err
    with Image.open(result["contact_sheet"]) as sheet:
        assert sheet.height > 100


@pytest.mark.parametrize(
    ("asked", "place", "named"),
    [("--checkpoint last", "last", "mine, last"), ("", "snapshots/epoch-0002", "mine, epoch-2")],
)
def test_what_any_model_of_a_run_predicts_is_kept_beside_it_and_names_both(
    runs, photos, capsys, tmp_path, monkeypatch, asked, place, named
):
    titles = []
    monkeypatch.setattr(classify, "contact_sheet_figure", lambda *given: titles.append(given[-1]))
    monkeypatch.setattr(classify, "save_figure", lambda *_: None)
    mine = tmp_path / "mine"
    shutil.copytree(runs / "mine" / "model", mine / place)
    shutil.copy(runs / "mine" / "config.json", mine)
    before = sorted((mine / place).iterdir())
    named_run = mine if asked else mine / place
    assert run(capsys, "--images", photos / "tall.png", "--run", named_run, *asked.split())[0] == 0
    assert sorted((mine / place).iterdir()) == before
    assert len(list(mine.glob("predictions/*/predictions.json"))) == 1
    assert titles == [f"1 image(s), {named}"]
