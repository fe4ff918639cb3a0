"""`mapdrop audit` from the outside."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from mapdrop.cli import app

HERE = "tests.tools.audit.examples"


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["audit", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


def test_a_right_model_ends_with_0() -> None:
    code, out, err = run(f"{HERE}:right")
    assert (code, err) == (0, "")
    assert "1     Dropout  0.25" in out
    assert "no findings" in out


def test_findings_end_with_1() -> None:
    code, out, _ = run(f"{HERE}:wrong")
    assert code == 1
    assert "- active in eval mode: tests/tools/audit/examples.py:" in out


def test_json() -> None:
    code, out, _ = run(f"{HERE}:wrong", "--json")
    found = json.loads(out)
    assert code == 1
    (drop,) = found["drops"]
    assert (drop["kind"], drop["p"], drop["functional"]) == ("dropout", 0.25, True)
    assert [finding["check"] for finding in found["findings"]] == ["active in eval mode"]


def test_what_the_code_prints_is_no_part_of_the_json() -> None:
    _, out, err = run(f"{HERE}:talks", "--json")
    assert not json.loads(out)["findings"]
    assert "made" in err
    assert "called" in err


@pytest.mark.parametrize(
    ("target", "code", "told"),
    [
        ("nonsense", 2, "'nonsense' is not module:function, as in "),
        (f"{HERE}:", 2, "is not module:function"),
        (f"{HERE}:gone", 2, f"{HERE} has no function 'gone'"),
        (f"{HERE}:not_a_function", 2, "has no function 'not_a_function'"),
        (f"{HERE}:alone", 2, "returns (Linear), and not a torch.nn.Module with its inputs"),
        (f"{HERE}:no_model", 2, "returns (Tensor, Tensor), and not a torch.nn.Module"),
        ("gone.away:f", 2, "gone.away cannot be imported: ModuleNotFoundError: No module"),
        (f"{HERE}:raises", 2, "raises OSError: no \\x1b[2J file ("),
        (f"{HERE}:leaves", 2, "raises SystemExit: 0 ("),
        (f"{HERE}:leaves_later", 2, "raises SystemExit: 0 ("),
        (f"{HERE}:misfit", 2, "the model of tests.tools.audit.examples:misfit raises RuntimeError"),
    ],
)
def test_bad_input_ends_with_a_sentence(target: str, code: int, told: str) -> None:
    found, out, err = run(target)
    assert (found, out) == (code, "")
    assert told in err
    assert "Traceback" not in err


def test_modules_of_the_present_folder_are_found(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("project")
    (folder / "my_project.py").write_text(f"from {HERE} import right")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert run("my_project:right")[0] == 0
