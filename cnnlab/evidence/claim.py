"""A claim: a sentence from the notes, and the comparisons between arms that test it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Self, get_args

from cnnlab.errors import unknown

Expectation = Literal["better", "worse", "not worse", "equivalent"]


@dataclass(frozen=True)
class PaperFigure:
    """A figure that a paper reports, printed beside ours and never mixed with it.

    Attributes:
        value: the figure with its unit, as a reader should see it, e.g. ``"7.0 points"``.
        source: the paper and the place in it, e.g. ``"Simonyan & Zisserman 2014, sec. 2.3"``.
        note: what differs from ours, e.g. ``"ImageNet top-1, pairs of 3x3 against one 5x5"``.
    """

    value: str
    source: str
    note: str = ""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Reads a figure from a dict (or Recipe) with the attributes' names as keys.

        Raises:
            ValueError: a key is unknown or missing.
        """
        return cls(**_keywords(cls, config))


@dataclass(frozen=True)
class Comparison:
    """One question put to some arms. Every metric here is an error or a loss: lower is better.

    Judged is the difference treatment - baseline; with ``beyond`` a difference of differences,
    (treatment - baseline) - (beyond[0] - beyond[1]).

    Attributes:
        treatment: name of the arm the claim speaks of.
        baseline: name of the arm it is held against, or a number in the metric's unit.
        expect: what the claim says of the treatment: "better", "worse", "not worse" or
            "equivalent".
        question: the comparison in words.
        margin: for "not worse" and "equivalent" alone, the largest difference that counts as none,
            in the metric's unit (points for errors in percent).
        paper: what a paper reports for the same question.
        beyond: names of two arms, whose difference the first one is held against.
        metric: what is compared, if it is not the claim's metric.

    Raises:
        ValueError: ``expect`` is unknown, an arm is compared with itself, or a margin is missing,
            not positive, or given where nothing would read it; ``beyond`` is not two names, or
            goes with a number.
    """

    treatment: str
    baseline: str | float
    expect: Expectation
    question: str
    margin: float | None = None
    paper: PaperFigure | None = None
    beyond: tuple[str, str] | None = None
    metric: str = ""

    def __post_init__(self) -> None:
        choices = get_args(Expectation)
        if self.expect not in choices:
            raise ValueError(unknown("expect", self.expect, choices))
        self._check_arms()
        if self.expect in ("better", "worse"):
            if self.margin is not None:
                raise ValueError(
                    f"margin={self.margin} with expect={self.expect!r}: "
                    'only "not worse" and "equivalent" are judged against a margin'
                )
        elif self.margin is None or not (math.isfinite(self.margin) and self.margin > 0):
            raise ValueError(
                f"expect={self.expect!r} needs a positive margin, got {self.margin}: the largest "
                "difference that counts as none"
            )

    def _check_arms(self) -> None:
        if self.beyond is not None:
            if len(self.beyond) != 2:
                raise ValueError(
                    f"beyond = {self.beyond} must be two arms, as treatment and baseline"
                )
            if not isinstance(self.baseline, str):
                raise ValueError(f"baseline={self.baseline} is a number and has no beyond")
        elif not isinstance(self.baseline, str) and not math.isfinite(self.baseline):
            raise ValueError(f"baseline={self.baseline} is neither an arm nor a finite number")
        for arm in self.arms:
            if self.arms.count(arm) > 1:
                raise ValueError(f"arm {arm!r} is compared with itself: {self.question!r}")

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms compared: the treatment, the baseline if it is an arm, and those of `beyond`."""
        baseline = (self.baseline,) if isinstance(self.baseline, str) else ()
        return self.treatment, *baseline, *(self.beyond or ())

    @property
    def weights(self) -> tuple[int, ...]:
        """What each of `arms` counts in the difference."""
        return (1, -1, -1, 1)[: len(self.arms)]

    @property
    def constant(self) -> float:
        """The number that the treatment is held against; 0 where that is an arm."""
        return 0.0 if isinstance(self.baseline, str) else float(self.baseline)

    @property
    def origin(self) -> str:
        """Words for the number that a difference is from; none for an arm or for 0."""
        return f" from {self.constant:g}" if self.constant else ""

    @property
    def expectation(self) -> str:
        """What the claim expects, in words: ``deep worse than shallow``."""
        link = "to" if self.expect == "equivalent" else "than"
        words = f"{self.treatment} {self.expect} {link} {self.baseline}"
        return f"{words}, beyond {' against '.join(self.beyond)}" if self.beyond else words

    @property
    def difference(self) -> str:
        """What is judged, e.g. ``(plain56 - plain8) - (resnet56 - resnet8)``."""
        first = f"{self.treatment} - {self.baseline}"
        return f"({first}) - ({' - '.join(self.beyond)})" if self.beyond else first

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Reads a comparison from a dict (or Recipe) with the attributes' names as keys.

        Raises:
            ValueError: a key is unknown or missing, or a value is not allowed.
        """
        keywords = _keywords(cls, config)
        if keywords.get("paper") is not None:
            keywords["paper"] = PaperFigure.from_config(keywords["paper"])
        if keywords.get("beyond") is not None:
            keywords["beyond"] = tuple(keywords["beyond"])
        return cls(**keywords)


