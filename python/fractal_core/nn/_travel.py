"""Index sets in torch's files and in exported programs."""

from __future__ import annotations

import torch

from fractal_core._travel import restore
from fractal_core.index_sets import IndexSet

__all__: list[str] = []

# `torch.load` refuses what is not listed; `restore` makes a set from bytes through all checks and runs nothing else.
torch.serialization.add_safe_globals([restore, IndexSet])
