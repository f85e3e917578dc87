"""A config file that fails is told by its own file and line, whoever runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cnnlab.config_file import NoPreset, blamed, described
from cnnlab.errors import Mistake
from cnnlab.evidence.ablation import load_ablation
from cnnlab.files import BadFile

CONFIG = """from cnnlab.evidence import blank_config
from cnnlab.training import RecipeError

CLAIM = dict(id="T1", statement="A.", source="t", comparisons=(
    dict(treatment="a", baseline="b", expect="better", question="?"),))

def get_config(preset="digits"):
    config = blank_config("tiny", preset, CLAIM)
    config.arms = dict(a=dict(model=dict(name="INPUT -> FC")), b={})
    config.model.name, config.train.steps = "INPUT -> FC", 5
    HERE
    return config
"""
LINE = 11
# What stands there, and what is said.
IN_ITS_LINE = {
    "1 / 0": "ZeroDivisionError: division by zero",
    "nonesuch": "NameError: name 'nonesuch' is not defined",
    "import nonesuch": "ModuleNotFoundError: No module named 'nonesuch'",
    "open('/nonesuch')": "FileNotFoundError: [Errno 2] No such file or directory: '/nonesuch'",
    "raise OSError(5, 'x')": "OSError: [Errno 5] x",
    "raise RuntimeError('one\\ntwo')": "RuntimeError: one",
    "raise KeyError('a')": "KeyError: 'a'",
    "raise AttributeError('a')": "AttributeError: a",
    "raise ValueError": "ValueError",
    "config.seeds = 'x'": "TypeError: Could not override field 'seeds'",
    "config.arms['a.b'] = {}": "ValueError: ConfigDict does not accept dots",
}
AS_A_WHOLE = {
    "return None": "a config must be a ConfigDict, not a NoneType",
    "return {}": "a config must be a ConfigDict, not a dict",
    "config.seeds = None": "config: seeds must be integer, not None",
    "config.rates = ('x',)": "config: rates[0] must be number, not 'x'",
    "config.order = (5,)": "config: order[0] must be string, not 5",
    "config.arms.a = None": "config: arms.a must be object, not None",
    "config.arms.a.train = 5": "config: arms.a.train must be object, not 5",
    "config.arms.a.train = dict(steps=None)": "arm 'a': train.steps = None must be a whole number",
    "config.trian = 5": "config: unknown key: 'trian'; choices: ",
    "config.train.stps = 5": "config: unknown key in train: 'stps'; choices: ",
    "del config.claim": "config: lacks 'claim'",
    "config.claim.comparisons = (5,)": "config: claim.comparisons[0] must be object, not 5",
    "config.claim.comparisons[0]['treatment'] = 5": "config: claim.comparisons[0].treatment must",
    "config.claim.comparisons[0]['margin'] = 'x'": "config: claim.comparisons[0].margin must",
    "config.claim.comparisons = ()": "claim: claim 'T1' has no comparison",
    "config.name = '../../..'": "'../../..' cannot be the name of a folder: it has /",
    "config.name = '/tmp/x'": "'/tmp/x' cannot be the name of a folder: it has /",
    "config.name = 'a\\0b'": "'a\\x00b' cannot be the name of a folder: it has a character",
    "config.preset = '..'": "'..' cannot be the name of a folder",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.py"


@pytest.mark.parametrize(("line", "said"), IN_ITS_LINE.items())
def test_an_error_of_a_line_is_told_with_it(line: str, said: str, path: Path) -> None:
    path.write_text(CONFIG.replace("HERE", line))
    with pytest.raises(BadFile) as caught:
        load_ablation(path, "digits")
    assert str(caught.value).startswith(f"{path}, line {LINE}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("line", "said"), AS_A_WHOLE.items())
def test_what_does_not_hold_together_is_told_of_the_file(line: str, said: str, path: Path) -> None:
    path.write_text(CONFIG.replace("HERE", line))
    with pytest.raises(BadFile) as caught:
        load_ablation(path, "digits")
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def get_config(:", ", line 1: SyntaxError: invalid syntax"),
        (b"\n\nx = '", ", line 3: SyntaxError: unterminated string literal"),
        (b"\n'\xe9'", ", line 2: SyntaxError: (unicode error)"),
        (b"\0", ": SyntaxError: source code string cannot contain null bytes"),
        (b"", " has no function get_config(preset)"),
        (b"get_config = 5", ": TypeError: 'int' object is not callable"),
        (b"def get_config(): pass", ": TypeError: get_config() takes 0 positional arguments"),
    ],
)
def test_what_is_no_config_is_told(content: bytes, said: str, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        described(path, "digits")
    assert str(caught.value).startswith(f"{path}{said}")


def test_a_mistake_and_an_unknown_preset_keep_their_words(path: Path) -> None:
    path.write_text(CONFIG.replace("HERE", "raise RecipeError('train.steps = 0')"))
    with pytest.raises(Mistake, match=r"^train\.steps = 0$"):
        described(path, "digits")
    path.write_text(CONFIG.replace("HERE", "raise ValueError(f'unknown preset: {preset!r}')"))
    with pytest.raises(NoPreset, match=r"^unknown preset: 'x'$"):
        described(path, "x")
    with pytest.raises(FileNotFoundError, match="gone"):
        described(path.with_name("gone.py"), "digits")


def test_an_error_that_did_not_arise_there_is_not_blamed_on_it(path: Path) -> None:
    assert blamed(KeyError("a"), str(path)) is None


def test_it_runs(path: Path) -> None:
    path.write_text(CONFIG.replace("HERE", ""))
    assert list(load_ablation(path, "digits").arms) == ["a", "b"]


DRIVER = Path(__file__).parent / "experiments" / "command_lines.py"
ABLATE = Path(__file__).parents[1] / "experiments" / "ablate.py"


def test_a_launcher_says_the_same_without_a_traceback(tmp_path: Path) -> None:
    lines = ("1 / 0", "raise KeyError('a')", "raise AttributeError('a')")
    cases = [(line, IN_ITS_LINE[line]) for line in lines]
    cases.append(("config.name = '../../x'", "'../../x' cannot"))
    commands = []
    for number, (line, _) in enumerate(cases):
        (tmp_path / f"c{number}.py").write_text(CONFIG.replace("HERE", line))
        commands.append([str(ABLATE), f"--config=c{number}.py"])
    (tmp_path / "s.py").write_text("def get_config(:")
    (tmp_path / "n.py").write_text("def get_config(): return 5")
    commands += [[str(ABLATE), "--config", "s.py:digits"], [str(ABLATE), "--config=n.py"]]
    before = sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, DRIVER, json.dumps(commands)],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    answers = json.loads(done.stdout)
    expected = [f"c{i}.py, line {LINE}: {said}" for i, (_, said) in enumerate(cases[:-1])]
    expected += [cases[-1][1], "s.py, line 1: SyntaxError", "get_config must give a ConfigDict"]
    for answer, said in zip(answers, expected, strict=True):
        assert answer["said"].startswith(f"error: {said}"), answer["said"]
        assert (answer["status"], answer["said"].count("\n")) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
