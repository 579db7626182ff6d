"""Puts the example shop's model into the model store, and its features into files, for an image and its loader.

The image has no `ranker demo`; what it can load are files. Run as `python -m deploy.shop DIRECTORY`; prints the model's
tag. No Redis is needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranker.demo.catalogue import Say, ShopDemo
from ranker.scoring.registry import store_model


@contextmanager
def _unannounced(_title: str) -> Iterator[Say]:
    yield lambda _text: None


def main(directory: Path) -> None:
    """Write `users.jsonl`, `products.jsonl` and `example.json`, and store the model."""
    demo = ShopDemo()
    catalogue = demo.read(_unannounced)
    users, products = demo.user_ids(catalogue.users), demo.product_ids(catalogue.products)
    entities = (
        ("users", catalogue.schema.user, users, catalogue.user_rows()),
        ("products", catalogue.schema.product, products, catalogue.product_rows()),
    )
    directory.mkdir(parents=True, exist_ok=True)
    for name, entity, ids, blocks in entities:
        rows = (row for block in blocks for row in block.tolist())
        with (directory / f"{name}.jsonl").open("w") as file:
            file.writelines(
                json.dumps({"id": i, **dict(zip(entity.names, row, strict=True))}) + "\n"
                for i, row in zip(ids, rows, strict=True)
            )
    example = {"requestId": "example-1", "userId": users[0], "productIds": products}
    (directory / "example.json").write_text(json.dumps(example) + "\n")
    onnx, _ = catalogue.train()
    print(store_model(onnx, catalogue.schema, demo.name)[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
