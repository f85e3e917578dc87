"""Before anything of cnnlab is imported: its array annotations are checked in every test."""

import jaxtyping
import pytest

jaxtyping.install_import_hook("cnnlab.ops", "beartype.beartype")


@pytest.fixture
def untyped():
    """Annotations unchecked, as outside the tests: the operations' own errors show."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
