"""The form of a command line: what --help shows, in which order, and that nothing is lost in it."""

import dataclasses
import re

import pytest
import tyro

from alexnet_skip.settings import embed, evaluate, train_arguments
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.form import MORE, filled_in, form_of, settings_of, values_of
from alexnet_skip.settings.train import TrainSettings

ALL = [
    (TrainSettings(), train_arguments.GROUPS, train_arguments.parse_train),
    (EvaluateSettings(), evaluate.GROUPS, evaluate.parse_evaluate),
    (EmbedSettings(), embed.GROUPS, embed.parse_embed),
]
LINES_OF_A_SCREEN = 40


def help_of(parse, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as end:
        parse(["--help"])
    assert end.value.code == 0
    # Without the boxes, which tyro draws where it takes the encoding for UTF-8.
    return re.sub("[\u2500-\u257f]", " ", re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out))


@pytest.mark.parametrize(("settings", "groups", "parse"), ALL)
@pytest.mark.parametrize("columns", [60, 80, 100])
def test_help_has_every_setting_once_with_its_text_and_stays_within_the_terminal(
    settings, groups, parse, columns, capsys, monkeypatch
):
    shown = help_of(parse, capsys, monkeypatch, columns)
    groups_shown = shown[shown.index(" options ") :]
    assert max(map(len, groups_shown.splitlines())) <= columns
    flowing = " ".join(groups_shown.split())
    for setting in settings_of(settings):
        flag = "--" + setting.name.replace("_", "-")
        assert len(re.findall(rf"(?m)^  ?{flag}[ ,]", shown)) == 1, flag
        assert setting.help.split()[0] in flowing
    assert f"{MORE} options" not in shown
    assert "{None}" not in shown


@pytest.mark.parametrize(("settings", "groups", "parse"), ALL)
def test_everyday_settings_come_first_in_three_screens_and_examples_one_a_line(
    settings, groups, parse, capsys, monkeypatch
):
    shown = help_of(parse, capsys, monkeypatch, 100)
    assert len(shown.splitlines()) <= 3 * LINES_OF_A_SCREEN
    flags = re.findall(r"(?m)^  ?--([a-z][a-z-]+)", shown[shown.index(" options ") :])
    everyday = [name.replace("_", "-") for name in groups["everyday"]]
    assert flags[: len(everyday)] == everyday
    examples = [line for line in shown.splitlines() if re.match(r"  (python|accelerate) ", line)]
    assert len(examples) >= 3


@pytest.mark.parametrize(("settings", "groups", "parse"), ALL)
def test_a_form_gives_back_the_settings_it_was_made_of(settings, groups, parse, capsys):
    known = {setting.name: setting.default for setting in settings_of(settings)}
    assert filled_in(settings, known) == settings == parse([])
    assert len(known) == len(list(settings_of(settings))), "two settings of one name"
    assert not set().union(*groups.values()) - set(known)
    with pytest.raises(SystemExit):
        parse(["--version"])
    assert re.fullmatch(r"alexnet_skip \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_a_setting_that_no_group_names_is_not_lost():
    read = tyro.cli(form_of(EvaluateSettings(), {"everyday": ("run",)}), args=["--tta"])
    assert {field.name for field in dataclasses.fields(read)} == {"run", "version", MORE}
    assert filled_in(EvaluateSettings(), values_of(read)) == EvaluateSettings(tta=True)
