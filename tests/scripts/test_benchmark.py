"""The benchmark in its smoke form, from the command line to the page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_quick_runs_everything_and_the_tables_come_from_the_json(tmp_path: Path) -> None:
    folder, page = tmp_path / "performance", tmp_path / "page.md"
    page.write_text("above\n<!-- results:begin -->\n<!-- results:end -->\n")
    places = ("--folder", folder, "--page", page)
    first = run("--quick", "--threads", "1", "--rounds", "2", *places)
    assert first.returncode == 0, first.stderr
    (path,) = folder.glob("*.json")
    results = json.loads(path.read_text())
    assert results["machine"]["threads"] == 1
    said = f"`python scripts/benchmark.py --quick --threads 1 --rounds 2 --folder {folder}"
    assert said in path.with_suffix(".md").read_text()
    assert {"cnnlab", "Flax Linen"} <= set(results["contenders"])
    jobs = [(row["name"], row["what"]) for row in results["rows"]]
    nets, layers = ["training step", "inference"], ["forward", "input gradient", "weight gradient"]
    assert jobs == [("matmul", "forward"), *(("tiny", what) for what in nets + layers)]
    for row in results["rows"]:
        assert row["failed"] == {}
        assert list(row["seconds"]) == results["contenders"]
        assert all(len(times) == 2 and min(times) > 0 for times in row["seconds"].values())
    # 3x3x3x4, scale and offset of 4 channels, 4x10 and 10; the layer alone 3x3x3x4
    assert [row["weights"] for row in results["rows"]] == [0, 166, 166, 108, 108, 108]
    report = path.with_suffix(".md").read_text()
    assert report in first.stdout
    shown = page.read_text()
    assert report.removeprefix("# Performance\n\n").strip() in shown
    path.with_suffix(".md").unlink()
    second = run("--report-only", *places)
    assert second.returncode == 0, second.stderr
    assert path.with_suffix(".md").read_text() == report
    assert page.read_text() == shown


def test_single_layers_in_bfloat16(tmp_path: Path) -> None:
    made = run("--quick", "--dtype", "bfloat16", "--rounds", "1", "--folder", tmp_path)
    assert made.returncode == 0, made.stderr
    (path,) = tmp_path.glob("*-bfloat16.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["part"] for row in rows] == ["matmul", "layer", "layer", "layer"]
    assert all(row["failed"] == {} for row in rows)
    assert "two bfloat16 matrices" in made.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "resnet2"), "unknown layer or network: 'resnet2'"),
        (("--only", "resnet2"), "did you mean 'resnet20'?"),
        (("--quick", "--only", "vgg16"), "--only vgg16: --quick has a network of its own"),
        (("--threads", "0"), "--threads must be from 1 to"),
        (("--layer-batch", "0"), "--layer-batch must be at least 1; got 0"),
        (("--quick", "--page", "README.nowhere"), "README.nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cnnlab.benchmark.command import main

    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