@dataclass(frozen=True)
class Claim:
    """A statement, where it is made, and how it is put to the test.

    Attributes:
        id: short name, e.g. ``"E1"``.
        statement: the claim in one sentence.
        source: where it is made, e.g. ``"N0, Layer patterns"``.
        metric: the key of a record's metrics that decides, and that all compare which name no
            other; lower is better.
        comparisons: the first gives the claim its verdict; the others separate the causes.
        caveats: what a reader must know to weigh the result, in Markdown.

    Raises:
        ValueError: there is no comparison, or the first has another metric.
    """

    id: str
    statement: str
    source: str
    comparisons: tuple[Comparison, ...]
    metric: str = "test_error"
    caveats: str = ""

    def __post_init__(self) -> None:
        if not self.comparisons:
            raise ValueError(f"claim {self.id!r} has no comparison: nothing would be judged")
        if (first := self.metric_of(self.comparisons[0])) != self.metric:
            raise ValueError(
                f"claim {self.id!r} has metric={self.metric!r}, but its first comparison, which "
                f"gives its verdict, has {first!r}"
            )

    @property
    def place(self) -> tuple[str, int]:
        """What claims are sorted by: the letters of the id, then its number, 0 if it has none."""
        letters = self.id.rstrip("0123456789")
        return letters, int(self.id[len(letters) :] or 0)

    @property
    def title(self) -> str:
        """Id and statement, without a full stop: what stands over tables and figures."""
        return f"{self.id}: {self.statement.rstrip('.')}"

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms compared, in the order in which the comparisons first name them."""
        return tuple(dict.fromkeys(arm for each in self.comparisons for arm in each.arms))

    def metric_of(self, comparison: Comparison) -> str:
        """What a comparison compares."""
        return comparison.metric or self.metric

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that is compared, the claim's own metric first, and the test error in any case."""
        compared = map(self.metric_of, self.comparisons)
        return tuple(dict.fromkeys([self.metric, *compared, "test_error"]))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Reads a claim from ``config.claim``. The comparisons are a tuple, for their order counts.

        ::

            config.claim = dict(
                id="E1",
                statement="Three stacked 3x3 convolutions beat one 7x7.",
                source="N0, Layer patterns",
                metric="test_error",
                comparisons=(
                    dict(
                        treatment="three_3x3",
                        baseline="one_7x7",
                        expect="better",
                        question="Does the stack beat the large filter?",
                        paper=dict(value="7 points", source="Simonyan & Zisserman 2014, sec. 4.1"),
                    ),
                    dict(
                        treatment="three_3x3_linear",
                        baseline="one_7x7",
                        expect="equivalent",
                        margin=0.5,
                        question="Does it without the non-linearities between?",
                    ),
                ),
            )

        Args:
            config: a dict or Recipe with the attributes' names as keys.

        Raises:
            ValueError: a key is unknown or missing, or a value is not allowed.
        """
        keywords = _keywords(cls, config)
        keywords["comparisons"] = tuple(map(Comparison.from_config, keywords["comparisons"]))
        return cls(**keywords)

    def check_arms(self, arm_names: Iterable[str]) -> None:
        """Makes sure that every arm compared is one of the ablation's.

        Raises:
            ValueError: an arm is unknown; names it, the arms there are and the nearest of them.
        """
        choices = tuple(arm_names)
        for arm in self.arms:
            if arm not in choices:
                raise ValueError(unknown(f"arm in claim {self.id!r}", arm, choices))


def _keywords(kind: type, config: Mapping[str, Any]) -> dict[str, Any]:
    allowed = {field.name: field.default is MISSING for field in fields(kind)}
    given = dict(config.items())
    for key in given:
        if key not in allowed:
            raise ValueError(unknown(f"key of a {kind.__name__}", key, tuple(allowed)))
    missing = [key for key, required in allowed.items() if required and key not in given]
    if missing:
        raise ValueError(f"a {kind.__name__} needs {', '.join(missing)}; got {given}")
    return given
