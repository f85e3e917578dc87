import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_launchers import PROJECT, REPORT, TINY, TRAIN, asked

from cnnlab.evidence.ablation import load_ablations
from cnnlab.evidence.published import BEGIN, END

REPRODUCE = str(PROJECT / "experiments" / "reproduce.py")

# The same experiment as another claim, which has no preset but its own.
OTHER = TINY.replace('id="T1"', 'id="T2"').replace('"tiny"', '"other"')
OTHER = OTHER.replace(
    "    config = blank",
    "    if preset != 'paper':\n"
    "        raise ValueError(f'unknown preset: {preset!r}; choices: paper')\n"
    "    config = blank",
)

MISTAKES: dict[str, tuple[list[str], str]] = {
    "preset": (["--preset=cpuu"], r"unknown choice: 'cpuu'; .*; did you mean 'cpu'\?$"),
    "executor": (["--executor=rya"], r"unknown choice: 'rya'; .*; did you mean 'ray'\?$"),
    "claim": (
        ["--claims=T1,T11"],
        r"^error: unknown claim with preset 'digits': 'T11'; choices: T1; did you mean 'T1'\?$",
    ),
    "claim of another preset": (["--claims=T2"], "unknown claim with preset 'digits': 'T2'"),
    "jobs": (["--jobs=0"], r"^error: jobs = 0 must be from 1 to \d+ here"),
    "address": (["--address=auto"], "--address auto is for --executor ray"),
    "Ray's jobs": (["--executor=ray", "--jobs=2"], "^error: --jobs 2 is for --executor local;"),
    "workdir": (["--workdir=configs/tiny.py"], "cannot write to .*configs/tiny.py/tiny/digits"),
}


ABSENT = TINY.replace("config.seeds = 2", 'config.seeds, config.data.name = 2, "svhn_cropped"')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.py").write_text(TINY)
    (tmp_path / "configs" / "other.py").write_text(OTHER)
    return tmp_path


def test_configs_without_the_preset_are_left_out(folder: Path) -> None:
    assert [found.name for found in load_ablations(folder / "configs", "digits")] == ["tiny"]
    both = load_ablations(folder / "configs", "paper")
    assert [(found.claim.id, found.preset) for found in both] == [("T1", "paper"), ("T2", "paper")]
    (folder / "configs" / "ten.py").write_text(TINY.replace("T1", "T10"))
    found = load_ablations(folder / "configs", "paper")
    assert [ablation.claim.id for ablation in found] == ["T1", "T2", "T10"]
    (folder / "configs" / "broken.py").write_text(TINY.replace('"better"', '"best"'))
    with pytest.raises(ValueError, match="unknown expect: 'best'"):
        load_ablations(folder / "configs", "paper")


def test_a_mistake_is_told_in_words(folder: Path) -> None:
    answers = asked([[REPRODUCE, *words] for words, _ in MISTAKES.values()], folder)
    for (name, (_, expected)), answer in zip(MISTAKES.items(), answers, strict=True):
        assert re.search(expected, answer["said"].strip(), re.M), f"{name}: {answer['said']}"
        assert (name, answer["status"]) == (name, 2)
        assert "Traceback" not in answer["said"]
    assert [path.name for path in folder.iterdir()] == ["configs"]


def test_what_is_missing_is_run_and_what_is_done_is_not(folder: Path) -> None:
    absent = ABSENT.replace("T1", "T3").replace('"tiny"', '"absent"')
    (folder / "configs" / "absent.py").write_text(absent)
    one, both, again = asked(
        [
            [REPRODUCE, "--preset=paper", "--claims=T2"],
            [REPRODUCE, "--preset=paper"],
            [REPRODUCE, "--preset=paper", "--jobs=2"],
        ],
        folder,
    )
    assert [answer["status"] for answer in (one, both, again)] == [0, 0, 0], both["said"]
    assert "T1" not in one["said"]
    assert re.findall(r"(\d) of 4 runs done", one["said"]) == list("01234")
    assert "0 of 4 runs done, 4 of unknown length" in one["said"]
    assert re.search(r"1 of 4 runs done, about \d+ s left\n", one["said"])
    assert re.findall(r"(\d) of 8 runs done", both["said"]) == list("45678")
    assert "runs done" not in again["said"]
    for claim in ("T1", "T2"):
        assert f"{claim}: A linear classifier" in both["said"]
    tables = both["said"][both["said"].index("T1: A linear") :]
    said = both["said"].replace("\n", " ")
    assert re.search(r"T3 is left out: cannot read 'svhn_cropped'.*prepare_data.py", said)
    assert tables == again["said"][again["said"].index("T1: A linear") :]
    assert tables.count("Report and figure: runs/") == 2


