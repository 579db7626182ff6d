"""Scores of a tree ensemble: what becomes of the trees' sums, as ONNX Runtime does it.

Owns base values, the rules of two classes, and post-transforms. Knows nothing of how the trees are evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[Any]
"""What the trees give together, shape (n, targets), float32 or float64."""
Scores = npt.NDArray[np.float32]
"""What the node gives, shape (n, targets)."""


class Aggregate(IntEnum):
    """Aggregate of the trees' votes for one target, in the numbers of TreeEnsemble."""

    AVERAGE = 0
    SUM = 1
    MIN = 2
    MAX = 3


class Transform(IntEnum):
    """Post-transform, in the numbers of TreeEnsemble."""

    NONE = 0
    SOFTMAX = 1
    LOGISTIC = 2
    SOFTMAX_ZERO = 3
    PROBIT = 4


class Rule(IntEnum):
    """Rule by which sums become scores."""

    PLAIN = 0
    """Each target of its own."""
    COMPLEMENT = 1
    """One column of weights for two classes, none negative: [1 - p, p] where no logistic function is asked."""
    OPPOSITE = 2
    """One column of weights for two classes, some negative: [-p, p] where no logistic function is asked."""
    MIRRORED = 3
    """Two base values and weights for the second class: it gets the first one's sum, and the first its opposite."""


@dataclass(frozen=True)
class Finish:
    """Finish of the sums: what is done with them.

    Attributes:
        rule: How they become scores.
        aggregate: How the trees' votes became one.
        transform: The post-transform.
        trees: How many trees there are.
        base: What is added to each target; in the type in which the votes are summed.
        voted: Which targets the trees vote for; ONNX Runtime gives 0 for the others.
    """

    rule: Rule
    aggregate: Aggregate
    transform: Transform
    trees: int
    base: npt.NDArray[Any]
    voted: npt.NDArray[np.bool_]

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether the sums are the scores; asked once, for what follows takes longer than it seems."""
        transforms = len(self.base) > 1 or self.transform is Transform.PROBIT
        return (
            self.rule is Rule.PLAIN
            and self.aggregate is Aggregate.SUM
            and not (transforms and self.transform is not Transform.NONE)
            and not self.base.any()
            and bool(self.voted.all())
        )

    def apply(self, sums: Sums) -> Scores:
        """Return the scores, shape (n, targets), float32; the sums are not kept."""
        if self.changes_nothing:
            return sums.astype(np.float32, copy=False)
        if self.aggregate is Aggregate.AVERAGE:
            sums /= sums.dtype.type(self.trees)
        if self.rule in (Rule.COMPLEMENT, Rule.OPPOSITE):
            return self._single(sums[:, 0] + self.base[0])
        if self.rule is Rule.MIRRORED:
            second = self.base[1] + sums[:, 0]
            sums = np.stack([-second, second], axis=1)
        elif self.base.any():
            sums += self.base
        if self.aggregate in (Aggregate.MIN, Aggregate.MAX):
            np.nan_to_num(sums, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)  # no tree's leaf voted
        if not self.voted.all():
            sums[:, ~self.voted] = 0
        if sums.shape[1] == 1 and self.transform is not Transform.PROBIT:
            return sums.astype(np.float32, copy=False)  # ONNX Runtime transforms a single target by PROBIT alone
        return _transform(sums.astype(np.float32, copy=False), self.transform)

    def _single(self, score: Sums) -> Scores:
        both: Scores = np.empty((len(score), 2), np.float32)
        if self.transform is Transform.LOGISTIC:
            both[:, 1] = _logistic(score.astype(np.float32))
            both[:, 0] = _logistic(-score.astype(np.float32))
        elif self.rule is Rule.COMPLEMENT:
            both[:, 0], both[:, 1] = 1 - score, score
        else:
            both[:, 0], both[:, 1] = -score, score
        return both


def _transform(scores: Scores, transform: Transform) -> Scores:
    if transform is Transform.LOGISTIC:
        return _logistic(scores)
    if transform is Transform.PROBIT:
        return _probit(scores)
    if transform in (Transform.SOFTMAX, Transform.SOFTMAX_ZERO):
        return _softmax(scores, transform is Transform.SOFTMAX_ZERO)
    return scores


def _logistic(scores: Scores) -> Scores:
    with np.errstate(over="ignore"):
        upper = 1 / (1 + np.exp(-np.abs(scores)))
    return np.where(scores < 0, 1 - upper, upper).astype(np.float32, copy=False)


def _softmax(scores: Scores, keep_zeros: bool) -> Scores:
    """Return the softmax of each row; one that keeps zeros shares it among the others."""
    with np.errstate(all="ignore"):
        top = np.maximum(scores.max(axis=1, keepdims=True), np.finfo(np.float32).min)
        shares = np.exp(scores - top)
        if keep_zeros:
            zero = np.abs(scores) <= np.float32(0.0000001)
            total = np.where(zero, np.float32(0), shares).sum(axis=1, keepdims=True)
            shares = np.where(zero, scores * np.exp(-top), shares)
        else:
            total = shares.sum(axis=1, keepdims=True)
        result: Scores = (shares / total).astype(np.float32, copy=False)
    return result


def _probit(scores: Scores) -> Scores:
    """Return the quantiles of the normal distribution by the approximation that ONNX Runtime uses (Winitzki's)."""
    a = np.float32(0.147)
    with np.errstate(all="ignore"):
        x = 2 * scores - 1
        log = np.log((1 - x) * (1 + x))
        half = 2 / (np.float32(np.pi) * a) + np.float32(0.5) * log
        root = np.sqrt(np.sqrt(half * half - log / a) - half)
        result: Scores = (np.float32(np.sqrt(2)) * np.where(x < 0, -root, root)).astype(np.float32, copy=False)
    return result
