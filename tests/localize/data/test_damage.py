"""Reading a damaged file gives data or a message, never another exception."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapdrop.localize.data import DataError, read
from tests.localize.data.writers import FORMATS, truth

FILES = {
    "deeplabcut": "labeled-data/v/CollectedData_A.csv",
    "deeplabcut-h5": "labeled-data/v/CollectedData_A.h5",
    "coco": "annotations/person_keypoints_val2017.json",
    "flic": "examples.mat",
    "mpii": "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat",
    "sleap": "labels.slp",
    "table": "points.csv",
}


@pytest.fixture(scope="module")
def sources() -> dict[str, bytes]:
    found = {}
    for name, (write, joints, _) in FORMATS.items():
        with TemporaryDirectory() as folder:
            write(Path(folder), truth(), joints)
            found[name] = (Path(folder) / FILES[name]).read_bytes()
    return found


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.data())
def test_a_damaged_file_is_data_or_a_message(
    name: str, sources: dict[str, bytes], tmp_path: Path, change: st.DataObject
) -> None:
    whole = sources[name]
    start = change.draw(st.integers(0, len(whole)))
    length = change.draw(st.sampled_from([0, 1, 4, 40, len(whole)]))
    damaged = whole[:start] + change.draw(st.binary(max_size=4)) + whole[start + length :]
    path = tmp_path / FILES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(damaged)
    (tmp_path / "config.yaml").unlink(missing_ok=True)
    if name.startswith("deeplabcut"):
        (tmp_path / "config.yaml").write_text('bodyparts: ["left ear", "right ear", nose, tail]')
        path = tmp_path
    with suppress(DataError):
        dataset = read(path)
        assert all(s.image.path.is_relative_to(tmp_path.resolve()) for s in dataset.samples)
        assert len(dataset) >= 1
