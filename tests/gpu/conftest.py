"""Tests of the GPU run where there is an adapter, software or not, and say so where there is none."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import fractal_core as fc
import pytest

HERE = Path(__file__).parent
REQUIRED = os.environ.get("FRACTAL_CORE_REQUIRE_GPU") == "1"
CHOSEN = pytest.StashKey[bool]()


@cache
def why_off() -> str | None:
    """Why there is no device to test on; None where there is one. Asked for where such tests are to run."""
    if not fc.gpu.built():
        return "the extension was compiled without the GPU"
    fc.gpu.set_options(allow_software=True)
    found = fc.gpu.adapters()
    if any(a.rejected is None for a in found):
        return None
    rejected = [f"{a.name} ({a.rejected})" for a in found]
    return f"no adapter may be used: {', '.join(rejected) or 'none was found'}"


def of_gpu(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if HERE in item.path.parents and "without_gpu" not in item.keywords]


# Last, so that tests that are left out anyway ask for no device.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = of_gpu(items)
    config.stash[CHOSEN] = bool(chosen)
    if chosen and why_off() is not None:
        for item in chosen:
            item.add_marker(pytest.mark.skip(reason=str(why_off())))


def off(config: pytest.Config) -> bool:
    return config.stash.get(CHOSEN, False) and why_off() is not None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if off(config):
        terminalreporter.write_line(
            f"GPU tests are switched off: {why_off()}. A Vulkan driver switches them on; Debian's mesa-vulkan-drivers "
            "needs no GPU. FRACTAL_CORE_REQUIRE_GPU=1 makes this a failure.",
            yellow=True,
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if REQUIRED and off(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def as_before():
    """Every test begins with a software adapter allowed and nothing else, and leaves no option set."""
    if fc.gpu.built():
        fc.gpu.set_options(**fc.gpu.Options(allow_software=True)._asdict())
    yield
    if fc.gpu.built():
        fc.gpu.set_options(**fc.gpu.Options(allow_software=True)._asdict())
