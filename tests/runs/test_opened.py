"""A run opened again takes no images that its model has no classes for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unicodedata import normalize

import pytest

from alexnet_skip.images.dataset import Dataset
from alexnet_skip.runs.opened import OpenedRun
from alexnet_skip.system.errors import UserError

CLASSES = ("개", "고양이")


@pytest.mark.parametrize(
    ("names", "way_out"),
    [
        (tuple(normalize("NFD", name) for name in CLASSES), "rename its folders: their letters are in another form"),
        (("개", "말"), "give a folder with the same classes"),
    ],
)
def test_classes_that_only_look_the_same_are_refused_with_another_advice_than_others(names, way_out):
    model: Any = SimpleNamespace(class_names=CLASSES)
    run = OpenedRun(Path("mine"), "best", None, model, None)
    with pytest.raises(UserError, match=f"but mine was trained on the classes .*; {way_out}"):
        run.require_fitting(Dataset("pets", "/pets", names, {}), "/pets", own=False)
