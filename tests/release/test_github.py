"""The files that GitHub reads are as its schemas say, and the release is published as it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release.conftest import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FORMS = sorted(set(GITHUB.glob("ISSUE_TEMPLATE/*.yml")) - {GITHUB / "ISSUE_TEMPLATE/config.yml"})
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "vendor.github-issue-forms": FORMS,
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}


def _validated(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Check files by a schema that check-jsonschema brings: nothing is downloaded."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    return subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)


def _workflow(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / name).read_text("utf-8"))
    return loaded


@pytest.mark.subprocess
@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_are_as_their_schema_says(schema: str) -> None:
    assert SCHEMAS[schema]
    done = _validated(schema, *SCHEMAS[schema])
    assert done.returncode == 0, done.stdout


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("schema", "text", "fault"),
    [
        ("vendor.github-workflows", "on: push\njobs: {a: {steps: [{run: b}]}}", "runs-on"),
        ("vendor.github-issue-forms", "name: A form\ndescription: Without a body", "body"),
        ("vendor.github-issue-config", "blank_issues_enabled: perhaps", "perhaps"),
        ("vendor.citation-file-format", "cff-version: 1.2.0\ntitle: A title", "authors"),
    ],
)
def test_a_file_that_is_not_is_seen(tmp_path: Path, schema: str, text: str, fault: str) -> None:
    file = tmp_path / "file.yml"
    file.write_text(text)
    done = _validated(schema, file)
    assert done.returncode == 1
    assert fault in done.stdout


def test_only_the_job_that_publishes_may_sign() -> None:
    release = _workflow("release.yml")
    assert release["permissions"] == {"contents": "read"}
    allowed = {name: job.get("permissions") for name, job in release["jobs"].items()}
    assert allowed == {"ci": None, "build": None, "publish": {"id-token": "write"}}
    publish = release["jobs"]["publish"]
    (step,) = (s for s in publish["steps"] if s["uses"].startswith("pypa/gh-action-pypi-publish@"))
    assert step["with"] == {"attestations": True}
    assert "password" not in json.dumps(release)
    assert publish["environment"]["name"] == "pypi"


def test_nothing_is_published_that_was_not_tested() -> None:
    jobs = _workflow("release.yml")["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["build"]["needs"] == "ci"
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert any(
        step.get("run") == 'python -m tools.release --tag "$GITHUB_REF_NAME"'
        for step in jobs["build"]["steps"]
    )


def test_ci_runs_every_row_of_the_matrix() -> None:
    jobs = _workflow("ci.yml")["jobs"]
    assert jobs["row"]["strategy"]["matrix"] == {
        "name": "${{ fromJSON(needs.rows.outputs.names) }}"
    }
    (listed,) = (step["run"] for step in jobs["rows"]["steps"] if step.get("id") == "list")
    assert listed.startswith('echo "names=$(tox -l |')


def test_who_reports_a_wrong_mask_is_asked_for_what_check_prints() -> None:
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / "wrong_mask.yml").read_text("utf-8"))
    (check,) = (part for part in form["body"] if part.get("id") == "check")
    assert "`mapdrop check`" in check["attributes"]["label"]
    assert check["validations"] == {"required": True}
