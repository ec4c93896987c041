"""Names of files: systems count bytes, people letters."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from alexnet_skip.system.files import MAX_NAME_BYTES, part_of_name

KOREAN = "가나다라마바사아" * 10


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 200))
def test_a_part_of_a_name_is_its_beginning_and_fits(text, most):
    part = part_of_name(text, most)
    assert text.startswith(part)
    assert len(part.encode()) <= most
    assert part == text or len(text[: len(part) + 1].encode()) > most, "no shorter than it has to be"


@pytest.mark.parametrize("name", [KOREAN, "x" * 255, "🐱" * 63])
def test_what_is_made_of_it_can_be_made(tmp_path, name):
    stem = f"{part_of_name(name, MAX_NAME_BYTES // 2)}-against-{part_of_name(name, MAX_NAME_BYTES // 2)}-only-x.png.tmp"
    for made in (
        f"{part_of_name(name)}-train-0123456789ab.lock.tmp",
        f"test-best-tta-on-{part_of_name(name)}-12345678",
        stem,
    ):
        (tmp_path / made).touch()
