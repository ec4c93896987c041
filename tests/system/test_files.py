"""Tables as spreadsheets and pandas read them; names of files, of which systems count bytes and people letters."""

import csv
import os
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from alexnet_skip.system.files import MAX_NAME_BYTES, part_of_name, write_csv, write_json, write_text
from alexnet_skip.system.tensors import save_tensors

KOREAN = "가나다라마바사아" * 10


def read(path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_excel_sees_the_mark_and_every_letter_comes_back(tmp_path):
    rows = [["file", "고양이"], ['a "quoted", name.png', "多\nlines"]]
    write_csv(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert read(tmp_path / "t.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_no_text_is_a_formula_and_numbers_stay_numbers(tmp_path):
    texts = ["=cmd()", "+1", "-1", "@a", "\tb", "\rc"]
    write_csv(tmp_path / "t.csv", [texts, [-1.5, -2, "a=b", "a-b", "1", ""]])
    first, second = read(tmp_path / "t.csv")
    assert first == [f"'{text}" for text in texts]
    assert second == ["-1.5", "-2", "a=b", "a-b", "1", ""]


def test_a_name_that_is_no_unicode_does_not_stop_the_table(tmp_path):
    write_csv(tmp_path / "t.csv", [["bad\udcff.png"]])
    assert read(tmp_path / "t.csv") == [["bad\\udcff.png"]]


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


@pytest.mark.parametrize(
    ("write", "content"), [(write_text, "new"), (write_json, ["new"]), (save_tensors, {"new": torch.ones(2)})]
)
def test_what_takes_a_files_place_is_on_the_disk_by_then(tmp_path, monkeypatch, write, content):
    """A power failure leaves the old file or the new one, though the system writes names and bytes when it likes."""
    path, done = tmp_path / "file", []
    path.write_bytes(b"old")
    sync, replace = os.fsync, Path.replace

    def synced(descriptor):
        assert path.read_bytes() == b"old"
        done.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    def replaced(temporary, target):
        done.append(temporary.stat().st_ino)
        return replace(temporary, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write(path, content)
    assert done == [path.stat().st_ino] * 2
