"""Files that PyTorch wrote, read without it; and files that would run something, refused."""

import copy
import pickle
import re
import tracemalloc
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from cnnlab.errors import Mistake
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


def in_legacy(path, pickled, keys=(), numbers=b""):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    tail = pickle.dumps(list(keys), 2) + numbers if keys is not None else b""
    path.write_bytes(b"".join(pickle.dumps(value, 2) for value in head) + pickled + tail)
    return path


def storage(*values, count=None):
    """Numbers as they stand at the end of a legacy file, behind how many they are."""
    count = len(values) if count is None else count
    return count.to_bytes(8, "little") + np.array(values, np.float32).tobytes()


def floats(count, key=b"0"):
    """A storage as a pickle refers to it."""
    return FLOATS.replace(b"I4", b"I%d" % count).replace(b"V0", b"V" + key)


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


class TestSizes:
    """What a file says of sizes is held against what there is, before anything is made of it."""

    def refused(self, path, match):
        tracemalloc.start()
        try:
            with pytest.raises(Mistake, match=match):
                read_state_dict(path)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 6e6 + 4 * path.stat().st_size

    def test_an_archive_that_would_grow(self, tmp_path):
        path, count = tmp_path / "bomb.pth", 2**24
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            pickled = holding(view((count,), (1,), 0).replace(FLOATS, floats(count)))
            archive.writestr("weights/data.pkl", pickled)
            archive.writestr("weights/data/0", bytes(4 * count))
        assert path.stat().st_size < 1e5
        self.refused(path, r"data\.pkl is compressed, as PyTorch writes no tensors.*`zip -0`")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", pickled)
            archive.writestr("weights/data/0", bytes(4 * count), zipfile.ZIP_DEFLATED)
        self.refused(path, r"data/0 is compressed.*: 67,108,864 bytes in \d\d,\d{3}\.")

    def test_a_program_of_torchscript(self, tmp_path):
        """Its code is compressed; what is refused is what its pickle calls for."""
        path = in_zip(tmp_path / "weights.pt", holding(b"c__torch__.torchvision\nResNet\n"))
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("weights/code/__torch__/torchvision.py", "pass\n" * 99)
        self.refused(path, r"its pickle calls for __torch__\.torchvision\.ResNet; only tensors")

    def test_members_one_upon_another(self, tmp_path):
        path = in_zip(tmp_path / "weights.pth", holding(b"}"), **{"data/0": bytes(10_000)})
        with zipfile.ZipFile(path, "a") as archive:
            for i in range(1, 9):
                info = copy.copy(archive.getinfo("weights/data/0"))
                info.filename = f"weights/data/{i}"
                archive.filelist.append(info)
                archive._didModify = True
        self.refused(path, r"its members overlap: 90,\d+ bytes of them in 1\d,\d+")

    @pytest.mark.parametrize(("count", "held"), [(3, 16), (5, 16), (10**12, 16), (0, 16)])
    def test_a_storage_of_another_size_than_its_tensors_want(self, tmp_path, count, held):
        pickled = holding(view((1,), (1,), 0).replace(FLOATS, floats(count)))
        path = in_zip(tmp_path / "weights.pth", pickled)
        self.refused(path, f"data/0 has {held} bytes; a tensor wants {4 * count:,}")

    @pytest.mark.parametrize("count", [b"I-1\n", b"F4.0\n", b"V4\n", b"N", b"I01\n"])
    @pytest.mark.parametrize("write", [in_zip, in_legacy])
    def test_a_storage_of_no_size(self, tmp_path, write, count):
        pickled = holding(view((1,), (1,), 0).replace(b"I4\n", count))
        self.refused(write(tmp_path / "weights.pth", pickled), "storage's size must be a whole")

    def test_a_storage_that_is_not_there(self, tmp_path):
        pickled = holding(view((1,), (1,), 0).replace(FLOATS, floats(4, b"7")))
        self.refused(in_zip(tmp_path / "weights.pth", pickled), "data/7 has 0 bytes")

    @pytest.mark.parametrize(("shape", "strides"), [((10**9, 2), (0, 0)), ((8,), (0,))])
    def test_a_tensor_of_more_numbers_than_its_storage(self, tmp_path, shape, strides):
        path = in_zip(tmp_path / "weights.pth", holding(view(shape, strides, 0)))
        self.refused(path, r"a tensor \[\d+.*\] of 4 numbers")

    @pytest.mark.parametrize("part", [b"(V1\nI-1\nI2\nt", b"(V1\nI3\nI2\nt", b"(V1\nI0\nI-1\nt"])
    def test_a_view_beyond_its_storage(self, tmp_path, part):
        """Of old a storage could be part of another one."""
        pickled = holding(view((1,), (1,), 0).replace(FLOATS, FLOATS[:-2] + part + b"tQ"))
        self.refused(in_zip(tmp_path / "weights.pth", pickled), r"a view of -?\d numbers from -?\d")

    def test_a_view_within_its_storage(self, tmp_path):
        part = FLOATS[:-2] + b"(V1\nI2\nI2\ntt" + b"Q"
        pickled = holding(view((2,), (1,), 0).replace(FLOATS, part))
        path = in_zip(tmp_path / "weights.pth", pickled)
        np.testing.assert_array_equal(read_state_dict(path)["x"], [2, 3])

    @pytest.mark.parametrize("write", [in_zip, in_legacy])
    def test_a_pickle_that_would_fill_the_memory(self, tmp_path, write):
        path = write(tmp_path / "index.pth", b"}r" + (2**31).to_bytes(4, "little") + b".")
        self.refused(path, r"would take much memory \(LONG_BINPUT 2147483648\)")
        path = write(tmp_path / "nest.pth", b"}(" + b")" + b"\x85" * 10**6 + b"I1\nu.")
        self.refused(path, r"would take much memory \(TUPLE1")

    def test_a_large_pickle(self, tmp_path):
        path = in_zip(tmp_path / "large.pth", b"}" * 2**21 + b".")
        self.refused(path, "more than 1,048,576 bytes")

    def test_members_of_one_name(self, tmp_path):
        path = in_zip(tmp_path / "weights.pth", holding(view((1,), (1,), 0)))
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("weights/data/0", bytes(16))
        self.refused(path, "two of its members have one name")


