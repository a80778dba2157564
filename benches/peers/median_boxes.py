"""The box counting of fractal-attention-analysis, without the packages that the rest of it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from fractal_core.bench.peers import PeerError

from benches.peers.interpreters import cache

__all__ = ["PEER", "median_box_dimension"]

PEER = "fractal-attention-analysis==1.0.0"


def median_box_dimension() -> Callable[[Any], float]:
    """Its dimension of a matrix: boxes of sides 2 to 32 that hold a weight above the median.

    Raises:
        PeerError: No uv, or the installation failed.
    """
    folder = cache() / PEER.replace("==", "-")
    file = folder / "fractal_attention_analysis" / "fractal.py"
    if not file.exists():
        uv = shutil.which("uv")
        if uv is None:
            raise PeerError(f"needs uv to install {PEER}")
        command = [uv, "pip", "install", "--python", sys.executable, "--no-deps", "--target", str(folder), PEER]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerError(f"could not install {PEER}: {done.stderr.strip()}")
    spec = spec_from_file_location("fractal_attention_analysis_fractal", file)
    if spec is None or spec.loader is None:
        raise PeerError(f"{PEER} has no module fractal")
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FractalTransforms().compute_fractal_dimension
