"""Under a launcher a mode is done by all processes together, or by the first one alone."""

import pkgutil

import pytest

import evaluate
from alexnet_skip.settings import embed as embed_settings
from alexnet_skip.settings import evaluate as evaluate_settings

# Those that begin with Accelerate: a process that leaves would let the others wait for it.
SHARED = {"images", "dry_run"}
FLAGS = {
    "export": ["--export", "torch"], "explain": ["--explain", "2"], "compare": ["--compare", "a", "b"],
    "table": ["--table"], "report": ["--report"], "redraw": ["--redraw"],
}  # fmt: skip


def test_every_mode_is_known_to_be_shared_or_not():
    modes = (*evaluate_settings.MODES, *embed_settings.MODES)
    assert {mode.setting for mode in modes if mode.shared} == SHARED
    assert {mode.setting for mode in modes if not mode.shared} == set(FLAGS)


@pytest.mark.parametrize("mode", FLAGS)
def test_what_one_process_does_the_others_leave_to_it(mode, monkeypatch, tmp_path, capsys):
    """Each would write the same files, by way of the same temporary names."""
    place = next(each.place for each in evaluate_settings.MODES if each.setting == mode)
    function, done = pkgutil.resolve_name(place).__name__, []
    monkeypatch.setattr(pkgutil.resolve_name(place.split(":")[0]), function, lambda _: (done.append(1) or {}, True))
    for rank, expected in (("1", []), ("0", [1])):
        monkeypatch.setenv("RANK", rank)
        assert evaluate.main([*FLAGS[mode], "--runs-dir", str(tmp_path), "--quiet"]) == 0
        assert done == expected
        assert bool(capsys.readouterr().out) == bool(expected)
