"""The tables hold the medians, ratios and rates of results made up by hand."""

import copy
import json

import pytest

from cnnlab.benchmark import report
from cnnlab.evidence.published import MarkerMissing
from cnnlab.files import BadFile

MACHINE = {
    "device": "Intel(R) Xeon(R) Processor, 2 cores",
    "platform": "cpu",
    "commit": "0123456789abcdef",
    "dirty": False,
    "jax": "1.2.3",
    "convolutions": "onednn 4.5",
    "python": "3.11.7",
    "threads": 2,
    "cores": 2,
    "memory_gib": 23.4,
    "load": 0.1,
}
NET = {
    "part": "net",
    "name": "resnet20",
    "detail": "",
    "batch": 100,
    "what": "inference",
    "flops": 10**10,
    "weights": 269722,
    "compile": {"cnnlab": 1.25, "PyTorch": None},
    "seconds": {"cnnlab": [0.1, 0.2, 0.4], "PyTorch": [0.2, 0.3, 0.4]},
    "failed": {},
}
LAYER = NET | {
    "part": "layer",
    "name": "L4",
    "detail": "128->128 7x7 @16x16",
    "flops": 10**9,
    "what": "forward",
    "weights": 802816,
    "seconds": {"cnnlab": [0.02, 0.01, 0.03]},
    "failed": {"PyTorch": "MemoryError: no more"},
}
MATMUL = NET | {
    "part": "matmul",
    "name": "matmul",
    "flops": 10**9,
    "seconds": {"cnnlab": [0.01, 0.02, 0.001], "PyTorch": [0.0125, 0.005, 0.05]},
}
RESULTS = {
    "date": "2026-01-01 00:00 UTC",
    "machine": MACHINE,
    "settings": {"rounds": 3, "seconds": 0.2, "dtype": "float32", "command": "python b.py --x"},
    "contenders": ["cnnlab", "PyTorch"],
    "skipped": {"cnnlab (xla)": "compiles the same programs as cnnlab"},
    "rows": [MATMUL, NET, LAYER],
}


