"""The compiled extension's file: one that is torn is built anew, not loaded."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnlab.native import library


def test_a_file_that_does_not_end_in_its_digest_is_torn(tmp_path: Path) -> None:
    target = tmp_path / "native-0.so"
    assert not library._whole(target)
    content = bytes(range(256)) * 100
    target.write_bytes(content + hashlib.sha256(content).digest())
    assert library._whole(target)
    whole = target.read_bytes()
    for torn in (b"", whole[:-1], whole[:4096], bytes(len(whole)), whole[:5] + b"x" + whole[6:]):
        target.write_bytes(torn)
        assert not library._whole(target)


USE = "from cnnlab.native import library; print(library.missing(), library.build())"


@pytest.mark.slow
@pytest.mark.skipif(library.missing() is not None, reason=str(library.missing()))
def test_a_torn_one_is_built_anew(tmp_path: Path) -> None:
    """It was a bus error at every start."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    kept = tmp_path / "cnnlab" / library.build().name
    kept.parent.mkdir()
    whole = shutil.copy(library.build(), kept).read_bytes()
    kept.write_bytes(whole[: len(whole) // 3])
    done = subprocess.run(
        [sys.executable, "-c", USE], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"None {kept}\n"), done.stderr
    assert library._whole(kept)
    assert sorted(path.name for path in kept.parent.iterdir()) == sorted(["native.lock", kept.name])
