import pytest

from cnnlab.native import library


@pytest.fixture(autouse=True, scope="session")
def built() -> None:
    """Skips where the extension cannot be had, and says why."""
    reason = library.missing()
    if reason:
        pytest.skip(f"no oneDNN: {reason}")
