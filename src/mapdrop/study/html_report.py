"""Write a study's report to its folder: text, one plot, and an HTML page with everything."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from importlib.resources import files
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

import mapdrop
from mapdrop.localize.data.image_files import encode_png
from mapdrop.localize.evaluation.difficulty import hardest_first
from mapdrop.study import plots
from mapdrop.study.examples import Example, ExampleImages, load_example
from mapdrop.study.hard_images import load_sheet
from mapdrop.study.joint_errors import medians, typical
from mapdrop.study.rows import Row
from mapdrop.study.summary import failures
from mapdrop.study.text_report import caption, cells, headers, label, print_report
from mapdrop.study.verdict import (
    Findings,
    describe_difference,
    findings,
    format_interval,
    limits,
    verdict,
)
from mapdrop.system.files import write
from mapdrop.system.printable import count, drawable, plain, printable


def write_report(folder: Path, rows: Sequence[Row], console: Console) -> None:
    """Print the report and write it to `folder` as report.txt, study.png and report.html.

    Characters in the rows that can't be printed are escaped. Example images that are missing or
    damaged are left out, with a notice on the console.
    """
    rows = _printable(rows)
    print_report(console, rows)
    text = StringIO()
    print_report(Console(file=text, width=100), rows)
    write(folder / "report.txt", text.getvalue().encode())
    found = findings(rows)

    def show(line: str) -> None:
        console.print(plain(line), highlight=False, soft_wrap=True)

    images, examples = load_examples(folder, rows, found, show)
    if found:
        write(folder / "study.png", _overview(rows, found[-1], images, examples))
    hard = None
    if found:
        shown = [example.condition for example in examples]
        hard = load_sheet(folder, rows, found[-1], shown, show)
    write(folder / "report.html", page(rows, images, examples, hard).encode())
    show(f"page: {folder / 'report.html'}")


def load_examples(
    folder: Path, rows: Sequence[Row], found: Sequence[Findings], notify: Callable[[str], None]
) -> tuple[ExampleImages, list[Example]]:
    """Load the example images and detections; notify of those that are missing or damaged."""
    data, examples = rows[0]["data"], []
    try:
        images = ExampleImages.load(folder, data)
    except (OSError, ValueError) as problem:
        notify(f"without test images: {problem}")
        return ExampleImages.empty(data), []
    for condition in found[-1].best if found else []:
        try:
            examples.append(load_example(folder, condition, found[-1].train_size, images))
        except FileNotFoundError:
            continue  # The first seed of this condition failed.
        except (OSError, ValueError) as problem:
            notify(f"without examples of {condition.label}: {problem}")
    return images, examples


def _printable(value: Any) -> Any:
    """Return a value with only printable characters in its texts."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): _printable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


