"""PyTorch two-tower: the user once, (1, U), the products (n, P), by PyTorch's default export.

That call fixes the number of products to that of the example and writes the weights into a second file.
"""

from __future__ import annotations

from pathlib import Path

import shop
import torch
from torch import nn
from torch_shop import fit, numbers

USER = ["age", "spend", "visits"]
PRODUCT = ["price", "stock", "rating", "on_sale"]


class TwoTower(nn.Module):
    """Scores n products by their embeddings' products with the user's."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.of_user = nn.Sequential(
            nn.BatchNorm1d(len(USER)), nn.Linear(len(USER), 32), nn.ReLU(), nn.Linear(32, size)
        )
        self.of_product = nn.Sequential(
            nn.BatchNorm1d(len(PRODUCT)), nn.Linear(len(PRODUCT), 32), nn.ReLU(), nn.Linear(32, size)
        )

    def forward(self, user: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
        """Give (n,) for a user (1, U) and products (n, P)."""
        return (self.of_user(user) * self.of_product(product)).sum(dim=1)


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    torch.manual_seed(0)
    users, products = shop.make_shop()
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    model = TwoTower()
    fit(model, lambda: model(numbers(shown[USER]), numbers(shown[PRODUCT])), shop.draw_clicks(shown))

    torch.onnx.export(model, (numbers(shown[USER][:1]), numbers(shown[PRODUCT][:20])), folder / "model.onnx")

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    with torch.no_grad():
        lists = [model(numbers(part[USER][:1]), numbers(part[PRODUCT])) for _, part in rows.groupby("list")]
    shop.write_files(folder, users, products, rows, torch.cat(lists).numpy())


if __name__ == "__main__":
    shop.run(train)
