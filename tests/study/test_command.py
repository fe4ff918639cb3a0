"""The command line of `mapdrop study`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from mapdrop.cli import app
from mapdrop.study.cluster import check_reachable
from mapdrop.study.rows import read_rows
from tests.localize import spots

SMALL = [
    *("--seeds=2", "--steps=2", "--batch=2", "--width=2", "--banks=1", "--jobs=1"),
    *("--train-size=4", "--validation-size=2", "--test-size=4"),
]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["study", *arguments])


def test_a_study_leaves_rows_a_report_and_a_image(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("scenes", *SMALL, "--rates", "0.3", "--out", str(out))
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["study"] + 4 * ["timing"] + 8 * ["run"]
    runs = {(row["drop"], row["rate"], row["seed"]) for row in rows[5:]}
    drops = [("none", 0), ("element", 0.3), ("spatial", 0.3), ("block", 0.3)]
    assert runs == {(drop, rate, seed) for drop, rate in drops for seed in (0, 1)}
    assert rows[0]["settings"]["recipe"]["steps"] == 2
    for row in rows:
        assert set(row["versions"]) >= {"mapdrop", "torch", "numpy", "python"}
    assert "Which dropout for scenes?" in result.output
    assert "What this cannot tell" in (out / "report.txt").read_text()
    with Image.open(out / "study.png") as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 1000
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "hardest for every dropout" in page
    names = {"report.txt", "report.html", "rows.jsonl", "study.png", "examples", ".lock"}
    assert {path.name for path in out.iterdir()} == names


@pytest.mark.usefixtures("cells_run_here")
def test_a_report_can_be_made_again_from_the_folder_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    call("scenes", *SMALL, "--drops", "none,block", "--out", str(out))
    made = {path.name: path.read_bytes() for path in out.glob("report.*")}
    for name in made:
        (out / name).unlink()
    result = call("report", str(out))
    assert result.exit_code == 0, result.output
    assert {path.name: path.read_bytes() for path in out.glob("report.*")} == made
    result = call("report", str(tmp_path))
    assert result.exit_code == 1
    assert "holds no study: there is no rows.jsonl" in result.output


@pytest.mark.usefixtures("cells_run_here")
def test_the_same_command_resumes_and_a_larger_one_adds(tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = [*SMALL, "--drops", "none,spatial"]
    assert call("scenes", *small, "--out", str(out)).exit_code == 0
    before = read_rows(out / "rows.jsonl")
    assert call("scenes", *small, "--out", str(out)).exit_code == 0
    assert read_rows(out / "rows.jsonl") == before
    larger = [*small, "--drops", "none,spatial,block", "--seeds=3", "--train-size=2,4"]
    assert call("scenes", *larger, "--out", str(out)).exit_code == 0
    rows = read_rows(out / "rows.jsonl")
    assert rows[: len(before)] == before
    cells = [(r["drop"], r["train_size"], r["seed"]) for r in rows if r["kind"] == "run"]
    assert sorted(cells) == sorted(
        (drop, size, seed)
        for drop in ("none", "spatial", "block")
        for size in (2, 4)
        for seed in range(3)
    )
    other = call("scenes", *small, "--steps=3", "--out", str(out))
    assert other.exit_code == 1
    output = " ".join(other.output.split())
    assert "with other settings: recipe {" in output
    assert "choose another --out" in output
    other = call("scenes", *small, "--data-seed=1", "--out", str(out))
    assert other.exit_code == 1
    assert "with other data: digest" in " ".join(other.output.split())
    assert read_rows(out / "rows.jsonl") == rows


@pytest.mark.usefixtures("cells_run_here")
def test_a_cell_that_fails_is_a_row_and_is_repeated_with_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mapdrop.study import workers

    out, small = tmp_path / "out", [*SMALL, "--drops", "none,spatial"]

    def fails(cells: Any, *rest: Any) -> Any:
        for event in real(cells, *rest):
            if isinstance(event, workers.Finished) and event.cell.seed == 1:
                event = event._replace(result="no memory")
            yield event

    real = workers.processes
    with monkeypatch.context() as patch:
        patch.setattr(workers, "processes", fails)
        result = call("scenes", *small, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "failed: no memory" in result.output
    for arguments, kinds in (([], {"failed": 2, "run": 2}), (["--retry"], {"failed": 2, "run": 4})):
        assert call("scenes", *small, *arguments, "--out", str(out)).exit_code == 0
        rows = read_rows(out / "rows.jsonl")
        assert {k: sum(r["kind"] == k for r in rows) for k in kinds} == kinds
    assert "failed" not in (out / "report.txt").read_text()


@pytest.mark.usefixtures("cells_run_here")
def test_shared_masks_have_rows_and_lines_of_their_own(tmp_path: Path) -> None:
    drops = "none,spatial,share=2,share=2+balanced"
    small = [*SMALL, "--batch=4", "--seeds=1"]
    result = call("scenes", *small, "--drops", drops, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert [row["drop"] for row in rows if row["kind"] == "run"] == drops.split(",")
    assert [row["rate"] for row in rows if row["kind"] == "run"] == [0, 0.5, 0.5, 0.5]
    text = " ".join((tmp_path / "out" / "report.txt").read_text().split())
    assert "share 2, balanced 0.5" in text
    assert "share: so many samples have one mask; balanced: a batch's masks" in text


@pytest.mark.usefixtures("cells_run_here")
def test_compact_costs_are_measured_once_for_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each worker's own costs, a resumed study would differ from an uninterrupted one."""
    from mapdrop.study import workers
    from mapdrop.torch.compact import calibrate

    given: list[Any] = []
    processes = workers.processes

    def watched(cells: Any, data: Any, settings: Any, jobs: int) -> Any:
        given.append(settings.costs)
        return processes(cells, data, settings, jobs)

    def other() -> Any:
        """Simulate another calibration, with other values."""
        assert torch.get_num_threads() == 1
        return replace(calibrate(), call=1e-4 * (2 + len(given)))

    monkeypatch.setattr(workers, "processes", watched)
    monkeypatch.setattr("mapdrop.study.study.calibrate", other)
    arguments = [*SMALL, "--drops", "none,spatial+compact", "--out", str(tmp_path / "out")]
    for seeds in (1, 2):
        assert call("scenes", *arguments, f"--seeds={seeds}").exit_code == 0
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert [row["kind"] for row in rows][:4] == ["study", "costs", "timing", "timing"]
    assert sum(row["kind"] == "costs" for row in rows) == 1
    assert [asdict(costs) for costs in given] == [rows[1]["costs"]] * 2
    plain = [*SMALL, "--seeds=1", "--drops", "none,spatial", "--out", str(tmp_path / "plain")]
    assert call("scenes", *plain).exit_code == 0
    assert given[2] is None


