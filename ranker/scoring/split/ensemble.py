"""Tree ensemble whose conditions are asked side by side: the user's once, a product's once, the pair's for each row.

Owns what a model's trees are at run time, and their file. Knows nothing of graphs, or of how a kernel works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelRejected, WrongShape
from ranker.scoring.split.parts import Masks, RowRequest, Side
from ranker.scoring.split.trees.attributes import Attributes
from ranker.scoring.split.trees.bits import number_leaves
from ranker.scoring.split.trees.conditions import Conditions, read_conditions, sort_conditions
from ranker.scoring.split.trees.leaves import pad_leaves
from ranker.scoring.split.trees.node import read_trees
from ranker.scoring.split.trees.scores import Aggregate, Finish, Rule, Transform
from ranker.scoring.split.trees.stored import UNREADABLE, read_arrays, write_arrays
from ranker.scoring.split.trees.votes import Votes, choose_finish, list_votes
from ranker.vectors.rows import Matrix

if TYPE_CHECKING:
    from ranker.scoring.split.trees.kernel import Kernels

FORMAT = 1


@dataclass(frozen=True)
class Ensemble:
    """Trees as bit vectors.

    Attributes:
        conditions: What each side's values rule out.
        tree_word: First word of each tree in the masks, and where the last ends, shape (trees + 1,).
        tree_leaf: First leaf of each tree, shape (trees,).
        votes: What the leaves give.
        finish: What is done with their sums.
    """

    conditions: dict[Side, Conditions]
    tree_word: npt.NDArray[np.int64]
    tree_leaf: npt.NDArray[np.int64]
    votes: Votes
    finish: Finish
    _kernels: Kernels = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # 0.1 s and 20 MB that a model without trees does not pay.
        from ranker.scoring.split.trees.kernel import Kernels

        aggregate = self.finish.aggregate
        adds = aggregate in (Aggregate.SUM, Aggregate.AVERAGE)
        leaves = pad_leaves(self.tree_word, self.tree_leaf, self.votes, self.targets, aggregate, adds)
        object.__setattr__(self, "_kernels", Kernels(self.conditions, leaves))

    @property
    def words(self) -> int:
        """Words of 64 bits that the masks of all trees take."""
        return int(self.tree_word[-1])

    @property
    def targets(self) -> int:
        return len(self.finish.base)

    @classmethod
    def from_node(cls, attributes: Attributes, op_type: str, columns: Sequence[tuple[Side, int]]) -> Ensemble:
        """Return the ensemble of an ONNX node.

        Args:
            attributes: The node's attributes by name: numbers, strings (str or bytes) and lists of them; tensors as
                arrays.
            op_type: TreeEnsembleRegressor, TreeEnsembleClassifier (whose scores are meant), or TreeEnsemble.
            columns: Side of each feature, and its position in that side's part. The parts hold in float32 what the
                node is given; where it is given float64 or integers, they were float32 before.

        Raises:
            NotSplittable: the trees stay in the graph; the message says why.
        """
        trees = read_trees(attributes, op_type)
        bits = number_leaves(trees, columns)
        votes = list_votes(trees, bits.leaves)
        return cls(
            conditions={side: sort_conditions(cleared) for side, cleared in bits.sides.items()},
            tree_word=np.append(bits.tree_word, bits.words),
            tree_leaf=bits.tree_leaf,
            votes=votes,
            finish=choose_finish(trees, votes, bits.tree_leaf.tolist()),
        )

    def asks(self, side: Side) -> bool:
        """Whether any condition looks at this side."""
        return len(self.conditions[side].group_column) > 0

    def masks(self, side: Side, part: Matrix) -> Masks:
        """Return the masks of rows of one side's part, (n, K), float32: shape (n, words), C-contiguous.

        Raises:
            WrongShape: the part has fewer columns than the conditions look at.
            ModelFailed: what was compiled stopped.
        """
        conditions = self.conditions[side]
        if part.ndim != 2 or part.shape[1] < conditions.width:
            raise WrongShape(f"The {side} part of the trees", part.shape, f"(n, {conditions.width})")
        return self._kernels.masks(side, part)

    def evaluate(
        self, request_masks: Masks, product_masks: Masks, row_request: RowRequest, pair_columns: Matrix | None = None
    ) -> Matrix:
        """Return what the trees give, base values and post-transform included.

        Votes are added in their own type, tree after tree, as ONNX Runtime adds them in one thread.

        Args:
            request_masks: Shape (R, words).
            product_masks: Shape (N, words); its rows may be strided.
            row_request: Which request each row is of, shape (N,).
            pair_columns: Shape (N, Wc), float32; None where no condition looks at them.

        Returns:
            Shape (N, targets), float32.

        Raises:
            WrongShape: masks or rows do not fit the trees or one another.
            IndexError: a row is of a request that is not there.
            ModelFailed: what was compiled stopped.
        """
        for what, masks in (("The request's masks", request_masks), ("The products' masks", product_masks)):
            if masks.ndim != 2 or masks.shape[1] != self.words:
                raise WrongShape(what, masks.shape, f"(n, {self.words})")
        if row_request.shape != (len(product_masks),):
            raise WrongShape("The rows' requests", row_request.shape, f"({len(product_masks)},)")
        if self.asks(Side.PAIR):
            if pair_columns is None or len(pair_columns) != len(product_masks):
                shape = () if pair_columns is None else pair_columns.shape
                raise WrongShape("The pair's columns", shape, f"({len(product_masks)}, columns)")
            if pair_columns.shape[1] < (width := self.conditions[Side.PAIR].width):
                raise WrongShape("The pair's columns", pair_columns.shape, f"({len(product_masks)}, {width})")
        else:
            pair_columns = None
        return self.finish.apply(self._kernels.sums(request_masks, product_masks, row_request, pair_columns))

    def save(self, path: Path) -> None:
        """Write the ensemble to an NPZ file; the same trees give the same bytes."""
        finish = self.finish
        arrays: dict[str, npt.NDArray[Any]] = {
            "header": np.array([FORMAT, finish.rule, finish.aggregate, finish.transform], np.int64),
            "base": finish.base,
            "voted": finish.voted,
            "tree_word": self.tree_word,
            "tree_leaf": self.tree_leaf,
            "vote_start": self.votes.start,
            "vote_target": self.votes.target,
            "vote_weight": self.votes.weight,
        }
        for side, conditions in self.conditions.items():
            arrays |= {f"{side}.{name}": array for name, array in conditions.to_arrays().items()}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Ensemble:
        """Read an ensemble, compiled and ready.

        Raises:
            ModelRejected: the file is none, or what it holds does not fit together.
        """
        try:
            return _assemble(read_arrays(path))
        except UNREADABLE as err:
            raise ModelRejected(
                f"{path} does not hold trees that can be evaluated ({err}); "
                "import the model again (`ranker model import`)."
            ) from err


def _assemble(arrays: dict[str, npt.NDArray[Any]]) -> Ensemble:
    """Return the ensemble of these arrays.

    Raises:
        ValueError: they do not fit together.
        KeyError: one is missing.
    """
    version, rule, aggregate, transform = arrays["header"].tolist()
    if version != FORMAT:
        raise ValueError(f"its format is {version}, and {FORMAT} is known here")
    tree_word, tree_leaf, base = arrays["tree_word"], arrays["tree_leaf"], arrays["base"]
    votes = Votes(arrays["vote_start"], arrays["vote_target"], arrays["vote_weight"])
    trees, leaves, targets = len(tree_leaf), len(votes.start) - 1, len(base)
    fits = (
        trees > 0
        and targets > 0
        and len(tree_word) == trees + 1
        and tree_word[0] == 0
        and tree_leaf[0] == 0
        and (np.diff(tree_word) > 0).all()
        and (np.diff(np.append(tree_leaf, leaves)) > 0).all()
        and (np.diff(np.append(tree_leaf, leaves)) <= np.diff(tree_word) * 64).all()
        and votes.start[0] == 0
        and votes.start[-1] == len(votes.weight) == len(votes.target)
        and (np.diff(votes.start) >= 0).all()
        and ((votes.target >= 0) & (votes.target < targets)).all()
        and votes.weight.dtype == base.dtype
        and len(arrays["voted"]) == targets
        and (targets == 2 or rule == Rule.PLAIN)
    )
    if not fits:
        raise ValueError("its trees do not fit one another")
    words = int(tree_word[-1])
    conditions = {
        side: read_conditions(
            {name.removeprefix(f"{side}."): a for name, a in arrays.items() if name.startswith(f"{side}.")}, words
        )
        for side in Side
    }
    finish = Finish(Rule(rule), Aggregate(aggregate), Transform(transform), trees, base, arrays["voted"])
    return Ensemble(conditions, tree_word, tree_leaf, votes, finish)
