"""DIN: a user's history of products, (1, 20) ids and a mask, of which each product attends to what is like it.

The history is stored as it is, up to 20 product ids; the mask is made of how many there are. What is known of the
products in it beside their ids, the vector of their style (1, 20, 4), is stored with the products alone, and looked up.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import shop
import torch
from torch import nn
from torch_shop import fit, numbers, whole

LENGTH, STYLE = 20, 4


class Din(nn.Module):
    """Scores n products for a user with a history."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shop.PRODUCTS + 1, size - STYLE, padding_idx=0)
        self.attention = nn.Sequential(nn.Linear(3 * size, 16), nn.ReLU(), nn.Linear(16, 1))
        self.top = nn.Sequential(nn.Linear(2 * size + 1, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(
        self,
        viewed: torch.Tensor,
        viewed_mask: torch.Tensor,
        viewed_style: torch.Tensor,
        item: torch.Tensor,
        style: torch.Tensor,
        price: torch.Tensor,
    ) -> torch.Tensor:
        """Give (n,) scores.

        Args:
            viewed: (1, 20) int64.
            viewed_mask: (1, 20) float32.
            viewed_style: (1, 20, 4) float32.
            item: (n,) int64.
            style: (n, 4) float32.
            price: (n, 1) float32.
        """
        candidate = torch.cat([self.embedding(item), style], dim=1)[:, None]
        history = torch.cat([self.embedding(viewed), viewed_style], dim=2).expand(candidate.shape[0], -1, -1)
        beside = torch.cat([history, candidate.expand(-1, history.shape[1], -1), history * candidate], dim=2)
        weights = self.attention(beside) * viewed_mask[:, :, None]
        interest = (weights * history).sum(dim=1)
        return self.top(torch.cat([interest, candidate[:, 0], price * 0.02], dim=1))[:, 0]


def padded(histories: object, empty: object) -> np.ndarray:
    """Return histories (n, 20, …), with what is empty behind them."""
    return np.array([[*ids, *[empty] * (LENGTH - len(ids))] for ids in histories])


def draw_pairs(lists: int, seed: int) -> pd.DataFrame:
    """Return lists of products as the shop does, whose ids here are numbers alone."""
    pairs = shop.draw_pairs(lists, shop.LENGTH, seed)
    pairs["product_id"] = [str(int(name.removeprefix("p")) + 1) for name in pairs["product_id"]]
    return pairs


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    torch.manual_seed(0)
    random = np.random.default_rng(5)
    users, products = shop.make_shop()
    products["item"] = np.arange(1, len(products) + 1)
    products["id"] = products["item"].astype(str)  # by which the products in a history are looked up
    products["style"] = random.normal(size=(len(products), STYLE)).astype(np.float32).tolist()
    users["viewed"] = [random.integers(1, shop.PRODUCTS + 1, random.integers(0, LENGTH + 1)).tolist() for _ in users.id]
    users["viewed.style"] = [[products["style"][item - 1] for item in viewed] for viewed in users["viewed"]]
    shown = shop.join(draw_pairs(150, seed=1), users, products)
    model = Din()

    def inputs(rows: object) -> tuple[torch.Tensor, ...]:
        viewed = padded(rows.viewed, 0)
        styles = numbers(padded(rows["viewed.style"], [0.0] * STYLE)), numbers(rows["style"].tolist())
        of_history = whole(viewed), numbers(viewed > 0), styles[0]
        return *of_history, whole(rows["item"]), styles[1], numbers(rows[["price"]])

    fit(model, lambda: model(*inputs(shown)), shop.draw_clicks(shown))

    given = inputs(shown[:8])
    rows = torch.export.Dim("rows")
    example = *(tensor[:1] for tensor in given[:3]), *given[3:]
    dynamic = *[None] * 3, *[{0: rows}] * 3
    torch.onnx.export(model, example, folder / "model.onnx", dynamic_shapes=dynamic)

    compared = shop.join(draw_pairs(shop.LISTS, seed=2), users, products)
    with torch.no_grad():
        prediction = model(*inputs(compared)).numpy()
    shop.write_files(folder, users.drop(columns="viewed.style"), products, compared, prediction)


if __name__ == "__main__":
    shop.run(train)
