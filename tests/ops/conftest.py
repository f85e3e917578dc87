"""What every test of the operations needs."""

import numpy as np
import pytest

from cnnlab import ops
from cnnlab.native import library


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=ops.BACKENDS, scope="module")
def backend(request):
    """The test runs by each backend, from here to its end."""
    if request.param == "onednn" and (reason := library.missing()):
        pytest.skip(f"no oneDNN: {reason}")
    with ops.using(request.param):
        yield request.param
