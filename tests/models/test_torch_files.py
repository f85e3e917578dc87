"""Files that PyTorch wrote, read without it; and files that would run something, refused."""

import pickle
import re
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from cnnlab.models.torch_files import read_state_dict

GOLDEN = Path(__file__).parent / "golden"
FORMATS = ("zip", "legacy", "legacy_2017")
MATRIX = np.array([[-0.75, -0.5, -0.25], [0.0, 0.25, 0.5]], np.float32)
TENSORS = {
    "float32": MATRIX,
    "transposed": MATRIX.T,
    "row": MATRIX[1],
    "float16": MATRIX.astype(np.float16),
    "bfloat16": MATRIX.astype(jnp.bfloat16),
    "float64": MATRIX.astype(np.float64),
    "int64": np.array(2**40),
    "empty": np.zeros((0, 3), np.float32),
    "parameter": MATRIX + 1,
}


# Pickles by hand, in the text opcodes: c global, ( ... t tuple, R call, b build, Q storage.
FLOATS = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcuda:0\nI4\ntQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
PARAMETER = b"ctorch.nn.parameter\nParameter\n"


def holding(value, name=b"Vx\n"):
    """The pickle of {"x": value}."""
    return b"}" + name + value + b"s."


def numbers(*values):
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def view(shape, strides, offset):
    return REBUILD + b"(" + FLOATS + b"I%d\n" % offset + numbers(*shape) + numbers(*strides) + b"tR"


def in_zip(path, pickled, **members):
    """A file in the zip format, with four numbers in its one storage."""
    content = {"data.pkl": pickled, "data/0": np.arange(4, dtype=np.float32).tobytes(), **members}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(f"weights/{name}", value)
    return path


def in_legacy(path, pickled):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    path.write_bytes(b"".join(pickle.dumps(value, 2) for value in head) + pickled)
    return path


class TestWhatTorchWrote:
    @pytest.mark.parametrize("name", FORMATS)
    def test_values_and_types(self, name):
        read = read_state_dict(GOLDEN / f"{name}.pth")
        assert list(read) == list(TENSORS)
        for key, expected in TENSORS.items():
            assert read[key].dtype == expected.dtype, key
            np.testing.assert_array_equal(read[key], expected)

    @pytest.mark.parametrize("name", FORMATS)
    def test_shared_storages_stay_shared(self, name):
        read = read_state_dict(GOLDEN / f"{name}.pth")
        assert np.shares_memory(read["float32"], read["transposed"])
        assert np.shares_memory(read["float32"], read["row"])
        assert not np.shares_memory(read["float32"], read["float16"])

    def test_pt_is_pth(self, tmp_path):
        path = tmp_path / "weights.pt"
        path.write_bytes((GOLDEN / "zip.pth").read_bytes())
        np.testing.assert_array_equal(read_state_dict(str(path))["transposed"], MATRIX.T)


def test_safetensors(tmp_path):
    expected = {name: np.ascontiguousarray(value) for name, value in TENSORS.items()}
    safetensors.numpy.save_file(expected, tmp_path / "weights.safetensors")
    read = read_state_dict(tmp_path / "weights.safetensors")
    assert read.keys() == expected.keys()
    for key in expected:
        assert read[key].dtype == expected[key].dtype, key
        np.testing.assert_array_equal(read[key], expected[key])


