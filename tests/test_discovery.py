"""Metadata that cannot be read costs its own distribution only."""

import subprocess
import sys

import pytest

GOOD = "[fractal_core.patterns]\nspiral = spiral_plugin:Spiral\n"


def distribution(folder, name, metadata, points):
    meta = folder / f"{name}-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_bytes(metadata)
    (meta / "entry_points.txt").write_bytes(points)


def told(folder, code):
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\nimport fractal_core as fc\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


FINE = b"Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"
POINTS = b"[fractal_core.patterns]\nlost = lost:Lost\n"


@pytest.mark.parametrize(
    ("metadata", "points", "known"),
    [
        (FINE, b"no section = here\n[", 0),
        (FINE, b"[fractal_core.patterns]\nnothing\n", 1),
        (FINE, b"\xff\xfe\xff", 1),
        (b"Name: \xff\xfe\n", POINTS, 1),
        (b"", POINTS, 1),
        (FINE, b"[fractal_core.patterns]\nlost = not a module\n", 1),
    ],
)
def test_broken_metadata_of_another_distribution(tmp_path, metadata, points, known):
    """What it gives is known either as unreadable or as a name, not as both and not as neither."""
    distribution(tmp_path, "other", metadata, points)
    distribution(tmp_path, "spirals", FINE.replace(b"other", b"spirals"), GOOD.encode())
    out = told(
        tmp_path,
        "print(fc.pattern('window').index_set(4).nnz)\nprint('spiral' in fc.patterns.names())\n"
        "print(sum('other-1.0' in what for what in fc.patterns.unreadable()) + ('lost' in fc.patterns.names()))",
    ).split()
    assert out == ["16", "True", str(known)]


def test_a_built_in_reads_no_metadata(tmp_path):
    out = told(
        tmp_path,
        "import importlib.metadata as m\nclass Loud:\n    def find_distributions(self, *a): raise SystemExit('read')\n"
        "    def find_spec(self, *a): return None\n"
        "sys.meta_path.insert(0, Loud())\nprint(fc.pattern('window', radius=1).index_set(4).nnz)",
    )
    assert out.strip() == "10"
