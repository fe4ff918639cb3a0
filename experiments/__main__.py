"""Runs the studies of this folder, and makes every table and figure from their rows.

python -m experiments run NAME [--data PATH]   (goes on where it was stopped)
python -m experiments suggestions [--data PATH]   (likewise)
python -m experiments report
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from experiments import suggestions_report
from experiments.suggestions import SPLITS, train_splits
from mapdrop.study.bootstrap import Interval
from mapdrop.study.conditions import Condition
from mapdrop.study.html_report import write_report
from mapdrop.study.rows import NAME, Row, read_rows
from mapdrop.study.summary import estimate, pck_at
from mapdrop.study.verdict import findings, verdict
from mapdrop.system.files import write

HERE = Path(__file__).parent
CONFIG = HERE / "experiments.yaml"
MOUSE = Path("../shared/data/mouse-openfield")
TRAININGS = HERE / "suggestions" / "trainings.jsonl"
_BETWEEN = re.compile(r"(?<=<!-- findings -->\n).*?(?=<!-- /findings -->)", re.DOTALL)

app = typer.Typer(help="The studies whose rows are kept here.", no_args_is_help=True)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="As experiments.yaml names it.")],
    data: Annotated[str | None, typer.Option(help="Where its images are.")] = None,
) -> None:
    """Run a study, or go on with it."""
    command = [sys.executable, "-m", "mapdrop", "study", *arguments(name, data)]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def suggestions(
    data: Annotated[Path, typer.Option(help="The mouse's DeepLabCut project.")] = MOUSE,
    jobs: Annotated[int, typer.Option(help="Splits that train at once.", min=1)] = 2,
) -> None:
    """Train with suggested and with random frames, or go on with it: about an hour and a half."""
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        task = progress.add_task("splits", total=SPLITS)
        train_splits(data, TRAININGS, jobs, lambda: progress.advance(task))


@app.command()
def report() -> None:
    """Make the reports of all studies again, and the findings in README.md."""
    for folder in studies():
        write_report(folder, read_rows(folder / NAME), Console())
    suggestions_report.plot(TRAININGS, TRAININGS.with_name("suggestions.png"))
    write(HERE / "README.md", readme().encode())


def arguments(name: str, data: str | None = None) -> list[str]:
    """Of `mapdrop study`, for one of the experiments.

    Raises:
        typer.BadParameter: when there is no such experiment.
    """
    known = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    if name not in known:
        raise typer.BadParameter(f"there is no experiment {name!r}, only {', '.join(known)}")
    chosen = known[name]
    options = [f"--{option}={value}" for option, value in chosen["options"].items()]
    return [data or chosen["data"], "--out", str(HERE / name), *options]


def studies() -> list[Path]:
    """Folders with rows."""
    return [path.parent for path in sorted(HERE.glob(f"*/{NAME}"))]


def readme() -> str:
    """README.md with the findings that follow from the rows."""
    lines = []
    for folder in studies():
        rows = read_rows(folder / NAME)
        lines += [f"## {folder.name}\n", f"{verdict(rows)}\n", *_table(rows)]
        lines += [f"![PCK curves and heat maps]({folder.name}/study.png)\n"]
        lines += [f"All rates, errors, costs and limits: [report]({folder.name}/report.txt).\n"]
    lines += ["## suggestions\n", *suggestions_report.findings(TRAININGS)]
    lines += ["![Joints within 5 px for each split](suggestions/suggestions.png)\n"]
    before = (HERE / "README.md").read_text(encoding="utf-8")
    return _BETWEEN.sub(lambda found: "\n".join(["", *lines, ""]), before)


def _table(rows: list[Row]) -> list[str]:
    """Each dropout less the first, for every number of training images."""
    found = findings(rows)
    radius = f"{rows[0]['data']['radii'][0]:g}"
    base = found[0].base.label
    drops = [condition.drop for condition in found[0].best[1:]]
    lines = [
        f"Test joints within {radius} px in %: {base}, and what each dropout at its rate adds "
        "(95 %; bold: leaves out 0).\n",
        f"| training images | {base} | {' | '.join(drops)} |",
        f"| --- | --- |{' --- |' * len(drops)}",
    ]
    for of in found:
        mean = estimate(of.runs[of.base], lambda row: pck_at(row, "test", float(radius))).mean
        cells = [_gap(condition, gap) for condition, gap in of.differences.items()]
        lines.append(f"| {of.train_size} | {mean:.1f} | {' | '.join(cells)} |")
    return [*lines, ""]


def _gap(condition: Condition, gap: Interval) -> str:
    text = f"{gap.value:+.1f} ({gap.low:+.1f} to {gap.high:+.1f}) at {condition.rate:g}"
    return f"**{text}**" if gap.significant else text


if __name__ == "__main__":
    app()
