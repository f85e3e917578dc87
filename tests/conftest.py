"""Before anything of cnnlab is imported: its array annotations are checked in every test."""

import shutil

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


@pytest.fixture(scope="session")
def chromium():
    """A headless browser; tests that want it are skipped where there is none."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, tmp_path):
    """Opens an address, or a document by way of a file, as a page of a new window.

    The test fails if the page has an error or asks for anything but itself.
    """
    faults, contexts = [], []

    def visit(page, **window):
        context = chromium.new_context(**window)
        contexts.append(context)
        opened = context.new_page()
        if not page.startswith("http:"):
            file = tmp_path / f"page{len(contexts)}.html"
            file.write_text(page, encoding="utf-8")
            page = file.as_uri()
        opened.on("pageerror", lambda error: faults.append(f"error: {error}"))
        opened.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        opened.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((page, "data:"))
                else faults.append(f"request: {request.url}")
            ),
        )
        opened.goto(page)
        return opened

    yield visit
    for context in contexts:
        context.close()
    assert not faults
