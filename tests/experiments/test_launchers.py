import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnlab.evidence.ablation import load_ablation
from cnnlab.evidence.published import BEGIN, END
from cnnlab.evidence.records import read_records
from cnnlab.evidence.verdict import judge_claim

PROJECT = Path(__file__).parents[2]
ABLATE, TRAIN, REPORT = (
    str(PROJECT / "experiments" / f"{name}.py") for name in ("ablate", "train", "report")
)
DIGITS = f"--config={PROJECT}/configs/stacked_convs.py:digits"

# Two nets of a few weights on the digits at 8x8: seconds from the config to the verdict.
TINY = """
from cnnlab.evidence import blank_config

CLAIM = dict(
    id="T1",
    statement="A linear classifier beats four filters.",
    source="a test",
    comparisons=(
        dict(treatment="linear", baseline="conv", expect="better", question="Is linear enough?"),
    ),
)


def get_config(preset="digits"):
    config = blank_config("tiny", preset, CLAIM)
    config.arms = dict(
        linear=dict(model=dict(name="INPUT -> AVGPOOL4 -> FC")),
        conv=dict(model=dict(name="INPUT -> AVGPOOL4 -> CONV3-4 -> RELU -> GAP -> FC")),
    )
    config.seeds = 2
    config.train.update(batch_size=64, eval_batch_size=180, steps=40)
    config.augment.update(crop_padding=0, flip=False)
    return config.lock()
"""

# What is asked for: words of the command line, then what the answer must say.
MISTAKES: dict[str, tuple[list[str], str]] = {
    "section": (
        [ABLATE, DIGITS, "--config.trian.epochs=3"],
        r"^error: --config\.trian\.epochs=3: .* no key 'trian'\. Did you mean 'train'\?$",
    ),
    "others on other hosts": (
        [TRAIN, DIGITS, "--distributed"],
        r"^error: --distributed: coordinator_address .* set JAX_COORDINATOR_ADDRESS .*_ID\.$",
    ),
    "key": (
        [ABLATE, DIGITS, "--config.train.epoch=3"],
        r"^error: --config\.train\.epoch=3: .* no key 'epoch'\. Did you mean 'epochs'\?$",
    ),
    "arm's key": (
        [ABLATE, DIGITS, "--config.arms.one_7x7.modle.name=resnet20"],
        r"no key 'modle'\. Did you mean 'model'\?$",
    ),
    "key of a number": (
        [ABLATE, DIGITS, "--config.train.epochs.x=3"],
        r"^error: --config\.train\.epochs\.x=3: the config has no key 'x'\.$",
    ),
    "value": ([ABLATE, DIGITS, "--config.train.epochs=three"], r"train\.epochs=three.*'three'"),
    "seeds": ([ABLATE, DIGITS, "--config.seeds=0"], "seeds = 0 must be from 1 to 1000"),
    "stray words": (
        [TRAIN, DIGITS, "--arm", "three_3x3", "seed", "1"],
        r"^error: words that belong to no flag: seed 1$",
    ),
    "flag": ([ABLATE, DIGITS, "--worksdir=x"], "'worksdir'. Did you mean: workdir"),
    "preset": (
        [ABLATE, f"{DIGITS[:-1]}"],
        r"^error: unknown preset: 'digit'; choices: digits, cpu, paper; did you mean 'digits'\?$",
    ),
    "config": ([ABLATE, "--config=configs/stacked.py"], r"No such file.*'configs/stacked\.py'$"),
    "no config": ([ABLATE], "--config must have a value"),
    "arm": (
        [TRAIN, DIGITS, "--arm=three3x3"],
        r"unknown arm: 'three3x3'; choices: three_3x3, .*; did you mean 'three_3x3'\?$",
    ),
    "page's address": (
        [TRAIN, DIGITS, "--serve=here"],
        r"^error: 'here' is no address: PORT or HOST:PORT, e\.g\. 8000 \(at most 65535\)$",
    ),
    "model": (
        [ABLATE, DIGITS, "--config.arms.three_3x3.model.name=resnt110"],
        r"unknown model .*'resnt110'; .*did you mean 'resnet110'\?",
    ),
    "pattern": (
        [ABLATE, DIGITS, "--config.arms.three_3x3.model.name=INPUT -> CONV3-8 -> RLU -> FC"],
        r"column 21: found 'R'(.|\n)*nearest to 'RLU': RELU\n.*RLU -> FC\n {22}\^$",
    ),
    "two lengths": (
        [TRAIN, DIGITS, "--config.train.steps=3"],
        r"one unit, not two: train\.epochs = 8 and train\.steps = 3",
    ),
    "data's name": (
        [TRAIN, DIGITS, "--config.data.name=cifra10"],
        r"unknown data\.name: 'cifra10'; choices: cifar10, .*; did you mean 'cifar10'\?$",
    ),
    "data": (
        [
            ABLATE,
            DIGITS,
            "--config.data.name=cifar10",
            "--config.data.directory=/nonexistent-dir",
        ],
        r"/nonexistent-dir/cifar10.*python scripts/prepare_data\.py cifar10 "
        r"--directory /nonexistent-dir$",
    ),
    "published from nowhere": (
        [ABLATE, DIGITS, "--publish"],
        r"^error: no configs/stacked_convs\.py, to make the published results again from$",
    ),
    "no README": ([REPORT], r"^error: .*No such file.*'README\.md'$"),
}


