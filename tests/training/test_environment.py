import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import jax
import pytest

from cnnlab.training import environment as module
from cnnlab.training.environment import environment


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the module takes for the one it was checked out to."""
    monkeypatch.setattr(module, "__file__", str(tmp_path / "cnnlab/training/environment.py"))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    module._git.cache_clear()
    yield tmp_path
    module._git.cache_clear()


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.check_output(["git", "-C", folder, *who, *words], text=True).strip()


def test_versions_and_device(checkout: Path) -> None:
    found = environment()
    for package in ("cnnlab", "jax", "jaxlib", "flax", "optax", "numpy"):
        assert found[package] == metadata.version(package)
    assert found["platform"] == jax.devices()[0].platform
    assert found["device"]
    assert (found["devices"], found["processes"]) == (jax.device_count(), 1)


def test_an_installed_package_has_no_commit(checkout: Path) -> None:
    assert environment()["commit"] is None
    assert environment()["dirty"] is None


def test_a_checkout_has_a_commit_and_may_be_dirty(checkout: Path) -> None:
    git(checkout, "init", "--quiet")
    git(checkout, "commit", "--quiet", "--allow-empty", "-m", "first")
    found = environment()
    assert found["commit"] == git(checkout, "rev-parse", "HEAD")
    assert found["dirty"] is False
    for name, dirty in (("results/published", False), ("cnnlab/changed", True)):
        (checkout / name).parent.mkdir()
        (checkout / name).touch()
        module._git.cache_clear()
        assert environment()["dirty"] is dirty


def test_a_machine_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".git").mkdir()
    monkeypatch.setenv("PATH", str(checkout))
    assert environment()["commit"] is None
