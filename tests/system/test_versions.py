"""Which code runs here is told by its content, not by what a commit says of it."""

import os
import shutil

import pytest

from alexnet_skip.system.versions import OWN, PACKAGES, code_digest, environment


@pytest.fixture
def package(tmp_path):
    return shutil.copytree(OWN, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_same_code_elsewhere_and_with_other_line_ends_is_the_same(package):
    assert code_digest(package) == code_digest()
    module = package / "system" / "errors.py"
    module.write_bytes(module.read_bytes().replace(b"\n", b"\r\n"))
    assert code_digest(package) == code_digest()


def test_one_other_letter_or_name_is_other_code(package):
    found = {code_digest()}
    module = package / "system" / "errors.py"
    module.write_text(module.read_text(encoding="utf-8") + "#", encoding="utf-8")
    found.add(code_digest(package))
    module.rename(module.with_name("mistakes.py"))
    found.add(code_digest(package))
    assert len(found) == 3


def test_the_record_of_a_run_names_every_package_and_lives_without_git(monkeypatch):
    assert {*PACKAGES, "python", "platform", "git_commit"} == set(environment())
    monkeypatch.setenv("PATH", "")
    assert environment()["git_commit"] is None
    assert environment()["torch"]


@pytest.mark.skipif(os.name != "posix", reason="a program that is a shell's script")
def test_git_may_speak_any_language_in_any_encoding(monkeypatch, tmp_path):
    """A Korean Windows' warning, in CP949."""
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nprintf '\\260\\346\\260\\355' >&2\nprintf '\\377abc123\\n'\n", encoding="utf-8")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert str(environment()["git_commit"]).endswith("abc123")