class TestPickleIsNotRun:
    @pytest.mark.parametrize("write", [in_zip, in_legacy])
    def test_a_call(self, tmp_path, write):
        """`pickle` itself does run it, so that there is something to refuse."""
        evil = holding(b"cos\nmkdir\n(V" + bytes(tmp_path / "ran") + b"\ntR")
        path = write(tmp_path / "weights.pth", evil)
        with pytest.raises(ValueError, match=r"weights\.pth: .*its pickle calls for os\.mkdir;"):
            read_state_dict(path)
        assert not (tmp_path / "ran").exists()
        pickle.loads(evil)
        assert (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "name",
        [
            "posix.system",
            "builtins.eval",
            "torchvision.models.resnet.ResNet",
            "torch._utils._rebuild_qtensor",
            "torch.storage._load_from_bytes",
            "numpy.dtype",
        ],
    )
    def test_anything_but_tensors_is_named(self, tmp_path, name):
        module, _, attribute = name.rpartition(".")
        path = in_zip(tmp_path / "weights.pth", holding(f"c{module}\n{attribute}\n".encode()))
        with pytest.raises(ValueError, match=re.escape(f"calls for {name}; only tensors")):
            read_state_dict(path)

    def test_other_than_storages(self, tmp_path):
        path = in_zip(tmp_path / "weights.pth", holding(FLOATS.replace(b"Vstorage", b"Vmodule")))
        with pytest.raises(ValueError, match=r"refers to a module, torch\.FloatStorage; only"):
            read_state_dict(path)

    @pytest.mark.parametrize(
        "state", [b"}Vx\nI1\ns", b"(N}V_function\nccollections\nOrderedDict\nst"]
    )
    @pytest.mark.parametrize("victim", [REBUILD, PARAMETER])
    def test_a_pickle_cannot_change_the_reader(self, tmp_path, victim, state):
        """BUILD would set attributes of whatever was named before."""
        path = in_zip(tmp_path / "weights.pth", holding(victim + state + b"b"))
        with pytest.raises(ValueError, match="no state dict can be read"):
            read_state_dict(path)
        TestWhatTorchWrote().test_values_and_types("legacy_2017")

    @pytest.mark.parametrize(
        ("shape", "strides", "offset"),
        [((5,), (1,), 0), ((2, 2), (3, 1), 0), ((2,), (1,), 3), ((2,), (-1,), 0), ((2,), (1,), -1)],
    )
    def test_no_view_beyond_its_storage(self, tmp_path, shape, strides, offset):
        path = in_zip(tmp_path / "weights.pth", holding(view(shape, strides, offset)))
        with pytest.raises(ValueError, match="no state dict can be read"):
            read_state_dict(path)

    def test_view_of_its_storage(self, tmp_path):
        path = in_zip(tmp_path / "weights.pth", holding(view((2, 1), (1, 7), 2)))
        np.testing.assert_array_equal(read_state_dict(path)["x"], [[2], [3]])

    def test_the_oldest_parameters(self, tmp_path):
        """Nothing called with; the data is the first of a state of five."""
        state = b"(" + view((2,), (1,), 1) + b"NNI01\nI00\nt"
        path = in_zip(tmp_path / "weights.pth", holding(PARAMETER + b")\x81" + state + b"b"))
        np.testing.assert_array_equal(read_state_dict(path)["x"], [1, 2])


class TestOtherFiles:
    def test_suffix(self, tmp_path):
        with pytest.raises(ValueError, match=r"'\.pht'; choices: .*did you mean '\.pt'\?"):
            read_state_dict(tmp_path / "resnet18.pht")

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"resnet18\.pth"):
            read_state_dict(tmp_path / "resnet18.pth")

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>"])
    def test_not_weights_at_all(self, tmp_path, suffix, content):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"weights\{suffix}: no state dict can be read"):
            read_state_dict(path)

    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
    def test_cut_short(self, tmp_path, name, share):
        content = (GOLDEN / f"{name}.pth").read_bytes()
        (tmp_path / "weights.pth").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="no state dict can be read"):
            read_state_dict(tmp_path / "weights.pth")

    def test_another_zip_file(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
            archive.writestr("readme.txt", "hello")
        with pytest.raises(ValueError, match=r"without PyTorch's data\.pkl: readme\.txt"):
            read_state_dict(tmp_path / "weights.pth")

    def test_checkpoint_of_more_than_weights(self, tmp_path):
        path = in_zip(tmp_path / "weights.pth", pickle.dumps({"epoch": 3, "state_dict": {}}, 2))
        with pytest.raises(ValueError, match="more than tensors by name: 'epoch', 'state_dict'"):
            read_state_dict(path)
        path = in_zip(tmp_path / "number.pth", holding(view((1,), (1,), 0), name=b"I7\n"))
        with pytest.raises(ValueError, match=r"more than tensors by name: 7$"):
            read_state_dict(path)
        path = in_zip(tmp_path / "list.pth", pickle.dumps([1, 2], 2))
        with pytest.raises(ValueError, match="holds a list, not tensors by name"):
            read_state_dict(path)

    def test_other_byte_order(self, tmp_path):
        tensors = holding(view((1,), (1,), 3))
        path = in_zip(tmp_path / "weights.pth", tensors, byteorder="big")
        with pytest.raises(ValueError, match="written by a big-endian machine"):
            read_state_dict(path)
        path = in_zip(tmp_path / "weights.pth", tensors, byteorder="little")
        assert read_state_dict(path)["x"] == [3]
