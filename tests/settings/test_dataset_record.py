"""What a run says of its images tells whether others may stand for them."""

from contextlib import nullcontext

import pytest

from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.system.errors import UserError

WITH, WITHOUT, UNKNOWN = ("train", "val"), ("train", "test"), ()


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (WITHOUT, WITH, "val/ is new"), (WITH, WITHOUT, "val/ is gone"), (WITH, WITH, None), (WITHOUT, WITHOUT, None),
        (UNKNOWN, WITH, None),
    ],
)  # fmt: skip
def test_a_val_that_came_or_went_beside_the_same_training_images_makes_them_others(then, now, said):
    before, after = (DatasetRecord("pets", "here", ("a", "b"), "d" * 64, splits) for splits in (then, now))
    refused = pytest.raises(
        UserError, match=rf"^--resume x: which images are held out has changed .*\({said} in here\)"
    )
    with refused if said else nullcontext():
        before.require_same(after, "--resume x")
