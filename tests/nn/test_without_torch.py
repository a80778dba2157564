"""Without torch the sub-package names the extra that brings it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
sys.modules["torch"] = None
import fractal_core as fc
try:
    fc.nn
except ImportError as error:
    print(error)
fc.IndexSet.from_mask([[True]])
"""


def test_the_import_error_names_the_extra():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    assert 'pip install "fractal-attn[torch]"' in done.stdout
