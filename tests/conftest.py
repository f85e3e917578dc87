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


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory):
    """A directory that holds a tiny ImageNet, prepared. Copy it before changing it."""
    import photographs

    directory = tmp_path_factory.mktemp("imagenet")
    photographs.prepare(directory)
    return directory
