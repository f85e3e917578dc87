"""Installed, uninstalled, from a clone's parent, as a wheel, without POSIX: it imports."""

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import cnnlab
from cnnlab.training.environment import environment

PROJECT = Path(__file__).parents[1]

EVERYTHING = """
import importlib, pkgutil, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None  # importing it fails, as on Windows
import cnnlab
for module in pkgutil.walk_packages(cnnlab.__path__, "cnnlab."):
    if not module.name.startswith("cnnlab.benchmark"):  # rivals, which are not installed
        importlib.import_module(module.name)
"""


def python(program: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_from_the_folder_that_holds_the_clone(tmp_path: Path) -> None:
    """The clone's own folder is named as the package, and must not stand for it."""
    (tmp_path / "cnnlab").symlink_to(PROJECT, target_is_directory=True)
    assert python("import cnnlab; print(cnnlab.summarize.__name__)", tmp_path) == "summarize"


def test_every_module_imports_where_there_is_no_posix(tmp_path: Path) -> None:
    python(EVERYTHING, tmp_path)


def test_an_environment_is_told_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == "cnnlab":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    assert environment()["cnnlab"] == cnnlab.__version__


def test_the_wheel_holds_all_of_the_package(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(tmp_path)]
    subprocess.run(words, cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob(f"cnnlab-{cnnlab.__version__}-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "cnnlab"], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    assert held == set(listed.stdout.split())


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {cnnlab.__version__}\n" in (PROJECT / "CITATION.cff").read_text()
