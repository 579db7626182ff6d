"""What the PyTorch examples share: tensors of a frame, and training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

STEPS = 60


def numbers(rows: object) -> torch.Tensor:
    """Return a frame's numbers, float32, with 0 for what is absent."""
    return torch.tensor(np.nan_to_num(np.asarray(rows, dtype=np.float32)))


def whole(rows: object) -> torch.Tensor:
    """Return a frame's whole numbers, int64."""
    return torch.tensor(np.asarray(rows, dtype=np.int64))


def fit(model: nn.Module, logits: Callable[[], torch.Tensor], clicks: np.ndarray) -> None:
    """Train with binary cross-entropy; then switch the model to evaluation, without which no export ranks."""
    wanted = torch.tensor(clicks, dtype=torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits(), wanted).backward()
        optimiser.step()
    model.eval()
