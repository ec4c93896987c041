"""Every command that the documentation shows is run here, small, or listed as not run with the reason."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from PIL import Image

import alexnet_skip
from alexnet_skip.embedding import output
from alexnet_skip.evaluation import evaluate
from alexnet_skip.images import dataset
from alexnet_skip.runs import folders
from alexnet_skip.upkeep import speed_probe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = {
    "python -m pip ": "packages are installed by .ci/run, as README says",
    "python -c": "prints the graphics card's name",
    "python train.py --skip --data-": "images/test_cifar.py fetches and unpacks archives",
    "ruff check": ".ci/run does",
    "tensorboard --logdir": "a server; what it reads is tested in training/test_tensorboard.py",
    "python -m benchmarks.": "takes minutes; the benchmarks' own tests run them small",
    "ACCELERATE_USE_CPU=1 torchrun": "several processes are started in test_scripts.py",
    "accelerate launch --multi_gpu": "needs several GPUs; test_two_machines.py does the same on processors",
    "accelerate launch --config_file": "the same script; what the file says is tested in test_scripts.py",
    "python -m pytest -m soak": "takes long; its short form is among the tests",
    "python -m pytest -m gpu": "needs a card; GPU_TESTS_ON=cpu rehearses it",
    "accelerate launch train.py --resume": "training/test_trainer.py interrupts runs and goes on with them",
    "accelerate launch train.py --skip --finetune": "training/test_finetuning.py trains both stages",
    "accelerate launch train.py --finetune-from": "training/test_finetuning.py begins with a finished run",
    "accelerate launch train.py --skip --recipe quick": "training/test_held_out.py trains on few images",
    "accelerate launch train.py --study --finetune": "study/test_run.py trains one in two stages",
    "python evaluate.py --export onnx": "test_export.py does where the extra packages are installed",
}
TINY = [
    "--dataset", "shapes", "--weights", "random", "--val-fraction", str(tiny_run.VAL_FRACTION), "--epochs", "2",
    "--batch-size", "8",
    "--pca-basis", "8", "--quiet",
]  # fmt: skip
STUDY = ["--study-variants", "none", "conv", "--seeds", "0", "--name", "study-cifar10"]


def blocks_of(text):
    """The fenced blocks of a page, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands_of(text):
    """Commands in blocks, and those between backticks that begin like one."""
    fenced = [block for language, block in blocks_of(text) if language in ("", "powershell")]
    # In a notebook's cell an exclamation mark is before each.
    blocks = [line.removeprefix("!") for block in fenced for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    scripts = ("python ", "accelerate launch ", "tensorboard ", "ACCELERATE_USE_CPU=", "ruff ")
    return [line for line in (*blocks, *inline) if line.startswith(scripts) and line.split()[-1:] != ["launch"]]


SHOWN = list(dict.fromkeys(command for page in PAGES for command in commands_of(page.read_text(encoding="utf-8"))))


def is_not_run(command):
    return any(command.startswith(start) for start in NOT_RUN)


def test_the_documentation_shows_commands_and_every_exception_is_one_of_them():
    assert len(SHOWN) > 15
    assert {"accelerate launch train.py --skip", "python evaluate.py --topk 1 3"} <= set(SHOWN)
    unused = [start for start in NOT_RUN if not any(command.startswith(start) for command in SHOWN)]
    assert not unused


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """What a command draws is looked at in the rooms that draw it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "draw_evaluation", lambda *_: None)
        for name in ("write_pictures", "write_comparison"):
            patch.setattr(output, name, lambda *_: None)
        yield


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a run, a study and pictures, as a user of the documentation has them."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_run.shrink(patch.setattr)
        # Ten of a class: what the documentation shows holds a tenth of them out.
        patch.setattr(dataset, "SHAPES_TRAIN", 100)
        folder = tmp_path_factory.mktemp("docs")
        patch.chdir(folder)
        (folder / "my_photos").mkdir()
        for name in ("photo.jpg", "my_photos/1.png"):
            Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / name)
        train = importlib.import_module("train")
        patch.setattr(speed_probe, "PART_SECONDS", 0.01)
        assert train.main(["--study", *STUDY, *TINY]) == 0
        assert train.main(["--skip", *TINY]) == 0
        yield folder


def run(command):
    """Run a command as its words say, in this process, with small settings where it trains."""
    words = shlex.split(command)
    words = words[2:] if words[:2] == ["accelerate", "launch"] else words[1:]
    if words[0] == "-m":
        rooms = {"alexnet_skip.features": "alexnet_skip.upkeep.cache", "alexnet_skip.runs": "alexnet_skip.upkeep.runs"}
        module = rooms[words[1]]
        return importlib.import_module(module).main(words[2:])
    script = words[0].removesuffix(".py")
    small = {"train": TINY, "evaluate": ["--quiet"], "embed": ["--quiet"]}[script]
    if "--study" in words:
        small = [*small, *STUDY]  # finds everything trained
    return importlib.import_module(script).main([*words[1:], *small])


@pytest.mark.parametrize("command", [command for command in SHOWN if not is_not_run(command)])
def test_the_command_does_what_it_says(workplace, capsys, command):
    code = run(command)
    assert code == 0, capsys.readouterr().err


def test_the_python_that_the_documentation_shows_runs(workplace, capsys):
    newest = folders.find_run(workplace / "runs", None).name
    model = alexnet_skip.AlexNetWithSkip.from_pretrained(workplace / "runs" / newest)
    examples = [e for page in PAGES for e in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    assert len(examples) >= 5
    for example in examples:
        exec(compile(example.replace("runs/NAME", f"runs/{newest}"), "example", "exec"), {})
        shown = capsys.readouterr().out
        assert any(name in shown for name in model.class_names)


def test_links_lead_to_files_and_pictures_are_small():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), (page.name, target)
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 300_000, picture.name


def move_as_the_documentation_does(folder):
    """Run the lines of docs/data.md that bring the images of a table into class folders."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    exec(compile(lines.replace("FOLDER", str(folder)), "docs/data.md", "exec"), {})


def table_of(folder, rows):
    """A split whose images' names are their content, and its table as Excel saves it, with its mark."""
    for name, _ in rows:
        (folder / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "train" / name).write_text(name)
    text = "".join(f"{name},{label}\n" for name, label in [("file_name", "label"), *rows])
    (folder / "train" / "metadata.csv").write_text(text, encoding="utf-8-sig")


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_lines_for_labels_in_a_table_lose_no_image(tmp_path):
    table_of(tmp_path, [("a/1.png", "cat"), ("b/1.png", "cat"), ("b/deep/1.png", "dog"), ("1.png", "dog")])
    move_as_the_documentation_does(tmp_path)
    found = files_in(tmp_path / "train")
    assert found == {
        "cat/a_1.png": "a/1.png", "cat/b_1.png": "b/1.png", "dog/b_deep_1.png": "b/deep/1.png", "dog/1.png": "1.png",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "train").iterdir()} == {"cat", "dog"}, "no emptied folder is a class"
    assert (tmp_path / "labels.csv").is_file()


@pytest.mark.parametrize("taken", ["cat/a_1.png", "a_1.png", "A/1.png", "a/1.png", "gone"])
def test_the_lines_for_labels_in_a_table_move_nothing_where_a_name_is_taken_or_an_image_lacks(tmp_path, taken):
    table_of(tmp_path, [("b/2.png", "cat"), ("a/1.png", "cat"), (taken, "cat")])
    if taken == "gone":
        (tmp_path / "train" / "gone").unlink()
    elif taken == "cat/a_1.png":  # there, but not of the table
        table_of(tmp_path, [("b/2.png", "cat"), ("a/1.png", "cat")])
    before = files_in(tmp_path)
    with pytest.raises(SystemExit, match="nothing was moved"):
        move_as_the_documentation_does(tmp_path)
    assert files_in(tmp_path) == before
