"""The page put together: templates, style and script from this room's folder ``page``, in one file of HTML."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from alexnet_skip.plots.embedding import class_colours
from alexnet_skip.report import calibration, curves, facts, findings, looks, matrices, names, network, pictures, space
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.runs.folders import ELSEWHERE
from alexnet_skip.study.verdict import LITTLE_POINTS, SIGNIFICANCE

PAGE = Path(__file__).resolve().parent / "page"


def render(subject: Subject, text: Text) -> str:
    """The whole page, as HTML that asks for no other file."""
    environment = Environment(
        # Names of classes and folders are anybody's: everything is escaped that is not from this room.
        autoescape=True,
        loader=PackageLoader("alexnet_skip.report", "page"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (Markup((PAGE / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    template = environment.get_template("report.html.j2")
    return template.render(t=text, style=style, script=script, **content(subject, text))


def content(subject: Subject, text: Text) -> dict[str, Any]:
    """What the templates show, by section."""
    clouds = space.find_clouds(subject)
    shown = clouds[: space.MAX_CLOUDS]
    titles = cloud_titles(shown, text)
    class_rows, num_classes = findings.class_rows(subject)
    only = pictures.only_one_right(subject, clouds, text)
    return {
        "subject": subject,
        "where": names.where(subject, text) if subject.last else "",
        "when": names.when(subject, subject.last, text) if subject.last else "",
        "verdict": findings.verdict(subject, text),
        "names": [names.side_name(side, text) for side in subject.sides],
        "forests": findings.forests(subject, text),
        "little": f"{LITTLE_POINTS:g}",
        "significance": SIGNIFICANCE,
        "table": findings.table(subject, text),
        "class_rows": class_rows,
        "num_classes": num_classes,
        "charts": curves.charts(subject, text),
        "measured": curves.lead(subject, text),
        "groups": matrices.groups(subject, text),
        "only": only,
        "looks": looks.find_looks(subject),
        "looks_wanted": looks.looks_wanted(subject),
        "clouds": shown,
        "num_clouds": len(clouds),
        "space": space_json(shown, titles, subject, text),
        "wanted": facts.embeddings_wanted(subject),
        "calibrations": calibration.calibrations(subject, text),
        "finetuned": network.finetuned(subject),
        "trained_layers": network.trained_layers(subject, text),
        "skip_code": network.skip_code(),
        "settings": facts.settings_rows(subject, text),
        "data": facts.data_rows(subject, text),
        "commands": facts.commands(subject, text),
        "citation": facts.citation(subject),
    }


def cloud_titles(clouds: list[space.Cloud], text: Text) -> list[str]:
    """What clouds are called in the page's lists; those that would be called alike with the names of their folders."""
    titles = [_cloud_title(cloud, text) for cloud in clouds]
    return [f"{t}: {c.name}" if titles.count(t) > 1 else t for t, c in zip(titles, clouds, strict=True)]


def _cloud_title(cloud: space.Cloud, text: Text) -> str:
    knn = cloud.about["separation"]["full"].get("knn_top1")
    # The view of the features is behind their name; other images than the run's own are told by the folder.
    layer, _, view = str(cloud.about["space"]).partition(" ")
    _, on, elsewhere = cloud.name.partition(ELSEWHERE)
    images = f"{len(cloud.labels):,}"
    if len(cloud.labels) > space.MAX_POINTS:
        images = text("space.drawn", drawn=f"{space.MAX_POINTS:,}", of=images)
    return text(
        "space.title" if knn is not None else "space.title_short",
        run=cloud.run.name, layer=f"{text(f'layer.{layer}')} {view}".strip(), epoch=cloud.about["epoch"],
        split=f"{cloud.about['split']}{on}{elsewhere}", images=images, knn=f"{100 * (knn or 0):.1f}",
    )  # fmt: skip


def space_json(clouds: list[space.Cloud], titles: list[str], subject: Subject, text: Text) -> dict[str, Any]:
    """What the script draws: clouds, thumbnails, classes with their colours, and its words."""
    colours = class_colours(len(subject.class_names))
    packed = space.pack_clouds(clouds, titles)
    return packed | {
        "classes": list(subject.class_names),
        "colours": ["#" + "".join(f"{round(255 * value):02x}" for value in colour[:3]) for colour in colours],
        "start": _pair(clouds),
        "words": {key: text.words[f"space.{key}"] for key in ("true", "predicted", "axis", "cloud")},
    }


def _pair(clouds: list[space.Cloud]) -> list[int]:
    """Which two clouds to show first: one layer of one run at its first and its last epoch, or else the first two."""
    for first, one in enumerate(clouds):
        for last in range(len(clouds) - 1, first, -1):
            other = clouds[last]
            if (one.run, one.about["space"]) == (other.run, other.about["space"]) and (
                one.about["epoch"] != other.about["epoch"]
            ):
                return [first, last]
    return list(range(min(2, len(clouds))))
