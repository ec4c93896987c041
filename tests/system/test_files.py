"""Tables as spreadsheets and pandas read them."""

import csv

from alexnet_skip.system.files import write_csv


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
