"""Spoilt weights and spoilt files: the right variables, or a `ValueError` that names the entry.

Small networks stand in for torchvision's, so that many can be tried.
"""

import functools
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from drawn_weights import draw_state_dict
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab import models
from cnnlab.errors import Mistake
from cnnlab.models import resnet
from cnnlab.models.adaptive import pooled_before_fc
from cnnlab.models.network import Network
from cnnlab.models.torch_files import read_state_dict

loading = sys.modules["cnnlab.models.load_torch"]  # the package's `load_torch` is the function
GOLDEN = Path(__file__).parent / "golden"


def plain(*, classes=3, dtype=jnp.float32):
    """As AlexNet and VGG: a volume before the first FC, and a bias that a BN makes idle."""
    text = (
        "INPUT -> CONV3-4 -> RELU -> POOL2 -> CONV3-6 -> BN -> RELU -> POOL2"
        " -> [DROP0.5 -> FC-5 -> RELU]*2 -> FC"
    )
    return pooled_before_fc(models.pattern(text, classes=classes, fit="crop", dtype=dtype), 2)


SMALL = {
    "alexnet": Network(plain, (8, 8, 3), "a small one"),
    "resnet18": Network(partial(resnet.resnet, (1, 1), False), (8, 8, 3), "a small one"),
}


@functools.cache
def whole(name):
    """The entries of a small network."""
    model = SMALL[name].build(classes=3)
    made = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *SMALL[name].input_shape)))
    return draw_state_dict({key: e.shape for key, e in loading._entries(model, made).items()})


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(loading, "_NETWORKS", loading._NETWORKS | SMALL)
    for name in SMALL:
        whole(name)


def tried(function, *arguments):
    """What it gives, or how it refuses: any other exception is a fault."""
    try:
        return function(*arguments), None
    except Mistake as error:
        return None, str(error)


def integers(array):
    return np.abs(array).astype(np.int16)


def flat(variables):
    return flatten_dict(variables, keep_empty_nodes=True)


