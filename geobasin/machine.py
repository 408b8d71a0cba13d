"""What a run ran on: versions and hardware, for the headers of logs."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("geobasin", "torch", "torchvision", "timm", "numpy")


def versions() -> dict[str, str | None]:
    """Give the versions that decide a run's numbers; None where a package is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """Describe the machine as far as its speed and its energy depend on it.

    Args:
        device: what computes.

    Returns:
        ``device``, ``gpu`` (None on a CPU), ``cpu``, ``cpu_count``, ``torch_threads``, ``system``.
    """
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": device.type,
        "gpu": gpu,
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or None
