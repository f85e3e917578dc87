"""The commands and cells that documents show, and how each is run by `test_documents.py`.

    python tests/experiments/documents.py

prints those that are not run, or not whole, and why.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "results/README.md")
PROGRAMS = ("configs/*.py", "experiments/*.py", "scripts/*.py", "cnnlab/**/*.py")

ONE_STEP = (
    "--config.data.name=digits --config.data.directory= --config.data.preprocess= "
    "--config.seeds=1 --config.rates=() --config.train.epochs=0 --config.train.steps=1 "
    "--config.train.batch_size=8 --config.schedule.warmup_epochs=0 --config.schedule.start=0 "
    "--config.schedule.warmup_steps=0 --config.schedule.warmup_rate=0 "
    "--config.optimizer.lookahead=0"
)

SMALL = "two claims of a step each stand for all"


class Rule(NamedTuple):
    """How the commands that match `pattern` are run, if not as they stand.

    Attributes:
        pattern: begins at the command's first letter.
        instead: what is run, with the pattern's groups; None where nothing can be.
        why: in a few words.
        slow: it takes more than a few seconds all the same.
    """

    pattern: str
    instead: str | None
    why: str
    slow: bool = False


RULES = (
    Rule(r"make (\S+)", r"make --dry-run \1", "what it runs stands here too"),
    Rule(r"bash \.ci/run", None, "it runs these tests"),
    Rule(r"\.venv/bin/pre-commit", None, "it writes into the checkout's .git"),
    Rule(r"pip install -c \S+ -e '\.\[cuda\]'", None, "gigabytes, for a GPU"),
    Rule(r"(python scripts/prepare_data\.py) .*", r"\1 --help", "it downloads"),
    Rule(r"tfds build imagenet2012", None, "its files are for those who registered"),
    Rule(r".*configs/imagenet_resnet50\.py", None, "its files are for those who registered"),
    Rule(r"(python experiments/reproduce\.py .*--executor ray) .*", r"\1", SMALL, slow=True),
    Rule(r"(python experiments/reproduce\.py .*)", r"\1", SMALL),
    Rule(r"(python experiments/(?:probe|look)\.py) \S+(.*)", r"\1 TRAINED\2", "a net of one step"),
    Rule(r"python scripts/benchmark\.py( --report-only| --quick)", r"\g<0>", "", slow=True),
    Rule(r"python scripts/benchmark\S*\.py", None, "minutes of an idle machine"),
    Rule(r"python scripts/predict_scaling\.py", r"\g<0>", "", slow=True),
    Rule(
        r".*make_torchvision_goldens|python -m venv", None, "gigabytes of PyTorch, and its weights"
    ),
    Rule(r"(.*--arm \S+ .*|.*stacked_convs\.py:digits)", rf"\1 {ONE_STEP}", "one step of digits"),
    Rule(r"(.* --config .*)", rf"\1 {ONE_STEP}", "one step of digits", slow=True),
)


class Command(NamedTuple):
    """A command of a document, e.g. `README.md:12`."""

    where: str
    words: str

    @property
    def rule(self) -> Rule | None:
        """The first that matches; None where the command runs as it stands."""
        return next((rule for rule in RULES if re.match(rule.pattern, self.words)), None)

    @property
    def fast(self) -> bool:
        """Whether it runs in seconds, in a checkout of the whole project."""
        return self.rule is None or not (self.rule.slow or self.rule.why == SMALL)

    @property
    def run(self) -> list[str] | None:
        """The words of what is run; None where nothing is."""
        if self.rule is None:
            return shlex.split(self.words)
        if self.rule.instead is None:
            return None
        return shlex.split(re.sub(self.rule.pattern, self.rule.instead, self.words))


def commands() -> list[Command]:
    """Every command there is, once, at the first place that shows it."""
    found: dict[str, Command] = {}
    for path, text in _texts():
        for line, words in _shell_lines(text, fenced=path.suffix == ".md"):
            where = f"{path.relative_to(PROJECT)}:{line}"
            found.setdefault(words, Command(where, words))
    return list(found.values())


def cells(document: str) -> str:
    """The Python blocks of a document, one after another, as a reader would run them."""
    text = (PROJECT / document).read_text()
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))


def _texts() -> Iterator[tuple[Path, str]]:
    for pattern in DOCUMENTS:
        yield from ((path, path.read_text()) for path in sorted(PROJECT.glob(pattern)))
    for pattern in PROGRAMS:
        for path in sorted(PROJECT.glob(pattern)):
            yield path, ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""


def _shell_lines(text: str, fenced: bool) -> Iterator[tuple[int, str]]:
    """Numbers and commands of the lines in `sh` blocks, or of a docstring's indented lines."""
    inside = not fenced
    for number, line in enumerate(text.splitlines(), 1):
        if fenced and line.startswith("```"):
            inside = line == "```sh"
        elif inside and (fenced or re.match(r"    (python|cnnlab|make) ", line)):
            words = re.sub(r"(^|\s+)#.*", "", line).strip()
            if words:
                yield number, re.sub(r"\s+", " ", words)


if __name__ == "__main__":
    for command in commands():
        if command.rule:
            run = " ".join(command.run) if command.run else "not run"
            print(f"{command.where}  {command.words}\n    {run}: {command.rule.why}")
