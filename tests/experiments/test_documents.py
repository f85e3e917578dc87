"""Every command and every cell that a document shows is run, as a reader would run it."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import pytest
from documents import ONE_STEP, PROJECT, SMALL, Command, cells, commands
from test_launchers import TINY, asked

COMMANDS = commands()
RUN = [command for command in COMMANDS if command.run]
TRAINED = f"experiments/train.py --config configs/lesions.py:digits --arm residual {ONE_STEP}"


def copied(files: Sequence[str], folder: Path) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, folder / name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project's files in a folder of their own, where commands may write."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True)
    copied([name for name in files.stdout.split() if (PROJECT / name).is_file()], tmp_path)
    return tmp_path


@pytest.fixture
def small(checkout: Path) -> Path:
    """A checkout in which two claims of a step each stand for all."""
    for folder in ("configs", "results"):
        shutil.rmtree(checkout / folder)
    (checkout / "configs").mkdir()
    for place in "12":
        claim = TINY.replace("T1", f"E{place}").replace('"tiny"', f'"tiny{place}"')
        (checkout / "configs" / f"tiny{place}.py").write_text(claim.replace("steps=40", "steps=1"))
    return checkout


def check(commands: Sequence[Command], folder: Path) -> None:
    """Run the commands in `folder`, and show what the failing ones said."""
    words = [[word for word in command.run or () if word != "python"] for command in commands]
    if any("TRAINED" in each for each in words):
        asked([TRAINED.split()], folder)
        (trained,) = (folder / "runs/lesions/digits/residual").iterdir()
        words = [[word.replace("TRAINED", str(trained)) for word in each] for each in words]
    for command, answer in zip(commands, asked(words, folder), strict=True):
        assert answer["status"] == 0, f"{command.where}: {command.words}\n{answer['said']}"


def test_the_commands_run(checkout: Path) -> None:
    check([each for each in RUN if each.fast and not each.words.startswith("make")], checkout)


@pytest.mark.parametrize("command", [each for each in RUN if each.words.startswith("make")])
def test_the_targets_are_there(command: Command) -> None:
    subprocess.run(command.run or (), cwd=PROJECT, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [each for each in RUN if not each.fast], ids=lambda command: command.where
)
def test_a_command_runs(command: Command, request: pytest.FixtureRequest) -> None:
    of_all = command.rule and command.rule.why == SMALL
    check([command], request.getfixturevalue("small" if of_all else "checkout"))


@pytest.mark.parametrize("command", [each for each in COMMANDS if not each.run], ids=str)
def test_not_run(command: Command) -> None:
    """So that the closing lines of a test run list these."""
    assert command.rule
    pytest.skip(f"{command.words} ({command.where}) is not run: {command.rule.why}")


def test_few_are_not_run() -> None:
    assert len([each for each in COMMANDS if not each.run]) < 14


@pytest.mark.parametrize("document", ["README.md"])
def test_the_cells_run(document: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", cells(document)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"pooling.html", "saliency.png"}


def test_the_notebook_of_ones_own_claim_holds_a_config(tmp_path: Path) -> None:
    notebook = jupytext.read(PROJECT / "notebooks" / "your_claim.py")
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "width.py").write_text(first)
    words = f"experiments/ablate.py --config configs/width.py {ONE_STEP}".split()
    (answer,) = asked([[str(PROJECT / words[0]), *words[1:]]], tmp_path)
    assert answer["status"] == 0, answer["said"]
