"""Say which joints are hard to find, in which images, and what is found at another joint."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mapdrop.localize.scores import Array, PixelErrors


def hardest_first(errors: PixelErrors) -> list[int]:
    """Return the joints' indices: by the error that one in ten exceeds, joints without labels last.

    The median would hide a joint that is usually found and sometimes far off.
    """
    tails = errors.percentile(90)
    far = np.array([tails[joint] for joint in errors.joints])
    return [int(joint) for joint in np.argsort(-far, kind="stable")]


def worst_images(errors: PixelErrors, joint: int) -> list[int]:
    """Return the indices of the images that have this joint labelled, the largest error first."""
    far = errors.distances[:, joint]
    return [int(image) for image in np.argsort(-far, kind="stable") if not np.isnan(far[image])]


def nearest_joints(predicted: Array, truth: Array) -> npt.NDArray[np.intp]:
    """Return the joint whose label is nearest to each joint's predicted point.

    Where left and right are confused, by the network or by who labelled, it is the other side.

    Args:
        predicted, truth: (N, K, 2) in pixels; NaN in the truth where missing.

    Returns:
        (N, K) indices: the joint itself where it has no label, or no other label is nearer.

    >>> truth = [[[0, 0], [9, 0], [np.nan, np.nan]]]
    >>> nearest_joints(np.array([[[8, 0], [9, 1], [0, 0]]]), np.array(truth))
    array([[1, 1, 2]])
    """
    frames, joints = truth.shape[:2]
    nearest = np.tile(np.arange(joints), (frames, 1))
    for joint in range(joints):
        far = np.linalg.norm(truth - predicted[:, joint, None], axis=-1)
        own = far[:, joint]
        closest = np.where(np.isnan(far), np.inf, far).argmin(axis=1)
        nearer = far[np.arange(frames), closest] < own  # Never of NaN.
        nearest[nearer, joint] = closest[nearer]
    return nearest
