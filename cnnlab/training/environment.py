"""Where a run's numbers come from: code, versions, device."""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import cnnlab
from cnnlab.ops import backend

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def environment() -> dict[str, Any]:
    """The git commit (None for an installed package), versions, devices.

    `dirty` says whether the package's files differ from the commit's. Others do not matter to a
    run, whose recipe is in its record; `--publish` changes some itself.

    `convolutions` says what computed them in training and evaluation: xla, or onednn <version>.
    """
    commit = _git("rev-parse", "HEAD")
    device = jax.devices()[0]
    return {
        "cnnlab": cnnlab.__version__,
        "commit": commit,
        "dirty": bool(_git("status", "--porcelain", "--", "cnnlab")) if commit else None,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
        "device": device.device_kind if device.platform != "cpu" else _processor(),
        "platform": device.platform,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "convolutions": backend.description(backend.preferred()),
    }


def code_of(environment: dict[str, Any]) -> str:
    """The commit of an environment in print, and whether the package's files differed from it."""
    commit = str(environment["commit"] or "unknown")[:10]
    return commit + (" + uncommitted changes" if environment["dirty"] else "")


@functools.cache
def _git(*words: str) -> str | None:
    """What git prints of the checkout that holds this file; None where it is not one."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", home, *words], capture_output=True, text=True)
    except OSError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name}, {len(models)} cores" if models else name
