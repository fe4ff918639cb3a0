"""What a training step costs with each dropout, against none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

from mapdrop.localize.batches import Batches
from mapdrop.localize.data import KeypointData
from mapdrop.localize.stages import CoarseStage
from mapdrop.localize.train import Trainer
from mapdrop.study.conditions import Condition
from mapdrop.study.rows import Row
from mapdrop.study.runner import Inputs, Settings, build
from mapdrop.system.timing import interleaved, ratio
from mapdrop.tools.memory import peak

ROUNDS, WARM_UP = 24, 3


def steps_timed(conditions: Sequence[Condition], rounds: int = ROUNDS) -> int:
    """How many steps `step_times` makes."""
    return (WARM_UP + rounds) * len(_timed(conditions))


def step_times(
    conditions: Sequence[Condition],
    data: KeypointData,
    inputs: Inputs,
    settings: Settings,
    rounds: int = ROUNDS,
    on_step: Callable[[], None] = lambda: None,
) -> list[Row]:
    """A row for each condition: the median step in ms, the median ratio to none, peak memory.

    Steps are interleaved: each round makes one step of every condition, and ratios are taken within
    a round, so that other work on the machine hits all of them alike.
    """
    timed = _timed(conditions)
    recipe = replace(settings.recipe, steps=WARM_UP + rounds)
    trainers = [
        Trainer(CoarseStage(build(condition, len(data.joints), 0, settings)), recipe)
        for condition in timed
    ]
    images, points = inputs.images[data.train], inputs.points[data.train]
    batch = Batches(images, points, recipe.batch, 0, recipe.augment)[0]
    steps = {i: partial(trainer, batch) for i, trainer in enumerate(trainers)}
    times = interleaved(steps, rounds, warmup=WARM_UP, on_call=on_step)
    peaks = []
    for trainer in trainers:
        trainer.optimiser.zero_grad()  # The last step's gradients are not this one's.
        peaks.append(peak(partial(trainer, batch)))
    return [
        {
            "kind": "timing",
            **asdict(condition),
            "step_ms": 1000 * times[i].median,
            "ratio": ratio(times[0], times[i]),
            "peak_mb": peaks[i] / 2**20,
            "rounds": rounds,
        }
        for i, condition in enumerate(timed)
    ]


def _timed(conditions: Sequence[Condition]) -> list[Condition]:
    """None first, whether or not it's among those asked for."""
    others = [condition for condition in conditions if condition.drop != "none"]
    return [Condition("none", 0.0, conditions[0].block_size), *others]
