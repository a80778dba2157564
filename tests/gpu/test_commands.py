"""`fractal-core doctor`, `info` and `bench --gpu`, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import fractal_core as fc
import pytest

pytest.importorskip("typer")


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fractal_core.cli", *words],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120", "FRACTAL_CORE_ALLOW_SOFTWARE": "1", **environment},
    )


def nowhere(tmp_path) -> dict[str, str]:
    """A machine without a driver."""
    path = str(tmp_path / "none.json")
    return {"VK_DRIVER_FILES": path, "VK_ICD_FILENAMES": path}


def test_the_doctor_compares_every_family():
    done = command("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert {found[name]["said"] for name in fc.gpu.kernels()} == {"agrees with the CPU"}
    name = fc.gpu.device().name
    assert found[name]["state"] == "well"
    assert name in found["device"]["said"]


def test_the_doctor_says_which_switch_is_missing():
    if fc.gpu.device().kind != "software":
        pytest.skip("there is a real GPU")
    done = command("doctor", FRACTAL_CORE_ALLOW_SOFTWARE="0", FRACTAL_CORE_REQUIRE_GPU="0")
    assert done.returncode == 1
    assert "FRACTAL_CORE_ALLOW_SOFTWARE=1 allows it" in done.stdout
    assert "no adapter may be used" in done.stdout


@pytest.mark.without_gpu
@pytest.mark.skipif(sys.platform != "linux", reason="how Vulkan finds drivers on Linux")
def test_the_doctor_says_what_to_install(tmp_path):
    done = command("doctor", **nowhere(tmp_path))
    assert done.returncode == 1
    assert "no driver offers one" in done.stdout
    assert "mesa-vulkan-drivers" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.without_gpu
@pytest.mark.skipif(sys.platform != "linux", reason="how Vulkan finds drivers on Linux")
def test_info_and_the_bench_without_a_driver(tmp_path):
    done = command("info", **nowhere(tmp_path))
    assert done.returncode == 0
    assert "no adapter found" in done.stdout
    assert json.loads(command("info", "--json", **nowhere(tmp_path)).stdout)["gpu"]["adapters"] == []
    done = command("bench", "--gpu", **nowhere(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no GPU: ")


def test_info_lists_the_adapters():
    adapters = json.loads(command("info", "--json").stdout)["gpu"]["adapters"]
    assert [adapter["name"] for adapter in adapters] == [adapter.name for adapter in fc.gpu.adapters()]
    assert adapters[0]["name"] in command("info").stdout


def test_the_bench_has_every_figure():
    done = command("bench", "--gpu", "--kernel", "add", "--kernel", "hilbert", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(row["kernel"], row["size"]) for row in found["rows"]] == [
        ("add", "512²"),
        ("add", "1024²"),
        ("add", "2048²"),
        ("Hilbert encode", "2²⁰ points"),
    ]
    for row in found["rows"]:
        assert 0 < row["device_ms"] <= row["resident_ms"] * 1.5
        assert row["end_ms"] > 0
        assert row["cpu_ms"] > 0
        assert row["gbytes"] == pytest.approx(row["bytes"] / row["device_ms"] / 1e6)
    assert found["copy_gbytes"] > 0
    assert found["device"]["software"] == (fc.gpu.device().kind == "software")


def test_every_family_of_shaders_has_a_row_in_the_bench():
    pytest.importorskip("torch")
    from fractal_core.bench.gpu import try_families

    rows = list(try_families(rounds=1, size=500))
    assert [row.family for row in rows] == list(fc.gpu.kernels())
    assert all(row.twins_ms > 0 and (row.device_ms is None or row.device_ms > 0) for row in rows)


def test_a_software_adapter_is_labelled():
    if fc.gpu.device().kind != "software":
        pytest.skip("there is a real GPU")
    done = command("bench", "--gpu", "--kernel", "relu", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "prove values and no speed" in done.stdout


def test_an_unknown_kernel_is_refused():
    done = command("bench", "--gpu", "--kernel", "fft", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "kernel: got 'fft'" in done.stderr
