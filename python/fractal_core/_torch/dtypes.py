"""The dtype that sums, angles, spectra and noise are computed in, beside tensors of any float dtype."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["accumulation_dtype", "at_least_single"]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def at_least_single(x: Tensor) -> Tensor:
    """X in its accumulation dtype: halves are too coarse for noise, sums, losses and spans of hundreds of keys."""
    return x.to(accumulation_dtype(x.dtype))
