"""The projector's files are what a real TensorBoard reads, also while it runs; nothing is erased, nothing too large."""

import json
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig
from torch.utils.tensorboard import SummaryWriter

from alexnet_skip.embedding import projector
from alexnet_skip.embedding.projector import export_embedding, make_sprite, max_thumbnails, metadata_table
from alexnet_skip.images.folder import ImageFiles

COLUMNS = {"true class": ["cat", "dog"] * 5, "sample": list(range(10))}


def coordinates(seed: int = 0, n: int = 10, d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def export(run, name="embedding/test-features", seed=0, sprite=None):
    return export_embedding(run, name, coordinates(seed), COLUMNS, sprite, 8, 0.4321, pytest.fail)


def read_config(run) -> ProjectorConfig:
    return text_format.Parse((run / "projector_config.pbtxt").read_text(encoding="utf-8"), ProjectorConfig())


def images(n: int, side: int = 8) -> np.ndarray:
    shades = np.linspace(0, 255, n).astype(np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (n, side, side, 3)).copy()


class TensorBoard:
    """A real TensorBoard on a free loopback port."""

    def __init__(self, logdir) -> None:
        # One second between looks for new runs; the loader in Python is the one that is always there.
        options = ["--host", "127.0.0.1", "--port", "0", "--reload_interval", "1", "--load_fast", "false"]
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                self.address = f"http://127.0.0.1:{found[1]}/data/plugin/projector/"
                return self
        raise AssertionError("TensorBoard did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def get(self, what: str, **query: str) -> bytes:
        with urllib.request.urlopen(f"{self.address}{what}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
            return answer.read()

    def wait_for(self, condition):
        """The first true answer to a question asked again and again."""
        limit = time.monotonic() + 120
        while time.monotonic() < limit:
            if answer := condition():
                return answer
            time.sleep(0.3)
        raise AssertionError("TensorBoard did not show it within two minutes")

    def listed(self, run: str) -> dict[str, dict]:
        if run not in json.loads(self.get("runs")):
            return {}
        return {entry["tensorName"]: entry for entry in json.loads(self.get("info", run=run)).get("embeddings", [])}


def make_tensorboard_run(folder):
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("2 loss/train", 1.0, 1)


def test_tensorboard_shows_embeddings_bit_by_bit_and_no_run_of_their_own(tmp_path):
    run = tmp_path / "first"
    make_tensorboard_run(run)
    pictures = images(10)
    name = export(run, sprite=make_sprite(pictures, 8))
    second = export(run, "embedding/test-logits", seed=1)
    make_old_embedding(tmp_path / "old")
    with TensorBoard(tmp_path) as board:
        entry = board.wait_for(lambda: board.listed("first")).get(name)
        assert entry["tensorShape"] == [10, 4]
        assert board.get("tensor", run="first", name=name) == coordinates().tobytes()
        table = board.get("metadata", run="first", name=name).decode().splitlines()
        assert (table[0], table[1], len(table)) == ("true class\tsample", "cat\t0", 11)
        (run / "sprite.jpg").write_bytes(board.get("sprite_image", run="first", name=name))
        with Image.open(run / "sprite.jpg") as sprite:
            assert (sprite.format, sprite.size) == ("JPEG", (32, 32))
            for number, picture in enumerate(pictures):
                row, column = divmod(number, 4)
                seen = np.asarray(sprite.crop((8 * column, 8 * row, 8 * column + 8, 8 * row + 8)), dtype=int)
                assert np.abs(seen - picture).max() <= 3
        assert entry["sprite"]["singleImageDim"] == [8, 8]
        # The same points without pictures, whose colours can be seen.
        listed = board.listed("first")
        assert set(listed) == {name, f"{name} as dots", second}
        assert "sprite" not in listed[f"{name} as dots"]
        assert board.get("tensor", run="first", name=f"{name} as dots") == coordinates().tobytes()
        assert board.get("tensor", run="first", name=second) == coordinates(1).tobytes()

        # One of an earlier version, in a run of its own; and no other.
        (old,) = board.listed("old").values()
        assert old["tensorName"] == "test-features 0a1b2c3d"
        assert board.get("tensor", run="old", name="test-features 0a1b2c3d") == coordinates(5).tobytes()
        runs = json.loads(urllib.request.urlopen(board.address.replace("plugin/projector/", "runs")).read())
        assert sorted(runs) == ["first", "old", "old/embedding/test-features/projector-0a1b2c3d"]


def make_old_embedding(run):
    """As versions before this one left it: named with a digest, in a run of its own."""
    make_tensorboard_run(run)
    folder = run / "embedding" / "test-features"
    make_tensorboard_run(folder / "projector-0a1b2c3d")
    (folder / "tensor-0a1b2c3d.bytes").write_bytes(coordinates(5).tobytes())
    (folder / "metadata-0a1b2c3d.tsv").write_text(metadata_table(COLUMNS))
    entry = EmbeddingInfo(
        tensor_name="test-features 0a1b2c3d", tensor_shape=[10, 4],
        tensor_path="embedding/test-features/tensor-0a1b2c3d.bytes",
        metadata_path="embedding/test-features/metadata-0a1b2c3d.tsv",
    )  # fmt: skip
    (run / "projector_config.pbtxt").write_text(text_format.MessageToString(ProjectorConfig(embeddings=[entry])))


def test_an_embedding_of_an_earlier_version_is_replaced_with_its_run(tmp_path):
    make_old_embedding(tmp_path)
    name = export(tmp_path)
    assert [entry.tensor_name for entry in read_config(tmp_path).embeddings] == [name]
    kinds = sorted(path.name.partition("-")[0] for path in (tmp_path / "embedding" / "test-features").iterdir())
    assert kinds == ["metadata", "tensor"]


def test_the_name_says_what_and_how_much_of_the_variance_and_is_the_same_each_time(tmp_path):
    assert export(tmp_path) == export(tmp_path, seed=1) == "test-features (43.2 % of variance)"
    assert len(read_config(tmp_path).embeddings) == 1


def test_an_embedding_replaces_its_older_self_and_leaves_others_alone(tmp_path):
    export(tmp_path, "embedding/test-logits")
    for seed in (1, 2, 2):
        export(tmp_path, seed=seed, sprite=make_sprite(images(10), 8))
    entries = read_config(tmp_path).embeddings
    assert [entry.tensor_path.rpartition("/")[0] for entry in entries] == [
        "embedding/test-logits",
        "embedding/test-features",
        "embedding/test-features",
    ]
    kept = tmp_path / "embedding" / "test-features"
    kinds = sorted(path.name.partition("-")[0] for path in kept.iterdir())
    assert kinds == ["metadata", "sprite", "tensor"], "nothing of the first export is left"
    for entry in entries:
        assert (tmp_path / entry.tensor_path).is_file()
        assert (tmp_path / entry.metadata_path).is_file()


def test_pictures_and_figures_in_the_same_folder_stay(tmp_path):
    folder = tmp_path / "embedding" / "test-features"
    folder.mkdir(parents=True)
    (folder / "pca_2d.png").write_bytes(b"x")
    (folder / "metrics.json").write_text("{}")
    export(tmp_path)
    assert (folder / "pca_2d.png").exists()
    assert (folder / "metrics.json").exists()


@pytest.mark.parametrize("content", [b"embeddings { tensor", b"\xff\xfe\x00"])
def test_a_damaged_config_is_replaced(tmp_path, content):
    (tmp_path / "projector_config.pbtxt").write_bytes(content)
    export(tmp_path)
    assert len(read_config(tmp_path).embeddings) == 1


def test_entries_whose_files_are_gone_are_dropped_since_they_would_break_the_tab(tmp_path):
    export(tmp_path, "embedding/test-logits")
    for path in (tmp_path / "embedding" / "test-logits").glob("tensor-*"):
        path.unlink()
    export(tmp_path)
    assert len(read_config(tmp_path).embeddings) == 1


def test_every_file_is_there_before_the_config_names_it(tmp_path, monkeypatch):
    seen = []
    write_text = projector.write_text

    def watch(path, text):
        if path.name == "projector_config.pbtxt":
            entry = text_format.Parse(text, ProjectorConfig()).embeddings[0]
            places = (entry.tensor_path, entry.metadata_path, entry.sprite.image_path)
            seen.append(all((tmp_path / place).is_file() for place in places))
        write_text(path, text)

    monkeypatch.setattr(projector, "write_text", watch)
    export(tmp_path, sprite=make_sprite(images(10), 8))
    assert seen == [True]


def test_two_embeddings_of_a_run_at_once_are_both_listed_and_leave_no_lock(tmp_path, monkeypatch):
    both, read = threading.Barrier(2), projector._other_embeddings

    def read_and_wait_for_the_other(*given):
        found = read(*given)
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.3)
        return found

    monkeypatch.setattr(projector, "_other_embeddings", read_and_wait_for_the_other)
    names = ["embedding/test-features", "embedding/test-hidden2"]
    with ThreadPoolExecutor() as threads:
        listed = list(
            threads.map(lambda name: export_embedding(tmp_path, name, coordinates(), COLUMNS, None, 8, 1, print), names)
        )
    assert sorted(entry.tensor_name for entry in read_config(tmp_path).embeddings) == sorted(listed)
    assert sorted(path.name for path in (tmp_path / "embedding").iterdir()) == ["test-features", "test-hidden2"]


def test_tabs_line_breaks_and_empty_cells_do_not_shift_the_table():
    table = metadata_table({"true\tclass": ["a\tb", "c\nd", ""], "n": [1, 2, 3]})
    assert table == "true class\tn\na b\t1\nc d\t2\n-\t3\n"


def test_a_table_of_one_column_has_no_header():
    assert metadata_table({"class": ["a", "b"]}) == "a\nb\n"


def test_a_sprite_is_a_square_grid_row_by_row(rng):
    pictures = rng.integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    grid = np.asarray(make_sprite(pictures, 16))
    assert grid.shape == (48, 48, 3), "as many rows as columns, even where a row less would do"
    assert np.array_equal(grid[16:32, :16], pictures[3])
    assert (grid[32:, 16:] == 255).all()


def test_images_of_any_size_become_thumbnails():
    assert make_sprite(images(3, side=50), 16).size == (32, 32)


def test_more_thumbnails_than_a_sprite_holds_are_refused_with_the_number_that_fits():
    assert max_thumbnails(32) == 65_536
    assert max_thumbnails(224) == 1296
    with pytest.raises(ValueError, match=r"1,300 thumbnails of 224 px do not fit .* at most 1,296 do"):
        make_sprite(np.zeros((1300, 1, 1, 3), np.uint8), 224)


@pytest.mark.parametrize(
    ("points", "columns", "message"),
    [
        (coordinates(d=50), COLUMNS, "2 to 49 dimensions as they are, not 50"),
        (coordinates(d=1), COLUMNS, "not 1"),
        (np.full((10, 3), np.nan), COLUMNS, "finite"),
        (coordinates(n=9), COLUMNS, "one value for each of 9 points"),
        (coordinates(), {}, "no column"),
    ],
)
def test_what_the_projector_would_alter_or_misread_is_refused_before_anything_is_written(
    tmp_path, points, columns, message
):
    with pytest.raises(ValueError, match=message):
        export_embedding(tmp_path, "embedding/x", points, columns, None, 8, 0.5, pytest.fail)
    assert not list(tmp_path.iterdir())


def test_thumbnails_of_files_are_those_of_their_pixels(rng, monkeypatch, tmp_path):
    pixels = rng.integers(0, 256, (10, 20, 20, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files = ImageFiles([str(tmp_path / f"{number}.png") for number in range(10)], 20, exact=True)
    sprite = make_sprite(pixels, 8)
    monkeypatch.setattr(projector, "READ_ROWS", 4)
    assert np.array_equal(make_sprite(files, 8), sprite)