def put(number):
    """One number of an entry changed."""

    def change(array):
        changed = array.astype(np.float64)
        changed.flat[changed.size // 2] = number
        return changed

    return change


KEPT = {
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "bfloat16": lambda a: a.astype(jnp.bfloat16),
    "long double": lambda a: a.astype(np.longdouble),
    "big endian": lambda a: a.astype(">f4"),
    "integers": integers,
    "unsigned": lambda a: integers(a).astype(np.uint64),
    "Fortran order": np.asfortranarray,
    "every second of twice as many": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "a list": lambda a: a.tolist(),
    "an array of JAX": jnp.asarray,
    "too small for float32": put(1e-300),
    "the largest of float32": put(float(np.finfo(np.float32).max)),
    "repeated": lambda a: np.broadcast_to(np.float32(0.5), a.shape),
}
"""Changes of what an entry is that leave its numbers, to float32."""

SPOILT = {
    "complex": (lambda a: a.astype(np.complex64), "not real"),
    "truth values": (lambda a: a > 0, "not real"),
    "words": (lambda a: a.astype(str), "not real"),
    "objects": (lambda a: a.astype(object), "not real"),
    "dates": (lambda a: np.zeros(a.shape, "datetime64[s]"), "not real"),
    "records": (lambda a: np.zeros(a.shape, [("a", "f4")]), "not real"),
    "NaN": (put(np.nan), "not finite"),
    "infinite": (put(-np.inf), "not finite"),
    "half infinite": (lambda a: np.full(a.shape, np.inf, np.float16), "not finite"),
    "too large": (put(1e300), "out of range"),
    "just too large": (put(-3.5e38), "out of range"),
    "flat, and one more": (lambda a: np.append(a.ravel(), 1), "misshapen"),
    "one axis more": (lambda a: a[None], "misshapen"),
    "a number": (lambda a: np.float32(1), "misshapen"),
    "empty": (lambda a: a[:0], "misshapen"),
    "turned round": (lambda a: np.swapaxes(a[..., None], 0, -1), "misshapen"),
    "one short": (lambda a: a[1:], "misshapen"),
    "twice": (lambda a: np.concatenate([a, a]), "misshapen"),
    "None": (lambda a: None, "misshapen"),
    "ragged": (lambda a: [[1.0], [1.0, 2.0]], "no arrays"),
}
"""What is not an entry's numbers, and what is said of it."""

LAST = {"alexnet": "classifier.6.weight", "resnet18": "fc.weight"}
"""Its size says how many classes there are, so that another one is no fault of its own."""


@st.composite
def states(draw):
    """A network, its entries changed, the same as float32 where nothing is spoilt, and what is."""
    name = draw(st.sampled_from(sorted(SMALL)))
    state, kept, faults = dict(whole(name)), dict(whole(name)), []
    keys = [key for key in state if key != LAST[name]]
    for key in draw(st.lists(st.sampled_from(keys), max_size=3, unique=True)):
        how = draw(st.sampled_from([*KEPT, *SPOILT, "missing", "renamed", "more", "below 0"]))
        if how in KEPT:
            state[key] = KEPT[how](state[key])
            kept[key] = np.asarray(state[key]).astype(np.float32)
        elif how in SPOILT:
            change, said = SPOILT[how]
            state[key] = change(state[key])
            faults.append((said, key))
        elif how == "below 0" and key.endswith("running_var"):
            state[key] = -state[key]
            faults.append(("negative", key))
        elif how in ("missing", "renamed"):
            moved = state.pop(key)
            faults.append(("missing", key))
            if how == "renamed":
                other = draw(st.sampled_from([f"module.{key}", key.upper(), key[:-1], f"{key} "]))
                state[other] = moved
                faults.append(("extra", other))
        elif how == "more":
            other = draw(st.text(max_size=8).filter(lambda text: text not in whole(name)))
            state[other] = np.zeros(3, np.float32)
            faults.append(("extra", other))
    if draw(st.booleans()):
        kept["bn.num_batches_tracked"] = state["bn.num_batches_tracked"] = np.array(7)
    return name, state, kept, faults


def check_state(case):
    name, state, kept, faults = case
    faults = [fault for fault in faults if fault[0] == "no arrays"] or faults
    found, refusal = tried(models.load_torch, name, state)
    assert bool(refusal) == bool(faults), refusal
    for said, key in faults:
        assert said in refusal
        assert key in refusal
    if faults:
        return
    expected = models.load_torch(name, kept)
    assert found[0] == expected[0]
    assert flat(found[1]).keys() == flat(expected[1]).keys()
    for path, array in flatten_dict(expected[1]).items():
        np.testing.assert_array_equal(flatten_dict(found[1])[path], array)
        assert array.dtype == jnp.float32
        assert np.isfinite(array).all()


@settings(deadline=None, max_examples=40)
@given(states())
def test_state_dicts(case):
    check_state(case)


@pytest.mark.slow
@settings(deadline=None, max_examples=2_000)
@given(states())
def test_many_state_dicts(case):
    check_state(case)


@pytest.mark.parametrize("how", [*KEPT, *SPOILT])
@pytest.mark.parametrize("key", ["features.3.weight", "features.4.running_var"])
def test_each_change(how, key):
    state = dict(whole("alexnet"))
    if how in KEPT:
        state[key] = KEPT[how](state[key])
        kept = state | {key: np.asarray(state[key]).astype(np.float32)}
        check_state(("alexnet", state, kept, []))
    else:
        change, said = SPOILT[how]
        state[key] = change(state[key])
        check_state(("alexnet", state, {}, [(said, key)]))


@functools.cache
def written(kind):
    """A whole file, of the format, and what is in it."""
    if kind == "safetensors":
        tensors = {key: np.ascontiguousarray(x) for key, x in whole("alexnet").items()}
        return safetensors.numpy.save(tensors), tensors
    return (GOLDEN / f"{kind}.pth").read_bytes(), read_state_dict(GOLDEN / f"{kind}.pth")


FORMATS = ("zip", "legacy", "legacy_2017", "safetensors")


def read(kind, content):
    with tempfile.TemporaryDirectory() as folder:
        suffix = ".safetensors" if kind == "safetensors" else ".pth"
        path = Path(folder) / f"weights{suffix}"
        path.write_bytes(content)
        return read_state_dict(path)


def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[key].dtype == expected[key].dtype and np.array_equal(found[key], expected[key])
        for key in expected
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_short_anywhere(kind):
    """At 150 places, the first and the last bytes among them."""
    content, _ = written(kind)
    places = {*range(20), *range(len(content) - 30, len(content))}
    places |= {*np.linspace(0, len(content) - 1, 100).astype(int).tolist()}
    for place in sorted(places):
        with pytest.raises(Mistake, match=r"weights\.\w+: no state dict can be read from it: "):
            read(kind, content[:place])


@st.composite
def spoilt_files(draw):
    kind = draw(st.sampled_from(FORMATS))
    content = bytearray(written(kind)[0])
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content) - 1))
        length = draw(st.integers(1, 9))
        how = draw(st.sampled_from(["flip", "put", "take", "double", "zero"]))
        part = bytes(content[start : start + length])
        content[start : start + length] = {
            "flip": bytes(byte ^ draw(st.integers(1, 255)) for byte in part[:1]) + part[1:],
            "put": draw(st.binary(min_size=1, max_size=9)) + part,
            "take": b"",
            "double": part * 2,
            "zero": bytes(len(part)),
        }[how]
    return kind, bytes(content)


def check_file(case):
    """Where a format keeps no sum of its numbers, changed ones cannot be told."""
    kind, content = case
    original, tensors = written(kind)
    found, refusal = tried(read, kind, content)
    if refusal:
        assert "no state dict can be read from it: " in refusal
        assert content != original
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())
    assert sum(array.nbytes for array in found.values()) <= 2 * len(content) + 1000
    if content == original:
        assert same(found, tensors)


@settings(deadline=None, max_examples=300)
@given(spoilt_files())
def test_files(case):
    check_file(case)


@pytest.mark.slow
@settings(deadline=None, max_examples=50_000)
@given(spoilt_files())
def test_many_files(case):
    check_file(case)


def test_numbers_of_a_zip_are_told_from_changed_ones():
    content, _ = written("zip")
    place = content.index(np.float32([-0.75, -0.5]).tobytes())
    for i in range(24):
        changed = bytearray(content)
        changed[place + i] ^= 1
        with pytest.raises(Mistake, match="Bad CRC-32"):
            read("zip", bytes(changed))
