"""`fractal-core doctor`: whether the GPU is found, opens, and computes right, and what to do where it does not."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

from rich.markup import escape

from fractal_core import gpu
from fractal_core.cli.console import console, print_json
from fractal_core.errors import GpuError

__all__ = ["Finding", "examine", "run"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: Its name.
        state: "well", "note" or "ill".
        said: What was found.
        advice: What to install or set; empty where nothing is to be done.
    """

    what: str
    state: str
    said: str
    advice: str = ""


def examine() -> list[Finding]:
    """Looks at the build, the adapters, the device, and every family of kernels."""
    if not gpu.built():
        advice = "install a wheel, or build with the default features"
        return [Finding("build", "ill", "compiled without the cargo feature `gpu`", advice)]
    found = [Finding("build", "well", "has the GPU")]
    try:
        adapters = gpu.adapters()
    except GpuError as error:
        return [*found, Finding("adapters", "ill", str(error), _driver())]
    if not adapters:
        return [*found, Finding("adapters", "ill", "no driver offers one", _driver())]
    for adapter in adapters:
        about = f"{adapter.kind}, {adapter.api}, {adapter.driver}"
        if adapter.rejected is None:
            found.append(Finding(adapter.name, "well", about))
        else:
            found.append(Finding(adapter.name, "note", f"{about}; not used: {adapter.rejected}", _allowed(adapter)))
    if all(adapter.rejected is not None for adapter in adapters):
        return [*found, Finding("device", "ill", "no adapter may be used", _driver())]
    return [*found, *_device()]


def _device() -> list[Finding]:
    try:
        device = gpu.device()
    except GpuError as error:
        return [
            Finding("device", "ill", str(error), "update the driver, or name another adapter: FRACTAL_CORE_ADAPTER")
        ]
    half, shared = ("float16" if device.float16 else "no float16"), device.unified_memory
    about = f"{device.name}: {half}, {'memory shared with the CPU' if shared else 'memory of its own'}"
    found = [Finding("device", "well", about)]
    if device.kind == "software":
        found.append(Finding("speed", "note", 'computes on the CPU; device="auto" never takes it', _driver()))
    for family in gpu.kernels():
        try:
            gpu.warmup([family])
        except GpuError as error:
            found.append(Finding(family, "ill", str(error), 'update the driver; device="cpu" computes it'))
        else:
            found.append(Finding(family, "well", "agrees with the CPU"))
    return found


def _allowed(adapter: gpu.Adapter) -> str:
    return "FRACTAL_CORE_ALLOW_SOFTWARE=1 allows it, for tests" if adapter.kind == "software" else ""


def _driver() -> str:
    """Where the driver of a GPU comes from."""
    if sys.platform == "linux":
        return (
            "install the card's Vulkan driver (Debian: mesa-vulkan-drivers, nvidia-driver; in a container the driver "
            "capability `graphics`); `vulkaninfo --summary` must list the card"
        )
    return "install the card's own driver"


def run(*, as_json: bool) -> bool:
    """Prints the findings; False where something is ill."""
    show = console(quiet=as_json)
    with show.status("looking at the GPU"):
        found = examine()
    marks = {"well": "[green]✓[/]", "note": "[yellow]·[/]", "ill": "[bold red]✗[/]"}
    for finding in found:
        show.print(f"{marks[finding.state]} {escape(finding.what)}: {escape(finding.said)}", soft_wrap=True)
        if finding.advice:
            show.print(f"    {escape(finding.advice)}", style="dim", soft_wrap=True)
    if as_json:
        print_json([asdict(finding) for finding in found])
    return all(finding.state != "ill" for finding in found)