class TestLegacyNumbers:
    """Those at the end of the file are the ones that the tensors want, each once."""

    TWO = holding(view((2,), (1,), 1).replace(FLOATS, floats(3)))

    def read(self, tmp_path, *args, pickled=TWO):
        return read_state_dict(in_legacy(tmp_path / "weights.pth", pickled, *args))

    def test_read(self, tmp_path):
        read = self.read(tmp_path, ["0"], storage(5, 6, 7))
        np.testing.assert_array_equal(read["x"], [6, 7])

    @pytest.mark.parametrize("keys", [(), ("1",), ("0", "0"), ("0", "1"), (0,)])
    def test_another_list_of_storages(self, tmp_path, keys):
        with pytest.raises(Mistake, match=rf"view 1 storages, and it lists {len(keys)} others"):
            self.read(tmp_path, keys, storage(5, 6, 7) * 2)

    def test_no_list(self, tmp_path):
        with pytest.raises(Mistake, match="no state dict can be read"):
            self.read(tmp_path, None)

    @pytest.mark.parametrize("count", [0, 2, 4, 2**60, 2**64 - 1])
    def test_another_number_of_numbers(self, tmp_path, count):
        with pytest.raises(Mistake, match="storage 0 has not the 3 numbers it says"):
            self.read(tmp_path, ["0"], storage(5, 6, 7, count=count))

    @pytest.mark.parametrize("left", [0, 4, 7, 8, 19])
    def test_cut_short(self, tmp_path, left):
        with pytest.raises(Mistake, match="it is cut short"):
            self.read(tmp_path, ["0"], storage(5, 6, 7)[:left])

    def test_more_than_the_file_could_hold(self, tmp_path):
        pickled = holding(view((1,), (1,), 0).replace(FLOATS, floats(10**12)))
        with pytest.raises(Mistake, match=r"want more than the file's [\d,]+ bytes"):
            self.read(tmp_path, ["0"], storage(5, count=10**12), pickled=pickled)

    def test_a_storage_of_two_sizes(self, tmp_path):
        first = view((2,), (1,), 0).replace(FLOATS, floats(3))
        other = view((2,), (1,), 0).replace(FLOATS, floats(2))
        pickled = b"}Va\n" + first + b"sVb\n" + other + b"s."
        with pytest.raises(Mistake, match="storage 0 has two sizes"):
            self.read(tmp_path, ["0"], storage(5, 6, 7), pickled=pickled)


def test_a_tensor_that_stands_for_other_numbers(tmp_path):
    """PyTorch keeps a negated view as it was, with a mark."""
    marked = view((2,), (1,), 0)[:-2] + b"I00\n}}Vneg\nI01\nstR"
    path = in_zip(tmp_path / "weights.pth", holding(marked))
    with pytest.raises(Mistake, match=r"stands for other numbers than it holds: \{'neg': True\}"):
        read_state_dict(path)
    plain = view((2,), (1,), 0)[:-2] + b"I00\n}}tR"
    assert list(read_state_dict(in_zip(path, holding(plain)))["x"]) == [0, 1]


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    in_zip(tmp_path / "weights.pth", holding(view((2,), (1,), 0)))
    assert list(read_state_dict("~/weights.pth")["x"]) == [0, 1]
    with pytest.raises(FileNotFoundError, match="~nobody-here/weights"):
        read_state_dict("~nobody-here/weights.pth")


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
