import re
from dataclasses import replace
from typing import Any

import pytest
from ml_collections import ConfigDict

from cnnlab.evidence.claim import Claim, Comparison, PaperFigure

CONFIG: dict[str, Any] = {
    "id": "E1",
    "statement": "Three 3x3 beat one 7x7",
    "source": "N0",
    "comparisons": (
        {
            "treatment": "three_3x3",
            "baseline": "one_7x7",
            "expect": "better",
            "question": "Does the stack win?",
            "paper": {"value": "7 points", "source": "VGG"},
        },
        {
            "treatment": "linear",
            "baseline": "one_7x7",
            "expect": "equivalent",
            "question": "Without ReLU?",
            "margin": 0.5,
        },
    ),
}
EXPECTED = Claim(
    id="E1",
    statement="Three 3x3 beat one 7x7",
    source="N0",
    metric="test_error",
    comparisons=(
        Comparison(
            "three_3x3",
            "one_7x7",
            "better",
            "Does the stack win?",
            None,
            PaperFigure("7 points", "VGG", ""),
        ),
        Comparison("linear", "one_7x7", "equivalent", "Without ReLU?", 0.5, None),
    ),
)


def changed(position: int, **changes: object) -> dict[str, object]:
    comparisons = list(CONFIG["comparisons"])
    comparisons[position] = {**comparisons[position], **changes}
    return {**CONFIG, "comparisons": tuple(comparisons)}


def test_reads_a_dict_and_a_locked_config() -> None:
    assert Claim.from_config(CONFIG) == EXPECTED
    config = ConfigDict({"claim": CONFIG}).lock()
    assert Claim.from_config(config.claim) == EXPECTED


def test_reads_what_a_record_saved_as_json() -> None:
    assert Claim.from_config({**CONFIG, "comparisons": list(CONFIG["comparisons"])}) == EXPECTED


def test_metric_can_be_another() -> None:
    assert Claim.from_config({**CONFIG, "metric": "test_loss"}).metric == "test_loss"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**CONFIG, "statment": "x"}, "key of a Claim: 'statment'.*mean 'statement'"),
        ({k: v for k, v in CONFIG.items() if k != "source"}, "a Claim needs source"),
        ({**CONFIG, "comparisons": ()}, "'E1' has no comparison"),
        (
            changed(0, metric="test_loss"),
            "'E1' has metric='test_error', but its first comparison.* has 'test_loss'",
        ),
        (
            changed(0, expect="beter"),
            "expect: 'beter'.*better, worse, not worse, equivalent.*mean 'better'",
        ),
        (changed(0, baselin="x"), "key of a Comparison: 'baselin'.*mean 'baseline'"),
        (changed(0, paper={"valu": "7"}), "key of a PaperFigure: 'valu'.*mean 'value'"),
        (changed(0, paper={"value": "7"}), "a PaperFigure needs source"),
        (changed(0, baseline="three_3x3"), "'three_3x3' is compared with itself"),
        (changed(0, margin=0.5), "margin=0.5 with expect='better': only \"not worse\""),
        (changed(0, beyond=("linear",)), r"beyond = \('linear',\) must be two arms"),
        (changed(0, beyond=("linear", "linear")), "'linear' is compared with itself"),
        # Not a difference of two independent differences: the spread of one arm counts twice.
        (changed(0, beyond=("one_7x7", "linear")), "'one_7x7' is compared with itself"),
        (changed(0, baseline=7, beyond=("linear", "one_7x7")), "baseline=7 is a number and has no"),
        (changed(0, baseline=float("nan")), "baseline=nan is neither an arm nor a finite number"),
        (changed(1, margin=None), "needs a positive margin, got None"),
        (changed(0, expect="not worse"), "expect='not worse' needs a positive margin, got None"),
        (changed(1, margin=-0.5), "needs a positive margin, got -0.5"),
        (changed(1, margin=float("nan")), "needs a positive margin, got nan"),
    ],
)
def test_mistakes_are_named(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Claim.from_config(config)


def test_arms_must_exist() -> None:
    EXPECTED.check_arms(["one_7x7", "three_3x3", "linear", "another"])
    message = "arm in claim 'E1': 'three_3x3'; choices: one_7x7, three_3x3s, linear; did you mean"
    with pytest.raises(ValueError, match=re.escape(f"{message} 'three_3x3s'?")):
        EXPECTED.check_arms(["one_7x7", "three_3x3s", "linear"])


def test_an_interaction_and_a_number() -> None:
    beyond = Claim.from_config(changed(0, beyond=["linear", "narrow"])).comparisons[0]
    assert beyond.beyond == ("linear", "narrow")
    assert beyond.arms == ("three_3x3", "one_7x7", "linear", "narrow")
    assert (beyond.weights, beyond.constant) == ((1, -1, -1, 1), 0)
    assert beyond.difference == "(three_3x3 - one_7x7) - (linear - narrow)"
    assert beyond.expectation == "three_3x3 better than one_7x7, beyond linear against narrow"
    number = Claim.from_config(changed(1, baseline=6.5)).comparisons[1]
    assert (number.arms, number.weights, number.constant) == (("linear",), (1,), 6.5)
    assert number.difference == "linear - 6.5"
    assert number.expectation == "linear equivalent to 6.5"
    no_loss = Claim.from_config(changed(1, expect="not worse")).comparisons[1]
    assert no_loss.expectation == "linear not worse than one_7x7"
    plain = EXPECTED.comparisons[0]
    assert (plain.arms, plain.weights) == (("three_3x3", "one_7x7"), (1, -1))


def test_arms_and_metrics_in_the_order_of_the_comparisons() -> None:
    claim = Claim.from_config(changed(1, beyond=("narrow", "three_3x3"), metric="test_loss"))
    assert claim.arms == ("three_3x3", "one_7x7", "linear", "narrow")
    assert claim.metrics == ("test_error", "test_loss")
    assert list(map(claim.metric_of, claim.comparisons)) == ["test_error", "test_loss"]
    with pytest.raises(ValueError, match="'narrow'"):
        claim.check_arms(["three_3x3", "one_7x7", "linear"])


def test_claims_are_sorted_by_letters_and_number():
    ids = ("S1", "E10", "mine", "E9", "E2")
    places = {name: replace(EXPECTED, id=name).place for name in ids}
    assert sorted(ids, key=places.get) == ["E2", "E9", "E10", "S1", "mine"]