def test_without_any_data_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "absent.py").write_text(ABSENT)
    (answer,) = asked([[REPRODUCE, "--preset=cpu"]], tmp_path)
    assert answer["status"] == 2
    assert "T1 is left out: cannot read 'svhn_cropped'" in " ".join(answer["said"].split())
    last = "error: nothing to run: no claim with preset 'cpu' has its data here"
    assert answer["said"].splitlines()[-1] == last


def test_rates_are_chosen_then_used_and_published(folder: Path) -> None:
    tuned = TINY.replace("config.seeds = 2", "config.seeds, config.rates = 2, (0.001, 0.3)")
    tuned = tuned.replace('baseline="conv"', "baseline=50").replace("        conv=", "        # ")
    (folder / "configs" / "tiny.py").write_text(tuned)
    (folder / "README.md").write_text(f"{BEGIN}\n{END}\n")
    first, again, one, page = asked(
        [
            [REPRODUCE, "--publish"],
            [REPRODUCE],
            [TRAIN, "--config=configs/tiny.py", "--seed=1"],
            [REPORT],
        ],
        folder,
    )
    assert first["status"] == 0, first["said"]
    assert re.findall(r"(\d) of 4 runs done", first["said"]) == list("012234")
    assert "linear seed 1000  step 40/40" in first["said"]
    words = "learning rate is the one of 0.001, 0.3 with the least validation error"
    assert words in " ".join(first["said"].split())
    assert "SUPPORTED: linear against 50 (n = 2)" in first["said"]
    assert "step" not in again["said"]
    assert "step" not in one["said"], "it trained what was there"
    path = folder / "results" / "tiny" / "digits.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    runs = [(record["seed"], record["config"]["optimizer"]["learning_rate"]) for record in records]
    # In 40 steps the smaller rate gets nowhere.
    assert runs == [(0, 0.3), (1, 0.3), (1000, 0.001), (1000, 0.3)]
    assert "| T1: A linear" in (folder / "README.md").read_text()
    assert page["said"] == "results/tiny/digits.md\nresults/README.md\n"


def saved(root: Path) -> list[Path]:
    """The checkpoints of runs that are not finished."""
    return [
        step
        for step in root.glob("runs/tiny/digits/*/*/checkpoints/*")
        if step.name.isdigit() and not (step.parents[1] / "record.json").exists()
    ]


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two jobs need two cores")
def test_jobs_that_are_stopped_save_and_go_on(folder: Path) -> None:
    long = TINY.replace("steps=40", "steps=20_000, checkpoint_steps=1_000")
    (folder / "configs" / "tiny.py").write_text(long)
    command = [sys.executable, REPRODUCE, "--jobs=2"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(command, cwd=folder, env=environment) as sweep:
        while len({step.parent for step in saved(folder)}) < 2:
            assert sweep.poll() is None
            time.sleep(0.02)
        sweep.send_signal(signal.SIGTERM)
        assert sweep.wait(timeout=120) == 75
    # On being told, not only when a checkpoint was due.
    newest = {
        step.parent: max(int(p.name) for p in step.parent.iterdir()) for step in saved(folder)
    }
    assert len(newest) == 2
    assert any(step % 1_000 for step in newest.values())
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("goes on from step") == 2
    assert "4 of 4 runs done" in done.stdout


@pytest.mark.slow
def test_on_ray_it_prints_what_one_process_prints(folder: Path) -> None:
    pytest.importorskip("ray")
    said = []
    for executor in ("ray", "local"):
        command = [sys.executable, REPRODUCE, f"--executor={executor}"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        home = folder / executor
        (home / "configs").mkdir(parents=True)
        (home / "configs" / "tiny.py").write_text(TINY)
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "4 of 4 runs done" in done.stdout
        lines = [line for line in done.stdout.splitlines() if "(_attempt pid=" not in line]
        said.append(lines[next(i for i, line in enumerate(lines) if "T1: A linear" in line) :])
    assert said[0] == said[1]
