"""Slate transformer: the products of a list attend to one another, (1, n, F) to (1, n).

`rows: together` gives each request's list a call of its own.
"""

from __future__ import annotations

from pathlib import Path

import shop
import torch
from torch import nn
from torch_shop import fit, numbers

COLUMNS = ["spend", "visits", "price", "stock", "on_sale"]
SCALE = [0.005, 0.005, 0.02, 0.04, 1.0]


class Slate(nn.Module):
    """Scores the products of lists."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(SCALE))
        self.into = nn.Linear(len(COLUMNS), size)
        self.encoder = nn.TransformerEncoderLayer(size, nhead=2, dim_feedforward=32, dropout=0.0, batch_first=True)
        self.score = nn.Linear(size, 1)

    def forward(self, slate: torch.Tensor) -> torch.Tensor:
        """Give (b, n) for b lists of n products (b, n, F)."""
        return self.score(self.encoder(self.into(slate * self.scale)))[:, :, 0]


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    torch.manual_seed(0)
    users, products = shop.make_shop()
    shown = shop.join(shop.draw_pairs(400, shop.LENGTH, seed=1), users, products)
    model = Slate()
    slates = numbers(shown[COLUMNS]).reshape(400, shop.LENGTH, len(COLUMNS))
    fit(model, lambda: model(slates).reshape(-1), shop.draw_clicks(shown))

    length = torch.export.Dim("length", min=1, max=1000)
    torch.onnx.export(model, (slates[:1],), folder / "model.onnx", dynamic_shapes=({1: length},))

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    with torch.no_grad():
        prediction = model(numbers(rows[COLUMNS]).reshape(shop.LISTS, shop.LENGTH, len(COLUMNS)))
    shop.write_files(folder, users, products, rows, prediction.reshape(-1).numpy())


if __name__ == "__main__":
    shop.run(train)