def page(
    rows: Sequence[Row],
    shown: ExampleImages,
    examples: Sequence[Example],
    hard: Image.Image | None = None,
) -> str:
    """Return the report as one self-contained HTML page.

    Args:
        rows: of a study, the first of kind "study".
        shown: test images to show.
        examples: the networks' detections on them.
        hard: a sheet of the hardest images, if they are stored.
    """
    found = findings(rows)
    template = files("mapdrop.study").joinpath("templates/report.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    study = rows[0]
    return environment.from_string(template).render(
        study=study,
        verdict=verdict(rows),
        limits=limits(rows),
        tables=[_table(rows, of) for of in found],
        joints=_joints(rows, found[-1], hard) if found else None,
        plots=_plots(rows, found, shown, examples),
        failures=[(cell.condition.label, cell, error) for cell, error in failures(rows).items()],
        runs=count(sum(row["kind"] == "run" for row in rows), "run"),
        settings=_flat(study["settings"]),
        versions=study["versions"],
        machine=study["machine"],
        first=study["written"],
        last=rows[-1]["written"],
        version=mapdrop.__version__,
    )


def _table(rows: Sequence[Row], found: Findings) -> dict[str, Any]:
    return {
        "title": count(found.train_size, "training image"),
        "headers": [header.replace("\n", " ") for header in headers(rows)],
        "rows": [
            (label(found, condition), cells(rows, found, condition)) for condition in found.runs
        ],
        "caption": caption(rows, found),
        "base": found.base.label,
        "differences": [
            (
                condition.label,
                f"{interval.value:+.1f}",
                format_interval(interval),
                describe_difference(interval),
                interval.significant,
            )
            for condition, interval in found.differences.items()
        ],
        "radius": f"{rows[0]['data']['radii'][0]:g}",
    }


def _joints(rows: Sequence[Row], found: Findings, hard: Image.Image | None) -> dict[str, Any]:
    """Return each joint's median test error by dropout, the hardest joint first, and pictures."""
    names, errors = rows[0]["data"]["joints"], typical(found)
    errors_of = {condition.label: medians(found.runs[condition]) for condition in found.best}
    joints = hardest_first(errors)
    height = 1.2 + 0.25 * max(4, min(plots.MOST_JOINTS, len(joints)) * (1 + len(found.best) / 4))
    return {
        "title": count(found.train_size, "training image"),
        "seeds": count(found.seeds, "seed"),
        "drops": list(errors_of),
        "rows": [
            (
                names[joint],
                errors.labels[joint],
                [f"{of[joint]:.1f}" if errors.labels[joint] else "-" for of in errors_of.values()],
            )
            for joint in joints
        ],
        "plot": _address(_png((8, height), lambda figure: plots.joint_errors(figure, rows, found))),
        "sheet": hard and _address(encode_png(hard)),
    }


def _plots(
    rows: Sequence[Row],
    found: Sequence[Findings],
    shown: ExampleImages,
    examples: Sequence[Example],
) -> list[tuple[str, str, str]]:
    """Return the title, caption and address of each plot that has something to show."""
    if not found:
        return []
    last, drawn = found[-1], []
    size = count(last.train_size, "training image")

    def add(title: str, text: str, shape: tuple[float, float], draw: Callable[[Any], None]) -> None:
        drawn.append((title, text, _address(_png(shape, draw))))

    if len(found) > 1:
        add(
            "How many images does it take?",
            "Each dropout at the rate chosen on validation; bars: 95 % over seeds and test images.",
            (8, 4.4),
            lambda figure: plots.learning_curve(figure, rows, found),
        )
    if last.differences:
        add(
            "What is a difference, and what is chance?",
            "Lines: 95 % over seeds and test images. One that reaches 0 shows nothing.",
            (max(6.0, 3.4 * len(found)), 1.2 + 0.75 * len(last.differences)),
            lambda figure: plots.differences(figure, rows, found),
        )
    add(
        "Within which radius are joints found?",
        f"{size}; mean and standard deviation over seeds.",
        (9, 4),
        lambda figure: plots.curves(figure, rows, last),
    )
    if examples:
        aspect = shown.images.shape[1] / shown.images.shape[2]
        add(
            "What the networks see in test images",
            f"{size}, first seed: o truth, + prediction, glow heat map.",
            (2.3 * (len(examples) + 1), 0.5 + 2.3 * aspect * len(shown.images)),
            lambda figure: plots.heat_maps(figure, shown, examples),
        )
    dropping = [condition for condition in last.best if condition.rate]
    if dropping:
        add(
            "What is dropped",
            f"{plots.SAMPLES} samples of {plots.MAPS} feature maps of "
            f"{plots.SIDE}x{plots.SIDE} pixels each; dark is dropped.",
            (9.5, 0.4 + 0.65 * len(dropping)),
            lambda figure: plots.masks(figure, dropping),
        )
    return drawn


def _overview(
    rows: Sequence[Row], found: Findings, shown: ExampleImages, examples: Sequence[Example]
) -> bytes:
    """Plot curves above heat maps."""
    aspect = shown.images.shape[1] / shown.images.shape[2]
    heights = [3.6, 0.5 + 2.3 * aspect * len(shown.images)] if examples else [3.6]

    def draw(figure: Any) -> None:
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        plots.curves(parts[0], rows, found)
        title = f"Which dropout for {drawable(rows[0]['data']['name'])}? "
        parts[0].suptitle(title + f"mean and standard deviation over {count(found.seeds, 'seed')}")
        if examples:
            plots.heat_maps(parts[1], shown, examples)
            parts[1].suptitle(
                "some test images, first seed: o truth, + prediction, glow heat map", size=10
            )

    return _png((2.3 * max(4, len(examples) + 1), sum(heights)), draw)


def _png(size: tuple[float, float], draw: Callable[[Any], None]) -> bytes:
    figure, content = Figure(figsize=size, layout="constrained"), BytesIO()
    draw(figure)
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


def _flat(settings: Row, prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names."""
    found = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found
