"""The machine: the device to compute on, and what a log should say of it."""

import hashlib
import os
import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from geobasin.errors import GeoBasinError

_PACKAGES = (
    "geobasin",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scikit-learn",
    "safetensors",
)


def pick_device(name: str | torch.device) -> torch.device:
    """Choose what computes.

    Args:
        name: ``auto`` (CUDA where there is one, else the CPU), or a device such as ``cuda:1``.

    Returns:
        The device.

    Raises:
        GeoBasinError: torch does not know the device, or there is none here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # Torch tells of a missing device in as many ways as there are kinds of device.
    except Exception as error:
        raise GeoBasinError(f"device '{name}' is not to be had here; use auto or cpu") from error
    return device


def versions() -> dict[str, str | None]:
    """Give the versions that decide a run's numbers.

    Returns:
        Of Python and of each package, None where one is not installed; ``commit`` and
        ``lock_sha512`` of the source tree, None where the library does not run from a checkout.
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found | _source(Path(__file__).parents[1])


@cache
def _source(root: Path) -> dict[str, str | None]:
    """Commit of a checkout, marked where the library's files differ from it, and its lock file."""
    lock = root / "requirements.lock"
    found: dict[str, str | None] = {"commit": None, "lock_sha512": None}
    if not (root / ".git").exists():
        return found
    if lock.is_file():
        found["lock_sha512"] = hashlib.sha512(lock.read_bytes()).hexdigest()
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", "geobasin", lock.name)
    except (OSError, subprocess.CalledProcessError):
        return found
    return found | {"commit": f"{commit} and changes" if changed else commit}


def _git(root: Path, *words: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


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
