"""Commands whose output leads somewhere else: another code page, a full disk, a closed pipe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mapdrop.cli import main
from mapdrop.system.streams import any_code_page
from tests.study.example_rows import study

SHAPES = [sys.executable, "-m", "mapdrop", "bench", "--shapes"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
def test_what_an_encoding_lacks_is_written_in_ascii(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "≤ 4 px × 2 ± 1 µs ██▌ ╎ ·… 猫"
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    any_code_page()
    print(text, end="", flush=True)
    expected = {
        "ascii": r"<= 4 px x 2 +- 1 us ### | .... \u732b",
        "cp1252": r"<= 4 px × 2 ± 1 µs ### | ·… \u732b",
        "cp437": r"≤ 4 px x 2 ± 1 µs ██▌ | ·... \u732b",
        "utf-8": text,
    }[encoding]
    assert raw.getvalue().decode(encoding) == expected


@pytest.mark.filterwarnings("ignore:Glyph .* missing")  # A plot's fonts lack the cat.
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_report_in_another_code_page(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = study({("none", 0.0): (0.5, 0.4), ("spatial", 0.5): (0.6, 0.5)})
    rows[0]["data"]["name"] = "mäuse 猫"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["mapdrop", "study", "report", str(tmp_path)])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    sys.stdout.flush()
    told = raw.getvalue().decode(encoding)
    assert "<= 4 px" in told
    assert {"ascii": r"m\xe4use \u732b", "cp1252": r"mäuse \u732b"}[encoding] in told
    assert {"ascii": "45.0 +-7.1", "cp1252": "45.0 ±7.1"}[encoding] in told
    assert "Which dropout for mäuse 猫?" in (tmp_path / "report.txt").read_text(encoding="utf-8")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.Popen(
        SHAPES, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.communicate()[1] == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize(
    "command", [SHAPES, [*SHAPES[:-2], "explain", "--shape=1,2,2,3"]], ids=" ".join
)
def test_a_full_disk_is_told_in_a_sentence(command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "error: [Errno 28] No space left on device\n"
    assert done.returncode == 1
