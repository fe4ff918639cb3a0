"""Describe a training before it starts: its images and joints, and how long it will take."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from mapdrop.localize.run.images import LabelledImages
from mapdrop.localize.run.training import Run
from mapdrop.localize.stages import stage_of
from mapdrop.localize.train import Trainer
from mapdrop.system.timing import interleaved

ROUNDS, LIMIT = 3, 2.0
"""Steps of each stage that are timed, and seconds after which no other one is."""


@dataclass(frozen=True)
class JointCount:
    """How often a joint is labelled.

    Attributes:
        name: the joint.
        train, validation: images in which it is labelled.
        missing: fraction of all images in which it isn't.
    """

    name: str
    train: int
    validation: int
    missing: float


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        network: the network and its data, in a sentence.
        joints: how often each joint is labelled.
        sizes: the images' sizes, and what they are scaled to, in a sentence.
        mirroring: which joints a mirrored image exchanges, or why none is mirrored.
        limits: what the data cannot show, in a sentence.
        left_out: what was left out of the data and why, a phrase each.
        steps: gradient steps that are left, if no stage ends early.
        seconds: how long they will take.
    """

    network: str
    joints: tuple[JointCount, ...]
    sizes: str
    mirroring: str
    limits: str
    left_out: tuple[str, ...]
    steps: int
    seconds: float

    @classmethod
    def of(cls, run: Run) -> Plan:
        """Describe a run; some steps are timed, on a copy of its network."""
        train, validation = _labelled(run.train), _labelled(run.validation)
        every = np.concatenate([train, validation])
        return cls(
            run.description,
            tuple(
                JointCount(name, int(a), int(b), float(share))
                for name, a, b, share in zip(
                    run.train.joints,
                    train.sum(axis=0),
                    validation.sum(axis=0),
                    1 - every.mean(axis=0),
                    strict=True,
                )
            ),
            _sizes(run.train, run.validation),
            run.settings.mirroring(run.train.joints).reason,
            run.train.limits,
            run.train.left_out,
            sum(run.steps_left.values()),
            _duration(run),
        )


def _labelled(images: LabelledImages) -> npt.NDArray[np.bool_]:
    return np.asarray(~np.isnan(images.points).any(axis=-1))


def _duration(run: Run) -> float:
    """Return about how many seconds the steps that are left take, with their validations."""
    seconds, spare = 0.0, deepcopy(run.model)
    for name, steps in run.steps_left.items():
        if steps:
            stage, network = stage_of(spare, name)
            # Not wrapped by the group: processes may time different numbers of steps, and those
            # that average gradients would wait for each other for ever.
            recipe = replace(run.stages[name], steps=1 + ROUNDS)
            step = partial(run.step, Trainer(stage, recipe), 0)
            times = interleaved({0: step}, ROUNDS, warmup=1, limit=LIMIT)[0]
            checks = interleaved({0: partial(run.scores, network)}, 1, warmup=0)[0]
            seconds += steps * times.median
            seconds += (1 + steps / run.settings.every) * checks.median
    return seconds


def _sizes(*parts: LabelledImages) -> str:
    sizes = np.concatenate([part.sizes for part in parts])
    small, large = sizes.min(axis=0), sizes.max(axis=0)
    text = f"{small[0]}x{small[1]}"
    if (small != large).any():
        text = f"{small[0]} to {large[0]} pixels wide and {small[1]} to {large[1]} high"
    return f"images of {text} are scaled to fit into {parts[0].size[0]}x{parts[0].size[1]}"
