"""Archives are unpacked whole and inside their folder, or not at all."""

import io
import tarfile

import numpy as np
import pytest

from alexnet_skip.images.archive import unpack
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

QUIET = Console(quiet=True)


@pytest.mark.parametrize("name", ["../outside", "/absolute", "a/../../b", "C:/x", "..\\outside"])
def test_an_archive_member_that_would_leave_the_folder_is_refused_before_anything_is_written(tmp_path, name):
    path, target = tmp_path / "a.tar", tmp_path / "target"
    with tarfile.open(path, "w") as tar:
        for member in ("fine", name):
            info = tarfile.TarInfo(member)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(UserError) as caught:
        unpack(path, target, QUIET)
    assert str(caught.value) == f"the archive {path} holds {name}, which must not be unpacked; don't use it"
    assert not target.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_an_archive_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("entry")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="holds entry, which must not be unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "target", QUIET)


def test_a_truncated_archive_is_an_error_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(20_000))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        tar.add(tmp_path / "noise", "noise")
    (tmp_path / "a.tgz").write_bytes((tmp_path / "a.tgz").read_bytes()[:-3000])
    with pytest.raises(UserError, match="can't be unpacked"):
        unpack(tmp_path / "a.tgz", tmp_path / "target", QUIET)
    assert not (tmp_path / "target").exists()
