"""DLRM: dense numbers (n, 13) through one network, ids (n, 8) through embeddings, and the products of all pairs.

Ids are int64 in the graph; the schema's `inputs:` lists what is in each tensor, in the order of training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import shop
import torch
from torch import nn
from torch_shop import fit, numbers, whole

DENSE = [f"d{i}" for i in range(13)]
SIZES = {
    "user_no": 60,
    "city_no": 4,
    "segment_no": 3,
    "device_no": 5,
    "item_no": 120,
    "brand_no": 5,
    "shelf_no": 40,
    "seller_no": 25,
}
"""The ids, and how many there are of each."""
OF_USERS = [*DENSE[:6], "user_no", "city_no", "segment_no", "device_no"]


class Dlrm(nn.Module):
    """Scores n rows of numbers and ids."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(count, size) for count in SIZES.values()])
        self.bottom = nn.Sequential(nn.Linear(len(DENSE), 32), nn.ReLU(), nn.Linear(32, size), nn.ReLU())
        vectors = len(SIZES) + 1
        self.top = nn.Sequential(nn.Linear(size + vectors * (vectors - 1) // 2, 32), nn.ReLU(), nn.Linear(32, 1))
        self.register_buffer("pairs", torch.tril_indices(vectors, vectors, -1))

    def forward(self, dense: torch.Tensor, sparse: torch.Tensor) -> torch.Tensor:
        """Give P(click), (n, 1), for dense (n, 13) float32 and sparse (n, 8) int64."""
        bottom = self.bottom(dense)
        vectors = torch.stack([bottom, *(table(sparse[:, i]) for i, table in enumerate(self.embeddings))], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return torch.sigmoid(self.top(torch.cat([bottom, products], dim=1)))


def make_features(entities: pd.DataFrame, of_users: bool, random: np.random.Generator) -> pd.DataFrame:
    """Return the ids of entities with their numbers and ids."""
    columns = [name for name in (*DENSE, *SIZES) if (name in OF_USERS) == of_users]
    return pd.DataFrame(
        {"id": entities.id}
        | {
            name: random.integers(0, SIZES[name], len(entities))
            if name in SIZES
            else random.lognormal(0, 1, len(entities)).astype(np.float32)
            for name in columns
        }
    )


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    torch.manual_seed(0)
    random = np.random.default_rng(5)
    users, products = shop.make_shop()
    users, products = make_features(users, True, random), make_features(products, False, random)
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    model = Dlrm()
    clicks = random.binomial(
        1, 1 / (1 + np.exp(shown.d12 - shown.d0 + (shown.brand_no == 2) - (shown.segment_no == 1)))
    )
    fit(model, lambda: torch.logit(model(numbers(shown[DENSE]), whole(shown[[*SIZES]]))[:, 0], 1e-6), clicks)

    rows = torch.export.Dim("rows")
    example = numbers(shown[DENSE][:8]), whole(shown[[*SIZES]][:8])
    torch.onnx.export(model, example, folder / "model.onnx", dynamic_shapes=({0: rows}, {0: rows}))

    compared = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    with torch.no_grad():
        prediction = model(numbers(compared[DENSE]), whole(compared[[*SIZES]]))[:, 0].numpy()
    shop.write_files(folder, users, products, compared, prediction)


if __name__ == "__main__":
    shop.run(train)
