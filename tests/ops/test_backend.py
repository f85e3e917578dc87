"""Who computes: asked for, forced, or found out; and what is said where it cannot be."""

import logging
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from cnnlab import ops
from cnnlab.native import library
from cnnlab.ops import backend as module

IMAGES, FILTERS = (1, 8, 8, 3), (3, 3, 3, 4)


def program() -> str:
    convolve = jax.jit(lambda x, kernel: ops.conv2d(x, kernel))
    return convolve.lower(jnp.ones(IMAGES), jnp.ones(FILTERS)).as_text()


@pytest.fixture
def built():
    if reason := library.missing():
        pytest.skip(f"no oneDNN: {reason}")


@pytest.fixture
def unbuilt(monkeypatch):
    """No oneDNN, whatever there is."""
    monkeypatch.setattr(library, "missing", lambda: "it rains")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv(module.VARIABLE, raising=False)


def test_xla_unless_asked(built):
    assert "stablehlo.convolution" in program()
    with ops.using("onednn"):
        assert module.current() == "onednn"
        assert "@cnnlab_conv_forward" in program()
        with ops.using("xla"):
            assert "stablehlo.convolution" in program()
    assert module.current() == "xla"


def test_back_to_xla_after_an_error(built):
    with pytest.raises(ZeroDivisionError), ops.using("onednn"):
        raise ZeroDivisionError
    assert module.current() == "xla"


def test_around_a_function_it_counts_at_every_trace(built):
    convolve = jax.jit(ops.using("onednn")(ops.conv2d))
    for size in (8, 9):
        text = convolve.lower(jnp.ones((1, size, size, 3)), jnp.ones(FILTERS)).as_text()
        assert "@cnnlab_conv_forward" in text


def test_preferred_is_found_out(built, monkeypatch):
    assert ops.preferred() == "onednn"
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert ops.preferred() == "xla"
    monkeypatch.undo()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert ops.preferred() == "xla"


@pytest.mark.parametrize("name", ops.BACKENDS)
def test_the_variable_forces(built, monkeypatch, name):
    monkeypatch.setenv("CNNLAB_CONV", name)
    assert ops.preferred() == name


def test_without_it_xla_and_one_word_of_why(unbuilt, monkeypatch, caplog):
    monkeypatch.setattr(module, "_said", set())
    with caplog.at_level(logging.WARNING):
        assert ops.preferred() == ops.preferred() == "xla"
    assert [record.getMessage() for record in caplog.records] == [
        "convolutions by XLA, slower than by oneDNN: it rains"
    ]


def test_forced_where_it_is_not(unbuilt, monkeypatch):
    monkeypatch.setenv("CNNLAB_CONV", "onednn")
    with pytest.raises(ops.BackendError, match=r"CNNLAB_CONV: oneDNN cannot .* here: it rains"):
        ops.preferred()
    with pytest.raises(ops.BackendError, match="it rains"), ops.using("onednn"):
        pass


def test_forced_on_another_device(monkeypatch):
    monkeypatch.setenv("CNNLAB_CONV", "onednn")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ops.BackendError, match="computes on CPUs, and JAX's device is a gpu"):
        ops.preferred()


def test_a_name_that_is_none(monkeypatch):
    with pytest.raises(ops.BackendError, match=r"'onedn'; choices: .* mean 'onednn'"):  # noqa: SIM117
        with ops.using("onedn"):
            pass
    monkeypatch.setenv("CNNLAB_CONV", "xls")
    with pytest.raises(ops.BackendError, match=r"CNNLAB_CONV: unknown .*'xls'.* mean 'xla'"):
        ops.preferred()


def fresh(tmp_path: Path, **environment: str) -> str:
    """What a new process, whose cache folder is empty, says is missing."""
    code = "from cnnlab.native import library; print(library.missing())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "XDG_CACHE_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_no_compiler(built, tmp_path):
    assert fresh(tmp_path, PATH=str(tmp_path)) == "there is no C++ compiler (g++, or $CXX)"


def test_a_compiler_that_fails(built, tmp_path):
    assert "false failed" in fresh(tmp_path, CXX="false", PATH="/usr/bin:/bin")
    assert not list(tmp_path.rglob("*.so"))


def test_a_wheel_that_is_not_installed(built, monkeypatch):
    monkeypatch.setattr(library, "HEADERS", "onednn-devel-cpu-none")
    with pytest.raises(library.Unavailable, match=r"none is not installed .*'cnnlab\[onednn\]'"):
        library.build()


def test_another_platform(monkeypatch):
    monkeypatch.setattr(library.platform, "machine", lambda: "arm64")
    with pytest.raises(library.Unavailable, match=r"x86_64, not \w+ on arm64"):
        library.build()
