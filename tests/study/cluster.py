"""Run cells on a Ray cluster of this machine; test_workers.py runs this script."""

from __future__ import annotations

import gc

import pytest

from mapdrop.localize.data import KeypointData
from mapdrop.study.cluster import ray_tasks
from mapdrop.study.runner import Inputs, run
from tests.study.test_workers import BROKEN, CELLS, SETTINGS, finished, without_time
from tests.study.test_workers import data as data


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_ray_cluster_gives_the_same(data: KeypointData) -> None:
    found = finished(ray_tasks([*CELLS[:2], BROKEN], data, SETTINGS, "local"))
    for cell in CELLS[:2]:
        assert without_time(found[cell]) == without_time(run(cell, data, Inputs.of(data), SETTINGS))
    assert (
        found[BROKEN] == "DataError: scenes has 4 training images, not 99; use another --train-size"
    )
    gc.collect()  # Close what Ray leaves open, while that is not an error.
