"""Tests of the GPU run where there is an adapter, software or not, and say so where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import fractal_core as fc
import pytest

HERE = Path(__file__).parent
REQUIRED = os.environ.get("FRACTAL_CORE_REQUIRE_GPU") == "1"


def why_off() -> str | None:
    """Why there is no device to test on; None where there is one."""
    if not fc.gpu.built():
        return "the extension was compiled without the GPU"
    fc.gpu.set_options(allow_software=True)
    rejected = [f"{a.name} ({a.rejected})" for a in fc.gpu.adapters()]
    if any(a.rejected is None for a in fc.gpu.adapters()):
        return None
    return f"no adapter may be used: {', '.join(rejected) or 'none was found'}"


OFF = why_off()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if OFF is not None:
        terminalreporter.write_line(
            f"GPU tests are switched off: {OFF}. A Vulkan driver switches them on; Debian's mesa-vulkan-drivers needs "
            "no GPU. FRACTAL_CORE_REQUIRE_GPU=1 makes this a failure.",
            yellow=True,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if OFF is None:
        return
    for item in items:
        if HERE in item.path.parents and "without_gpu" not in item.keywords:
            item.add_marker(pytest.mark.skip(reason=OFF))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if OFF is not None and REQUIRED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def as_before():
    """Every test begins with a software adapter allowed and nothing else, and leaves no option set."""
    if fc.gpu.built():
        fc.gpu.set_options(**fc.gpu.Options(allow_software=True)._asdict())
    yield
    if fc.gpu.built():
        fc.gpu.set_options(**fc.gpu.Options(allow_software=True)._asdict())
