"""Every registered network, one test each; the deepest of a kind only among the slow tests."""

import pytest

from cnnlab import models

DEEP = {"plain110", "preact110", "preact164", "preact1001", "resnet101", "resnet110"}
DEEP |= {"resnet152", "resnet1202", "inception_resnet_v2"}


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow if n in DEEP else ()) for n in models.names()]
)
def every(request):
    """The name of a registered network."""
    return request.param
