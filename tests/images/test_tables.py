"""Labels in a table, as Hugging Face's imagefolder has them, are refused by name; docs/data.md's way out works."""

import re
from pathlib import Path

import pytest
from PIL import Image

from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.system.errors import UserError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 30, 60)).save(path)


@pytest.fixture
def flat(tmp_path):
    """Four images of two classes, which only a table tells apart."""
    folder = tmp_path / "pets"
    for number in range(4):
        save(folder / "train" / f"{number}.png")
    rows = [f"{number}.png,{'cat' if number % 2 else 'dog'}" for number in range(4)]
    (folder / "train" / "metadata.csv").write_text("\n".join(["file_name,label", *rows]), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "place",
    ["metadata.csv", "metadata.jsonl", "train/metadata.csv", "train/metadata.parquet", "test/metadata.jsonl",
     "train/0000.parquet", "train-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"],
)  # fmt: skip
def test_a_table_of_labels_is_refused_by_name_with_the_way_out(tmp_path, place):
    table = tmp_path / "pets" / place
    table.parent.mkdir(parents=True)
    table.touch()
    if table.suffix != ".parquet":
        save(tmp_path / "pets" / "test" / "cat" / "1.png")
        for name in ("cat", "dog"):
            save(tmp_path / "pets" / "train" / name / "1.png")
    with pytest.raises(UserError, match=rf"pets holds {re.escape(place)}: labels in a table.* pets/train/<class>/\*"):
        load_dataset(str(tmp_path / "pets"))


def test_parquet_beside_class_folders_is_left_out_and_told(tmp_path):
    for name in ("cat", "dog"):
        save(tmp_path / "pets" / "train" / name / "1.png")
    (tmp_path / "pets" / "train" / "embeddings.parquet").touch()
    assert "1 .parquet beside the class folders" in load_dataset(str(tmp_path / "pets")).left_out


def test_the_lines_in_the_documentation_bring_a_table_into_folders(flat):
    (lines,) = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(lines.replace("FOLDER", str(flat)), {})
    dataset = load_dataset(str(flat))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.splits["train"].labels.tolist() == [0, 0, 1, 1]
