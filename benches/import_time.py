"""Prints what `import fractal_core` costs beyond NumPy: the median of several fresh interpreters.

usage: python benches/import_time.py [runs]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

LIMIT_MS = 150


def cumulative_ms(code: str) -> dict[str, float]:
    """Cumulative import time in milliseconds of each module that `code` loads."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    rows = (line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line)
    return {name.strip(): int(total) / 1000 for _, total, name in rows if total.strip().isdigit()}


def beyond_numpy_ms(code: str) -> float:
    """Milliseconds of the imports in `code` after NumPy has been loaded."""
    times = cumulative_ms(f"import numpy; {code}")
    return sum(ms for name, ms in times.items() if name == "fractal_core" or name.startswith("fractal_core._native"))


def main() -> int:
    """Print the medians; 1 when the import is over its limit."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    numpy_ms = statistics.median(cumulative_ms("import numpy")["numpy"] for _ in range(runs))
    own_ms = statistics.median(beyond_numpy_ms("import fractal_core, fractal_core._native") for _ in range(runs))
    print(f"import numpy: {numpy_ms:.0f} ms; import fractal_core adds {own_ms:.1f} ms (limit {LIMIT_MS} ms)")
    return int(own_ms > LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