def asked(commands: list[list[str]], folder: Path) -> list[dict[str, Any]]:
    """The command lines' answers, run one after another in `folder`."""
    driver = Path(__file__).with_name("command_lines.py")
    done = subprocess.run(
        [sys.executable, driver, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_a_mistake_is_told_in_words_before_anything_is_loaded(tmp_path: Path) -> None:
    answers = asked([words for words, _ in MISTAKES.values()], tmp_path)
    for (name, (_, expected)), answer in zip(MISTAKES.items(), answers, strict=True):
        said = answer["said"].strip()
        assert re.search(expected, said, re.M), f"{name}: {said}"
        assert (name, answer["status"], answer["loaded"]) == (name, 2, [])
        assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def shown(said: str) -> str:
    """What is printed from the claim to the verdict."""
    return said[said.index("T1: A linear") : said.index("Report and figure:")]


def check_records(folder: Path, said: str) -> None:
    ablation = load_ablation(folder / "configs" / "tiny.py", "digits")
    _, records = read_records(folder / "results" / "tiny" / "digits.jsonl", ablation)
    runs = [(arm, seed, 40) for arm in ("conv", "linear") for seed in (0, 1)]
    assert [(r.arm, r.seed, r.steps) for r in records] == runs
    weights = {r.arm: r.network["weights"] for r in records}
    assert weights == {"linear": 8 * 8 * 10 + 10, "conv": 3 * 3 * 4 + 4 + 4 * 10 + 10}
    (verdict,) = judge_claim(ablation.claim, records)
    assert f"{verdict.outcome.upper()}: linear against conv (n = 2)" in said


def test_from_a_config_to_a_published_verdict(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.py").write_text(TINY)
    (tmp_path / "README.md").write_text(f"{BEGIN}\n{END}\n")
    config = "--config=configs/tiny.py"
    overridden, refused, first, again, one, report, same = asked(
        [
            [ABLATE, config, "--publish", "--config.train.steps=3"],
            [ABLATE, config, "--workdir=README.md"],
            [ABLATE, config],
            [ABLATE, config, "--publish"],
            [TRAIN, config, "--arm=conv", "--seed=1"],
            [REPORT],
            [REPORT],
        ],
        tmp_path,
    )
    assert overridden["status"] == 2
    words = r"error: what is published .* configs/tiny\.py, .*: arms\.conv\.train\.steps = 3, not 4"
    assert re.match(words, overridden["said"]), overridden["said"]

    assert refused["status"] == 2
    assert re.match(r"error: cannot write to README\.md/tiny/digits/\w+/seed0-", refused["said"])
    assert "step" not in refused["said"], "it trained before it looked where to write"

    assert first["status"] == 0, first["said"]
    for run in ("linear seed 0", "conv seed 0", "linear seed 1", "conv seed 1"):
        assert f"{run}  step 40/40" in first["said"]
    kept = {path.name for path in (tmp_path / "runs" / "tiny").iterdir()}
    assert kept >= {"digits.md", "digits.png", "digits.csv", "digits.tex"}

    assert again["status"] == 0, again["said"]
    assert "step" not in again["said"], "it trained again what was finished"
    assert shown(again["said"]) == shown(first["said"])
    assert "results/tiny/digits.md" in again["said"]
    check_records(tmp_path, first["said"])

    where, title, metrics = one["said"].split("\n", 2)
    assert where.startswith("runs/tiny/digits/conv/seed1-")
    record = json.loads((tmp_path / where / "record.json").read_text())
    assert json.loads(metrics) == record["metrics"]
    assert title == record["dataset"]["title"]

    for answer in (report, same):
        said = "results/tiny/digits.md\nresults/README.md\n"
        assert answer == {"status": 0, "said": said, "loaded": []}
    assert "| T1: A linear classifier beats four fil" in (tmp_path / "README.md").read_text()
    assert "](tiny/digits.png)" in (tmp_path / "results" / "README.md").read_text()


@pytest.mark.slow
def test_what_diverges_is_published_as_guessing_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs" / "tiny.py"
    huge = "conv=dict(optimizer=dict(learning_rate=1e38), "
    config = TINY.replace("conv=dict(", huge)
    path.write_text(config)
    (failed,) = asked([[ABLATE, "--config=configs/tiny.py", "--publish"]], tmp_path)
    assert failed["status"] == 1
    assert failed["said"].count("the loss is not finite since step") == 2
    assert not (tmp_path / "results").exists(), "two runs would be missed by nobody"

    path.write_text(config.replace("steps=40", "steps=40, on_divergence='chance'"))
    (guessed,) = asked([[ABLATE, "--config=configs/tiny.py", "--publish"]], tmp_path)
    assert guessed["status"] == 0, guessed["said"]
    page = (tmp_path / "results" / "tiny" / "digits.md").read_text()
    assert "Runs that diverged, and count as guessing: conv 0-1." in page
    assert re.search(r"\| conv +\| +90\.00 \| +2 \|", page), page