def cells(text, name):
    """The first table row that begins with `name`."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_networks_row():
    row = cells(report.markdown(RESULTS), "resnet20")
    # ratios, round by round: 0.2/0.1, 0.3/0.2, 0.4/0.4; not the ratio of the medians
    assert row == ["resnet20", "100", "inference", "500, 50%", "333, 33%", "1.50 [1.00, 2.00]", "3"]


def test_ranges_that_contain_1_are_said_to_be_level():
    touching = NET | {"what": "training step"}
    apart = touching | {"name": "apart", "seconds": {"cnnlab": [1.0] * 2, "PyTorch": [1.1, 1.2]}}
    slower = touching | {"name": "slower", "seconds": {"cnnlab": [1.0] * 2, "PyTorch": [0.8, 0.9]}}
    rows = [MATMUL, NET, touching, apart, slower, LAYER]
    (line,) = (
        line
        for line in report.markdown(RESULTS | {"rows": rows}).splitlines()
        if line.startswith("Training steps level with PyTorch's")
    )
    assert line.endswith(": resnet20 at 100.")
    assert "level with" not in report.markdown(RESULTS)


def test_training_without_onednn_is_held_against_plain_flax():
    seconds = {"cnnlab": [1.0], "cnnlab (xla)": [4.0], "Flax Linen": [2.0]}
    rows = [MATMUL, NET | {"what": "training step", "seconds": seconds}, LAYER]
    results = RESULTS | {"rows": rows, "contenders": list(seconds)}
    _, table = report.markdown(results).split("#### Training steps where there is no oneDNN")
    assert cells(table, "resnet20")[3:6] == ["25, 2%", "50, 5%", "0.50 [0.50, 0.50]"]


def test_no_networks_no_table_of_them():
    assert "Whole networks" in report.markdown(RESULTS)
    assert "Whole networks" not in report.markdown(RESULTS | {"rows": [MATMUL, LAYER]})


@pytest.mark.parametrize(("asked", "said"), [(3, "3 rounds, at"), (5, "5 rounds (fewer where a")])
def test_fewer_rounds_are_only_spoken_of_where_there_are_any(asked, said):
    text = report.markdown(RESULTS | {"settings": RESULTS["settings"] | {"rounds": asked}})
    assert said in text


def test_a_layers_row():
    # 1e9 in 20 ms are 50 GFLOP/s, half of the peak of 100 (1e9 in a median of 10 ms)
    row = cells(report.markdown(RESULTS), "L4")
    assert row == ["L4", "100", "forward", "20 ms, 50, 50%", "failed", "", "3"]


def test_the_peak_is_the_fastest_median():
    assert report.peak_flops(RESULTS) == pytest.approx(1e11)
    rows = [MATMUL | {"seconds": {"cnnlab": [0.01] * 3, "PyTorch": [0.004, 0.005, 0.02]}}]
    assert report.peak_flops(RESULTS | {"rows": rows}) == pytest.approx(2e11)


def test_what_failed_or_was_left_out_is_said():
    text = report.markdown(RESULTS)
    assert "PyTorch failed at L4, batch 100, forward: MemoryError: no more" in text
    assert "cnnlab (xla) is not in the tables: compiles the same programs" in text


def test_machine_and_versions_are_said():
    text = report.markdown(RESULTS)
    for fact in (
        "2 threads of 2 cores, 23 GiB",
        "JAX 1.2.3",
        "Python 3.11.7",
        "by onednn 4.5",
        "commit 0123456789",
        "; float32; ",
        "`python b.py --x`",
    ):
        assert fact in text
    assert "PyTorch 2" not in text


@pytest.mark.parametrize(("load", "warned"), [(0.5, False), (0.6, True)])
def test_a_busy_machine_is_warned_of(load, warned):
    results = RESULTS | {"machine": MACHINE | {"load": load}}
    assert ("not idle" in report.markdown(results)) is warned


def test_compile_times_stand_apart_and_only_of_those_that_compile():
    _, table = report.markdown(RESULTS).split("#### Tracing and compiling")
    assert cells(table, "resnet20") == ["resnet20", "100", "inference", "1.25"]


def test_weights_and_shapes_are_told():
    _, table = report.markdown(RESULTS).split("#### What was timed")
    assert cells(table, "L4") == ["L4", "`128->128 7x7 @16x16`", "802,816"]


@pytest.mark.parametrize(
    ("changes", "tag"),
    [
        ({}, "intel-xeon-processor-2-cores"),
        ({"threads": 1}, "intel-xeon-processor-2-cores-1-threads"),
        ({"device": "NVIDIA H200", "platform": "gpu", "threads": 1}, "nvidia-h200"),
    ],
)
def test_a_file_is_named_after_its_machine(changes, tag):
    results = RESULTS | {"machine": MACHINE | changes}
    assert report.machine_tag(results) == tag
    in_bfloat16 = results | {"settings": RESULTS["settings"] | {"dtype": "bfloat16"}}
    assert report.machine_tag(in_bfloat16) == f"{tag}-bfloat16"


def test_pages_are_made_from_the_json_alone(tmp_path):
    other = copy.deepcopy(RESULTS)
    other["machine"]["device"] = "Another"
    for results in (RESULTS, other):
        path = report.write(results, tmp_path / "performance")
        assert json.loads(path.read_text()) == results
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- results:begin -->\nold\n<!-- results:end -->\nz\n")
    made = report.rewrite(tmp_path / "performance", page)
    assert [path.name for path in made] == ["another.md", "intel-xeon-processor-2-cores.md"]
    assert made[0].read_text() == f"# Performance\n\n{report.markdown(other)}\n"
    whole = page.read_text()
    assert whole.startswith("a\n<!-- results:begin -->\n### Another\n")
    assert "### Intel" in whole
    assert "old" not in whole
    assert whole.endswith("\n<!-- results:end -->\nz\n")


def test_a_page_without_markers_and_an_empty_folder_are_mistakes(tmp_path):
    report.write(RESULTS, tmp_path)
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(MarkerMissing):
        report.rewrite(tmp_path, page)
    assert page.read_text() == "no markers"
    with pytest.raises(FileNotFoundError, match="no results"):
        report.rewrite(tmp_path / "nothing", None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": []}, "rows must contain at least 1 items, not []"),
        ({"machine": 5}, "machine must be object, not 5"),
        ({"settings": {}}, "lacks 'dtype', 'command', 'rounds', 'seconds' in settings"),
        ({"contenders": "cnnlab"}, "contenders must be array, not 'cnnlab'"),
    ],
)
def test_a_file_that_holds_no_results_is_told(tmp_path, change, said):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(RESULTS | change))
    with pytest.raises(BadFile) as caught:
        report.rewrite(tmp_path, None)
    assert str(caught.value) == f"{path}: {said}"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