@pytest.mark.usefixtures("cells_run_here")
def test_two_images_are_a_study(tmp_path: Path) -> None:
    """One image trains, one tests, and none is left to choose among rates."""
    (tmp_path / "points.csv").write_text("image,joint,x,y\n0.png,nose,10,12\n1.png,nose,11,13\n")
    for i in range(2):
        Image.new("RGB", (32, 32), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    small = ["--size=32x32", "--steps=2", "--batch=2", "--width=2", "--banks=1", "--seeds=1"]
    arguments = [str(tmp_path), *small, "--jobs=1", "--drops=none,spatial"]
    result = call(*arguments, "--rates=0.2,0.5", "--out", str(tmp_path / "rates"))
    assert result.exit_code == 1
    assert "no images left to validate on, so rates can't be compared" in " ".join(
        result.output.split()
    )
    assert not (tmp_path / "rates").exists()
    result = call(*arguments, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "On " in (tmp_path / "out" / "report.txt").read_text()


def test_an_earlier_study_is_never_overwritten(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"kind": "run"}\n')
    result = call(*SMALL, "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "choose another --out" in result.output
    assert rows.read_text() == '{"kind": "run"}\n'


@pytest.mark.usefixtures("cells_run_here")
def test_without_out_each_study_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [*SMALL, "--drops", "none", "--seeds", "1"]
    assert call(*small).exit_code == 0
    assert call(*small).exit_code == 0
    assert sorted(path.name for path in Path("mapdrop-study").iterdir()) == ["scenes-1", "scenes-2"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--drops", "none,maps"], 2, "no dropout 'maps'"),
        (["--drops", "none,share=0"], 2, "N from 1 to 999999, got 'share=0'"),
        (["--drops", "share=2+even"], 2, "may have +balanced, +compact"),
        (["--rates", "half"], 2, "expected numbers such as"),
        (["--rates", "1.5"], 2, "between 0 and 1, got 1.5"),
        (["--size", "96"], 2, "as 160x120, got '96'"),
        (["--train-size", "4,x"], 2, "expected integers such as 10,20,40, got '4,x'"),
        (["--train-size", "4,4"], 2, "each number of training images once"),
        (["--jobs", "0"], 2, "'--jobs'"),
        (["--seeds", "0"], 2, "'--seeds'"),
        (["--ray", "nowhere"], 2, "HOST:PORT or ray://HOST:PORT with a port up to 65535, got"),
        (["--ray", "ray://"], 2, "got 'ray://'"),
        (["--ray", "ray://host:0"], 2, "got 'ray://host:0'"),
        (["--ray", "host:65536"], 2, "got 'host:65536'"),
        (["--ray", "http://host:80"], 2, "got 'http://host:80'"),
        (["--ray", ""], 2, "got ''"),
        (["--learning-rate", "0"], 2, "learning_rate must be positive"),
        (["--bodyparts", "0,nose"], 1, "not 'nose'"),
        (["no/such/folder"], 1, "'no/such/folder' has no known format"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_a_message_not_a_traceback(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    result = call(*arguments, "--out", str(tmp_path / "out"))
    assert result.exit_code == code
    # The message may be wrapped and framed.
    assert message in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_a_message(scheme: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        check_reachable(address)
    result = call(*SMALL, "--ray", address, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert f"error: nothing listens at {address}: " in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_broken_project_names_the_file_and_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "labeled-data" / "v"
    folder.mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("bodyparts: [nose]\n")
    table = folder / "CollectedData_A.csv"
    table.write_text(
        "scorer,A,A\nbodyparts,nose,nose\ncoords,x,y\n"
        "labeled-data/v/1.png,1,2\nlabeled-data/v/2.png,1,2\n"
    )
    result = call(str(tmp_path), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert f"{table}:4: there is no image {folder / '1.png'}" in result.output.replace("\n", "")


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = call(*SMALL, "--out", str(tmp_path / "file" / "out"))
    assert result.exit_code == 1
    assert "error: " in result.output
    assert "Traceback" not in result.output


def test_every_option_has_help() -> None:
    import typer.main

    group = typer.main.get_command(app).commands["study"]  # type: ignore[attr-defined]
    command = group.commands["run"]
    without = [p.name for p in command.params if not getattr(p, "help", None)]
    assert without == []
    assert len(command.params) > 15


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


HEAVY = ["torch", "matplotlib", "sklearn", "scipy", "PIL"]


def test_help_imports_nothing_heavy() -> None:
    guard = f"""
import sys
from mapdrop.cli import app
try:
    app(["study", "--help"])
finally:
    found = [module for module in {HEAVY} if module in sys.modules]
    assert not found, found
"""
    assert python(guard).returncode == 0
    proof = python(f"import sys; sys.modules |= dict.fromkeys({HEAVY}, sys)\n{guard}")
    assert f"AssertionError: {HEAVY}" in proof.stderr


@pytest.fixture(scope="module")
def ended() -> dict[str, str]:
    """Return how a study ends without each package, in the order in which it imports them.

    A module whose import fails is imported anew by the next study, so one process does for all.
    """
    done = python("""
import contextlib, io, json, sys
class Absent:
    def __init__(self, package):
        self.package = package
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.argv = ["mapdrop", "study", "--seeds", "1"]
ends = {}
for package in ("typer", "torch", "yaml", "matplotlib", "sklearn"):
    assert package not in sys.modules
    sys.meta_path.insert(0, Absent(package))
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        try:
            from mapdrop.cli import main
            main()
        except SystemExit as end:
            ends[package] = f"{printed.getvalue()}{end}"
    del sys.meta_path[0]
print(json.dumps(ends))
""")
    assert done.returncode == 0, done.stderr
    ends: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return ends


@pytest.mark.parametrize("package", ["typer", "torch", "yaml", "matplotlib", "sklearn"])
def test_a_missing_extra_is_named(package: str, ended: dict[str, str]) -> None:
    install = 'pip install "mapdrop[study]"'
    expected = f"error: {package} is not installed: {install}\n1"  # The exit code.
    if package == "typer":  # It is what ends commands.
        expected = f"The mapdrop command needs its extra: {install}"
    assert ended[package] == expected


@pytest.mark.usefixtures("cells_run_here")
def test_every_unusable_image_is_reported_before_anything_is_trained(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,nose,{10 + i},{12 + i}\n" for i in range(6))
    (tmp_path / "points.csv").write_text(f"image,joint,x,y\n{rows}")
    for i in range(6):
        Image.new("RGB", (32, 32), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    arguments = [str(tmp_path), "--size=32x32", "--train-size=3", "--test-size=2", "--steps=2"]
    arguments += ["--batch=2", "--width=2", "--banks=1", "--drops=none", "--seeds=1"]
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "4.png").unlink()
    result = call(*arguments, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    output = result.output.replace("\n", "")
    assert "2 problems with 6 images:" in output
    assert f"points.csv:4: {tmp_path / '2.png'} can't be read as an image" in output
    assert f"points.csv:6: there is no image {tmp_path / '4.png'}" in output
    assert not (tmp_path / "out").exists()
    for i in (2, 4):
        Image.new("RGB", (32, 32), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    result = call(*arguments, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert read_rows(tmp_path / "out" / "rows.jsonl")[0]["data"]["joints"] == ["nose"]


BROKEN: dict[str, bytes] = {
    "text": b"my notes\n",
    "escape sequences": json.dumps({"kind": "\x1b[2J\x1b]0;title\x07"}).encode() + b"\n",
    "raw escape sequences": b"\x1b[2J\n",
    "numbers that are none": b'{"kind": "study", "data": NaN}\n',
    "nothing": b"",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_report_of_another_file_is_a_message(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    result = call("report", str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {tmp_path / 'rows.jsonl'}")
    assert result.stderr.count("\n") == 1
    assert result.stderr.rstrip("\n").isprintable()
    assert isinstance(result.exception, SystemExit)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.usefixtures("cells_run_here")
def test_what_was_left_out_is_told_and_stays_in_the_report(tmp_path: Path) -> None:
    data, out = spots.write(tmp_path / "data", 11), tmp_path / "out"
    (data / "003.png").unlink()
    options = ["--size=64x48", "--drops=none", "--seeds=1", f"--out={out}"]
    assert "there is no image" in call(str(data), *SMALL, *options).output
    result = call(str(data), *SMALL, *options, "--skip-missing")
    assert result.exit_code == 0, result.output
    told = "1 image whose file is missing"
    assert f"left out: {told}" in result.output
    assert f"Left out: {told}." in read_rows(out / "rows.jsonl")[0]["data"]["limits"]
    assert f"Left out: {told}." in " ".join((out / "report.txt").read_text().split())
