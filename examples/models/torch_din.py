"""DIN: a user's history of products, (1, 20) ids and a mask, of which each product attends to what is like it.

The history is stored as it is, up to 20 product ids; the mask is made of how many there are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shop
import torch
from torch import nn
from torch_shop import fit, numbers, whole

LENGTH = 20


class Din(nn.Module):
    """Scores n products for a user with a history."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shop.PRODUCTS + 1, size, padding_idx=0)
        self.attention = nn.Sequential(nn.Linear(3 * size, 16), nn.ReLU(), nn.Linear(16, 1))
        self.top = nn.Sequential(nn.Linear(2 * size + 1, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(
        self, viewed: torch.Tensor, viewed_mask: torch.Tensor, item: torch.Tensor, price: torch.Tensor
    ) -> torch.Tensor:
        """Give (n,) for viewed (1, 20) int64, viewed_mask (1, 20) float32, item (n,) int64 and price (n, 1)."""
        candidate = self.embedding(item)[:, None]
        history = self.embedding(viewed).expand(candidate.shape[0], -1, -1)
        beside = torch.cat([history, candidate.expand(-1, history.shape[1], -1), history * candidate], dim=2)
        weights = self.attention(beside) * viewed_mask[:, :, None]
        interest = (weights * history).sum(dim=1)
        return self.top(torch.cat([interest, candidate[:, 0], price * 0.02], dim=1))[:, 0]


def padded(histories: object) -> np.ndarray:
    """Return histories (n, 20), with 0 behind them."""
    return np.array([[*ids, *[0] * (LENGTH - len(ids))] for ids in histories])


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    torch.manual_seed(0)
    random = np.random.default_rng(5)
    users, products = shop.make_shop()
    products["item"] = np.arange(1, len(products) + 1)
    users["viewed"] = [random.integers(1, shop.PRODUCTS + 1, random.integers(0, LENGTH + 1)).tolist() for _ in users.id]
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    model = Din()

    def inputs(rows: object) -> tuple[torch.Tensor, ...]:
        viewed = padded(rows.viewed)
        return whole(viewed), numbers(viewed > 0), whole(rows["item"]), numbers(rows[["price"]])

    fit(model, lambda: model(*inputs(shown)), shop.draw_clicks(shown))

    viewed, mask, *of_products = inputs(shown[:8])
    rows = torch.export.Dim("rows")
    example = viewed[:1], mask[:1], *of_products
    torch.onnx.export(model, example, folder / "model.onnx", dynamic_shapes=(None, None, {0: rows}, {0: rows}))

    compared = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    with torch.no_grad():
        prediction = model(*inputs(compared)).numpy()
    shop.write_files(folder, users, products, compared, prediction)


if __name__ == "__main__":
    shop.run(train)
