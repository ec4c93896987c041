"""What an evaluation and an embedding hand over to spreadsheets."""

import csv
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_predictions
from PIL import Image
from tiny_run import shrink

import embed
import evaluate
import train
from alexnet_skip.embedding import output
from alexnet_skip.evaluation.tables import write_predictions_csv
from alexnet_skip.pca import PCA
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.system.files import read_json


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("temperature", [None, 2.5])
def test_a_line_has_what_the_model_says_of_an_image(tmp_path, rng, temperature):
    predictions = make_predictions(0.7, rng, n=60, classes=4)
    names = ("고양이", "=dog", "true", "ship")
    write_predictions_csv(tmp_path, predictions, names, temperature)
    table = lines(tmp_path / "predictions.csv")
    assert list(table[0]) == ["index", "true", "predicted", "confidence", *(f"p_{name}" for name in names)]
    probabilities = np.array([[float(line[f"p_{name}"]) for name in names] for line in table])
    np.testing.assert_allclose(probabilities, softmax(predictions.logits / (temperature or 1)), atol=1e-6)
    safe = np.array(["고양이", "'=dog", "true", "ship"])
    assert [line["true"] for line in table] == safe[predictions.labels].tolist()
    assert [line["predicted"] for line in table] == safe[predictions.predicted].tolist()
    assert [float(line["confidence"]) for line in table] == probabilities.max(axis=1).tolist()
    assert [int(line["index"]) for line in table] == predictions.index.tolist()


def test_many_classes_have_no_column_each(tmp_path, rng):
    write_predictions_csv(tmp_path, make_predictions(0.7, rng, classes=51), tuple(map(str, range(51))), None)
    assert list(lines(tmp_path / "predictions.csv")[0]) == ["index", "true", "predicted", "confidence"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of runs with ``mine``, trained on and evaluated and embedded by pictures of one's own."""
    place, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for shade, name in enumerate(("고양이", "개")):
            (place / "pets" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(100 * shade, 100 * shade + 50, (16, 16, 3), dtype=np.uint8)
                file = "=1+1.png" if number == 0 else f"{number}.png"
                Image.fromarray(pixels).save(place / "pets" / split / name / file)
    places = ["--runs-dir", str(place / "runs"), "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        patch.setattr(output, "write_pictures", lambda *_: None)
        of_images = ["--dataset", str(place / "pets"), "--weights", "random", "--val-fraction", "0.25"]
        sizes = ["--epochs", "2", "--pca-basis", "8", "--cache-dir", str(place / "cache"), "--name", "mine"]
        assert train.main([*of_images, *sizes, *places]) == 0
        for split in ("test", "val"):
            assert evaluate.main(["--split", split, *places]) == 0
        assert embed.main(["--thumbnails", "0", "--projector-components", "5", *places]) == 0
    return place / "runs"


def test_images_of_ones_own_are_told_by_their_files(folder):
    for split, count in (("test", 8), ("val", 6)):
        where = folder / "mine" / "evaluation" / f"{split}-best"
        table, kept = lines(where / "predictions.csv"), read_predictions(where)
        assert [line["file"] for line in table] == list(kept.files)
        assert len(set(kept.files)) == count
        assert kept.class_names == ("개", "고양이")
        for file, line in zip(kept.files, table, strict=True):
            assert (folder.parent / "pets" / file).is_file()
            assert file.split("/")[:2] == [{"val": "train"}.get(split, split), line["true"]]
        right = np.mean([line["true"] == line["predicted"] for line in table])
        assert right == read_json(where / "metrics.json")["top1"]


def test_coordinates_stand_beside_classes_and_files(folder):
    (where,) = (folder / "mine" / "embedding").iterdir()
    table, pca = lines(where / "coordinates.csv"), PCA.load(where / "pca.npz")
    judged = {line["file"]: line for line in lines(folder / "mine" / "evaluation" / "test-best" / "predictions.csv")}
    axes = [f"PC{axis}" for axis in range(1, pca.n_components_ + 1)]
    assert list(table[0]) == ["file", "true", "predicted", *axes]
    assert {line["file"]: (line["true"], line["predicted"]) for line in table} == {
        file: (line["true"], line["predicted"]) for file, line in judged.items()
    }
    coordinates = np.array([[np.float32(line[axis]) for axis in axes] for line in table])
    shown = np.fromfile(next(where.glob("tensor-*")), np.float32).reshape(len(table), -1)
    np.testing.assert_array_equal(coordinates, shown)
