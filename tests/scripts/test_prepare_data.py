import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "prepare_data.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return a folder with MNIST's four files: 20 training and 10 test images."""
    folder = tmp_path / "published"
    folder.mkdir()
    for prefix, number in (("train", 20), ("t10k", 10)):
        header = np.array([2051, number, 28, 28], ">i4").tobytes()
        images = gzip.compress(header + bytes(number * 28 * 28))
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(images)
        header = np.array([2049, number], ">i4").tobytes()
        labels = gzip.compress(header + bytes(number))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(labels)
    return folder


def test_it_prepares_once(published: Path, tmp_path: Path) -> None:
    arguments = ("mnist", "--directory", tmp_path / "tfds", "--from", published)
    first = _run(*arguments)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "tfds" / "mnist" / "3.0.1"
    assert f"prepared mnist in {folder}" in first.stderr
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    second = _run(*arguments)
    assert second.returncode == 0
    assert "already prepared" in second.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_mistake_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = _run("minst", "--directory", tmp_path)
    assert done.returncode == 1
    assert "did you mean 'mnist'" in done.stderr
    assert "Traceback" not in done.stderr
