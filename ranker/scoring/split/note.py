"""Note on a split: what the import found, for people; kept beside the parts, or beside a graph that stays whole.

Owns what is told, and its JSON. Nothing that is served depends on it.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranker.errors import ModelRejected

MAX_BYTES = 1 << 20
MAX_KEPT = 200
"""Operations of the pair part that are listed."""
READ_SHARE = 0.1
"""The share of a request's products that the near cache is taken not to hold, so that they are prepared for it."""
_Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Kept(BaseModel):
    """An operation of the graph that stays in the pair part, run for each product of each request.

    Attributes:
        operator: Such as `Softmax`.
        name: Of the node, or of its output.
        reason: Why it is neither of the request's side nor of the product's.
        steps: Whether it has steps, such as `Greater` or trees, and takes what the parts sum in another order: a value
            within rounding of a step may fall to its other side.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    operator: str
    name: str
    reason: str
    steps: bool = False


class Gain(BaseModel):
    """CPU microseconds that a request takes, on one thread, with the whole graph and in parts: medians.

    Attributes:
        products: Of the request.
        whole_us: The whole graph, for a request alone.
        split_us: The request part and the pair part, for a request alone, with products prepared.
        round_whole_us: The whole graph, for one request of a round; 0 where only requests alone were measured.
        round_split_us: The parts, likewise.
        prepare_us: The product part, for one product.
        product_bytes: Of the cache, for what is prepared of one product.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    products: Annotated[int, Field(ge=1)]
    whole_us: _Finite
    split_us: _Finite
    round_whole_us: _Finite = 0.0
    round_split_us: _Finite = 0.0
    prepare_us: _Finite
    product_bytes: Annotated[int, Field(ge=0)]

    @property
    def share(self) -> float:
        """The share of a request's time that the split saves; negative where it takes longer.

        Of a request alone and one of a round, each for half, with `READ_SHARE` of the products to be prepared.
        """
        whole = self.whole_us + (self.round_whole_us or self.whole_us)
        split = self.split_us + (self.round_split_us or self.split_us)
        return 1 - (split + 2 * READ_SHARE * self.products * self.prepare_us) / whole if whole else 0.0

    @property
    def uses(self) -> float:
        """How often a product must be ranked until what it took to prepare it is saved; infinite where it never is."""
        saved = (self.whole_us - self.split_us) / self.products
        return self.prepare_us / saved if saved > 0 else float("inf")


class Note(BaseModel):
    """What the import found.

    Attributes:
        whole_because: Why the graph stays whole; empty where it is split.
        rows: How many rows were scored by both.
        unsteady: How many rows the whole graph scores otherwise where they lie elsewhere in memory.
        difference: The largest difference of a score, as a share of it or of its list's range; None where not compared.
        gain: None where not measured.
        kept: The operations that stay in the pair part.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    whole_because: str = ""
    rows: int = 0
    unsteady: Annotated[int, Field(ge=0)] = 0
    difference: _Finite | None = None
    gain: Gain | None = None
    kept: tuple[Kept, ...] = ()

    def to_bytes(self) -> bytes:
        return self.model_copy(update={"kept": self.kept[:MAX_KEPT]}).model_dump_json(indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a note.

        Raises:
            ModelRejected: it is none.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as err:
            first = err.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ModelRejected(f"The note on its split is damaged: {where}: {first['msg']}.") from err


NOT_TRIED = Note(whole_because="it was imported by a version that did not split graphs; import it again")
"""Note of a model that was stored without one."""
