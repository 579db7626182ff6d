"""MMoE: experts that two tasks share, outputs `ctr` and `cvr`, and the schema's `score:` that joins them."""

from __future__ import annotations

from pathlib import Path

import shop
import torch
from torch import nn
from torch_shop import fit, numbers

COLUMNS = ["age", "spend", "visits", "price", "stock", "rating", "on_sale"]


class Mmoe(nn.Module):
    """Gives the probability of a click, and of a purchase after one."""

    def __init__(self, experts: int = 4, size: int = 16) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(len(COLUMNS))
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(len(COLUMNS), size), nn.ReLU()) for _ in range(experts)])
        self.gates = nn.ModuleList([nn.Linear(len(COLUMNS), experts) for _ in range(2)])
        self.towers = nn.ModuleList([nn.Linear(size, 1) for _ in range(2)])

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give ctr (n,) and cvr (n,) for features (n, F)."""
        scaled = self.scale(features)
        experts = torch.stack([expert(scaled) for expert in self.experts], dim=1)
        weights = [torch.softmax(gate(scaled), dim=1).unsqueeze(2) for gate in self.gates]
        ctr, cvr = (
            torch.sigmoid(tower((experts * weight).sum(dim=1)))[:, 0]
            for tower, weight in zip(self.towers, weights, strict=True)
        )
        return ctr, cvr


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    torch.manual_seed(0)
    users, products = shop.make_shop()
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    model = Mmoe()
    fit(model, lambda: torch.logit(model(numbers(shown[COLUMNS]))[0], 1e-6), shop.draw_clicks(shown))
    model.train()
    fit(model, lambda: torch.logit(model(numbers(shown[COLUMNS]))[1], 1e-6), shop.draw_clicks(shown, seed=4))

    torch.onnx.export(
        model,
        (numbers(shown[COLUMNS][:8]),),
        folder / "model.onnx",
        output_names=["ctr", "cvr"],
        dynamic_shapes=({0: torch.export.Dim("rows")},),
    )

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    with torch.no_grad():
        ctr, cvr = model(numbers(rows[COLUMNS]))
    score = ctr.double() * cvr.double() ** 0.5 * torch.log1p(torch.tensor(rows.price.to_numpy()))
    shop.write_files(folder, users, products, rows, score.numpy())


if __name__ == "__main__":
    shop.run(train)
