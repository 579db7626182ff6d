"""DeepFM of torch-rechub, by its own exporter: one input per feature, ids as int64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shop
import torch
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.ranking import DeepFM
from torch_rechub.utils.onnx_export import ONNXExporter
from torch_shop import fit, numbers, whole

DENSE = ["spend", "visits", "price", "stock"]
SPARSE = {"user_no": shop.USERS, "item_no": shop.PRODUCTS}


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    torch.manual_seed(0)
    users, products = shop.make_shop()
    users["user_no"], products["item_no"] = np.arange(len(users)), np.arange(len(products))
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    deep = [DenseFeature(name) for name in DENSE]
    wide = [SparseFeature(name, vocab_size=size, embed_dim=8) for name, size in SPARSE.items()]
    model = DeepFM(deep, wide, mlp_params={"dims": [32], "dropout": 0.0, "activation": "relu"})

    def inputs(rows: object) -> dict[str, torch.Tensor]:
        return {name: numbers(rows[name]) for name in DENSE} | {name: whole(rows[name]) for name in SPARSE}

    fit(model, lambda: torch.logit(model(inputs(shown)), 1e-6), shop.draw_clicks(shown))

    ONNXExporter(model).export(str(folder / "model.onnx"))

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    with torch.no_grad():
        prediction = model(inputs(rows)).numpy()
    shop.write_files(folder, users, products, rows, prediction)


if __name__ == "__main__":
    shop.run(train)
