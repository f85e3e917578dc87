import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.caption import caption
from cnnlab.evidence.claim import Claim, Comparison
from cnnlab.evidence.report import print_report, report_latex, report_markdown
from cnnlab.evidence.tables import arms_table, comparisons_table, readable_arms
from cnnlab.evidence.verdict import judge_claim
from cnnlab.training import Recipe
from cnnlab.training.record import Record

# By hand: 28 ± 0.878 is 2.776445 * sqrt(0.5 / 5); 25 ± 2.484 is 4.302653 * sqrt(1 / 3). Their
# difference has error sqrt(0.1 + 1 / 3) on 3.2344 degrees, where t is 3.0558.
PAGE = """\
# E1: Three 3x3 beat one 7x7

Source of the claim: N0.

**Supported**: three_3x3 against one_7x7 (n = 3, 5): the difference in test error of \
-3.00 [-5.01, -0.99] points lies below 0 (Holm-adjusted p = 0.034).

| arm       |   test error % |   n |   weights |    MACs |   activation memory |   receptive field |
|:----------|---------------:|----:|----------:|--------:|--------------------:|------------------:|
| one_7x7   |   28.00 ± 0.88 |   5 |   118,090 | 19.30 M |           0.458 MiB |             64 px |
| three_3x3 |   25.00 ± 2.48 |   3 |    50,890 |  8.90 M |           1.335 MiB |             64 px |
| linear    |          27.50 |   1 |    50,890 |  8.90 M |           1.335 MiB |             64 px |
| narrow    |        not run |   0 |           |         |                     |                   |

| question | treatment - baseline | difference, points [95%] | p | n \
| verdict | paper | paper's source |
|:---|:---|---:|---:|---:|:---|:---|:---|
| Does the stack win? | three_3x3 - one_7x7 | -3.00 [-5.01, -0.99] | 0.034 | 3, 5 \
| supported | 7 points | Simonyan & Zisserman 2014; ImageNet top-1 |
| Without ReLU? (margin 0.50 points) | linear - one_7x7 | | | 1, 5 \
| undecided | | |

Data: CIFAR-10 (JPEG q75 copy), fingerprint 0a1b2c3d. Preset: cpu. Seeds: linear 0, \
one_7x7 0-4, three_3x3 0-2. The test error in \
percent is the mean over seeds ± half the 95% t interval (left out for a single run or runs that \
all agree); differences come with their 95% Welch interval, and p, by Holm for 2 comparisons, \
decides below 0.05, equivalence by two one-sided Welch tests (so by the 90% interval). What is \
undecided says with how many runs an arm it should be decided with 80% probability, if difference \
and spread are as seen and what has a smaller p is decided. \
Weights are all trainable parameters; a MAC is one multiply-add; MACs and \
activation memory (float32) are of one image, forward; the receptive field is of the last map, the \
whole of which an FC sees. Commit: 6f1c2a9b8d. Device: cpu. \
Convolutions: xla. JAX: \
0.10.2.
"""


def squeezed(text: str) -> str:
    """Tables pad their cells for looks; the words and numbers are what is fixed."""
    return re.sub(r"-{3,}", "---", re.sub(r" +", " ", text))


def ablation_of(claim: Claim, arms: Sequence[str], **more: object) -> Ablation:
    recipes = {arm: Recipe() for arm in arms}
    return Ablation("stacks", "cpu", claim, recipes, seeds=5, **more)  # type: ignore[arg-type]


def printed(width: int, *report: object) -> str:
    file = io.StringIO()
    print_report(Console(file=file, width=width), *report)  # type: ignore[arg-type]
    return file.getvalue()


def test_markdown_page_word_for_word(claim: Claim, arms: list[str], records: list[Record]) -> None:
    page = report_markdown(ablation_of(claim, arms), records, judge_claim(claim, records))
    assert squeezed(page) == squeezed(PAGE)


def test_order_of_records_changes_nothing(
    claim: Claim, arms: list[str], records: list[Record]
) -> None:
    verdicts = judge_claim(claim, records)
    for report in (report_markdown, report_latex):
        forwards = report(ablation_of(claim, arms), iter(records), verdicts)
        assert report(ablation_of(claim, arms), records[::-1], verdicts) == forwards
    backwards = arms_table(ablation_of(claim, arms), records[::-1]).to_csv()
    assert backwards == arms_table(ablation_of(claim, arms), records).to_csv()


def test_arms_csv_gives_the_numbers_back(
    claim: Claim, arms: list[str], records: list[Record]
) -> None:
    text = arms_table(ablation_of(claim, arms), records).to_csv(index=False)
    row = pd.read_csv(io.StringIO(text), index_col="arm").loc["one_7x7"]
    assert (row["n"], row["mean"], row["level"], row["metric"]) == (5, 28.0, 0.95, "test_error")
    half = 2.7764451051977987 * (0.5 / 5) ** 0.5
    assert (row["low"], row["high"]) == pytest.approx((28 - half, 28 + half), rel=1e-12)
    assert (row["weights"], row["macs"], row["receptive_field"]) == (118_090, 19_300_000, 64)
    assert row["activation_bytes"] == 4 * row["activations"] == 480_000
    assert "narrow,test_error,0,,,,,0.1,,,,," in text.splitlines()


def test_comparisons_csv_gives_the_numbers_back(claim: Claim, records: list[Record]) -> None:
    verdicts = judge_claim(claim, records)
    text = comparisons_table(verdicts).to_csv(index=False)
    stack, linear = pd.read_csv(io.StringIO(text)).to_dict("records")
    assert (stack["difference"], stack["n"], linear["n"]) == (-3.0, "3 5", "1 5")
    assert verdicts[0].difference is not None
    assert stack["low"] == verdicts[0].difference.low
    assert stack["high"] == verdicts[0].difference.high
    assert (stack["verdict"], stack["paper"]) == ("supported", "7 points")
    assert (linear["verdict"], linear["margin"], linear["expect"]) == (
        "undecided",
        0.5,
        "equivalent",
    )
    assert pd.isna(linear["difference"])


def test_no_paper_no_column(claim: Claim, arms: list[str], records: list[Record]) -> None:
    bare = replace(claim, comparisons=(replace(claim.comparisons[0], paper=None),))
    page = report_markdown(ablation_of(bare, arms), records, judge_claim(bare, records))
    assert "paper" not in page
    assert "equivalence" not in page
    lossless = replace(claim.comparisons[0], expect="not worse", margin=1.0)
    claim = replace(claim, comparisons=(lossless,))
    page = report_markdown(ablation_of(claim, arms), records, judge_claim(claim, records))
    assert "decides below 0.05, no loss by a two-sided Welch test of the margin." in page


def test_nothing_run_yet(claim: Claim, arms: list[str]) -> None:
    page = report_markdown(ablation_of(claim, arms), [], judge_claim(claim, []))
    assert len(re.findall(r"\| +not run \|", page)) == 6  # 4 arms, 2 comparisons
    verdict = "three_3x3 against one_7x7 (n = 0): three_3x3 and one_7x7 not run."
    assert f"**Undecided**: {verdict}" in page
    assert page.endswith("No runs yet.\n")
    headings = printed(80, ablation_of(claim, arms), [])
    assert re.search(r"weights +MACs +memory +field", headings), headings


def test_caption_says_where_records_differ(
    claim: Claim, arms: list[str], records_of: Callable[..., list[Record]]
) -> None:
    there = {"commit": None, "dirty": True, "device": "H100", "jax": "0.10.2"}
    digits = {"title": "digits", "fingerprint": "ff00"}
    other = records_of({"one_7x7": [1.0] * 8}, environment=there, dataset=digits)
    text = caption(
        ablation_of(claim, arms), [*records_of({"three_3x3": [2.0, 3.0]}), other[7], other[5]]
    )
    assert "CIFAR-10 (JPEG q75 copy), fingerprint 0a1b2c3d; digits, fingerprint ff00." in text
    assert "Seeds: one_7x7 5, 7, three_3x3 0-1." in text
    assert "Commit: 6f1c2a9b8d; unknown + uncommitted changes." in text
    assert "Device: H100; cpu." in text
    begun = {"commit": "1" * 40, "dirty": True}
    resumed = [replace(each, environment=each.environment | {"begun": begun}) for each in other]
    text = caption(ablation_of(claim, arms), resumed)
    changed = "uncommitted changes"
    assert f"Commit: 1111111111 + {changed}, then unknown + {changed}." in text


def test_runs_of_two_networks_are_not_one_arm(
    claim: Claim, records_of: Callable[..., list[Record]]
) -> None:
    first, second = records_of({"linear": [1.0, 2.0]})
    wider = replace(second, network={**second.network, "weights": 7})
    with pytest.raises(ValueError, match=r"arm 'linear' are not of one network.*'weights': 7"):
        arms_table(ablation_of(claim, ["linear"]), [first, wider])


def test_large_and_small_numbers_share_a_unit(
    claim: Claim, records_of: Callable[..., list[Record]]
) -> None:
    networks = {"small": (900, 5), "large": (41_000_000, 2_500_000)}
    records = [
        replace(
            *records_of({arm: [1.0]}),
            network={"weights": 1, "macs": macs, "activations": values, "receptive_field": 3},
        )
        for arm, (macs, values) in networks.items()
    ]
    page = squeezed(
        report_markdown(ablation_of(claim, list(networks)), records, judge_claim(claim, records))
    )
    assert "| small | 1.00 | 1 | 1 | 0.900 k | 0.020 KiB | 3 px |" in page
    assert "| large | 1.00 | 1 | 1 | 41,000.000 k | 9,765.625 KiB | 3 px |" in page


def test_another_metric_has_its_own_unit(
    claim: Claim, arms: list[str], records: list[Record]
) -> None:
    losses = replace(claim, metric="test_loss", comparisons=claim.comparisons[:1])
    page = squeezed(
        report_markdown(ablation_of(losses, arms), records, judge_claim(losses, records))
    )
    assert "| arm | test loss | test error % | n |" in page
    assert "| one_7x7 | 0.2800 ± 0.0088 | 28.00 ± 0.88 | 5 |" in page
    assert "| difference [95%] |" in page
    assert "percent" not in page
    assert "points [" not in page


def test_markdown_keeps_a_pipe_in_its_cell(
    claim: Claim, arms: list[str], records: list[Record]
) -> None:
    asked = replace(claim.comparisons[0], question="better | worse?")
    page = report_markdown(
        ablation_of(claim, arms),
        records,
        judge_claim(replace(claim, comparisons=(asked,)), records),
    )
    assert r"better \| worse?" in page


def test_latex_escapes_and_is_whole(records_of: Callable[..., list[Record]]) -> None:
    question = r"50% & $5 #1 {a}_b ~ ^ \x <1|2> ±"
    claim = Claim("E_1", "A & B", "N0", (Comparison("a_1", "b", "better", question),))
    records = records_of({"a_1": [1.0, 2.0], "b": [1.0, 4.0]})
    text = report_latex(ablation_of(claim, ["a_1", "b"]), records, judge_claim(claim, records))
    assert (
        r"50\% \& \$5 \#1 \{a\}\_b \textasciitilde{} \textasciicircum{} \textbackslash{}x "
        r"$<$1$|$2$>$ $\pm$ & a\_1 $-$ b &" in text
    )
    assert "$-$1.00 [$-$" in text
    assert text.isascii()
    for part in ("begin{table}", "end{table}", "begin{tabular}", "end{tabular}"):
        assert text.count(part) == 2
    assert (text.count(r"\toprule"), text.count(r"\bottomrule")) == (2, 2)
    assert r"\caption{E\_1: A \& B. Undecided. Data: " in text
    for body in re.findall(
        r"\\begin\{tabular\}\{([^\n]*)\}\n\\toprule\n(.*?)\\bottomrule", text, re.S
    ):
        columns = len(re.sub(r"p\{.*?\}", "p", body[0]))
        rows = [line for line in body[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}


@pytest.mark.parametrize("width", [80, 100])
def test_terminal_report_fits_and_says_all(
    claim: Claim, arms: list[str], records: list[Record], width: int
) -> None:
    text = printed(width, ablation_of(claim, arms), records)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for line in (
        r"one_7x7 +28\.00 ± 0\.88 +5 +118,090 +19\.30 M +0\.458 MiB +64 px",
        r"linear +27\.50 +1 ",
        r"narrow +not run +0 *$",
        r"-3\.00 \[-5\.01, -0\.99\] +0\.034 +3, 5 +supported +7 points *$",
        r"^ *three_3x3 - one_7x7 ",
        r"^7 points: Simonyan & Zisserman 2014; ImageNet top-1\.$",
    ):
        assert re.search(line, text, re.M), text
    assert "SUPPORTED: three_3x3 against one_7x7 (n = 3, 5)" in text
    assert "a MAC is one multiply-add" in " ".join(text.split())


def test_terminal_takes_brackets_for_text(
    claim: Claim, arms: list[str], records: list[Record]
) -> None:
    bracketed = replace(claim, statement="[bold]CONV[/bold] -> [red]x")
    text = printed(100, ablation_of(bracketed, arms), records)
    assert "E1: [bold]CONV[/bold] -> [red]x" in text


INTERACTION = Claim(
    "E3",
    "Depth hurts plain nets more.",
    "N3",
    (
        Comparison("p8", "p2", "worse", "More?", beyond=("r8", "r2")),
        Comparison("r8", 9.0, "better", "Below nine?"),
        Comparison("p8", "p2", "better", "And the loss?", metric="test_loss"),
    ),
    caveats="Narrow nets.",
)
FOUR = {"p2": [10.0, 11.0], "p8": [14.0, 15.5], "r2": [10.0, 10.5], "r8": [8.0, 9.5]}


@pytest.mark.parametrize("width", [80, 100])
def test_interactions_numbers_and_a_second_metric(
    records_of: Callable[..., list[Record]], width: int
) -> None:
    """By hand: (14.75 - 10.5) - (8.75 - 10.25) = 5.75; 8.75 - 9 = -0.25."""
    ablation, records = ablation_of(INTERACTION, list(FOUR)), records_of(FOUR)
    page = report_markdown(ablation, records, judge_claim(INTERACTION, records))
    text = printed(width, ablation, records)
    words = "p8 against p2, beyond r8 against r2 (n = 2): the difference in test error of +5.75 ["
    assert words in page
    assert words in " ".join(text.split())
    assert "| (p8 - p2) - (r8 - r2) |" in squeezed(page)
    assert re.search(
        r"\| r8 - 9.0 \| -0.25 \[.*\| 2 \| undecided \| (\d+|more than 1,000) \|\n", squeezed(page)
    )
    assert "| And the loss? (test loss) | p8 - p2 | +0.0425 [" in squeezed(page)
    assert "| arm | test error % | test loss | n |" in squeezed(page)
    both = r"\| [\d.]+ ± [\d.]+ \| 0\.\d{4} ± 0\.\d{4} \| 2 \|"
    assert len(re.findall(both, squeezed(page))) == 4
    assert page.endswith("\n\nNarrow nets.\n")
    assert "Narrow nets." in text
    assert max(map(len, text.splitlines())) <= width
    assert "by Holm for 3 comparisons" in page
    interaction, number, _ = comparisons_table(judge_claim(INTERACTION, records)).to_dict("records")
    assert (interaction["difference"], interaction["beyond"]) == (5.75, "r8 - r2")
    assert (number["baseline"], number["difference"], number["n"]) == (9.0, -0.25, "2")
    assert set(arms_table(ablation, records)["metric"]) == {"test_error", "test_loss"}
    assert len(arms_table(ablation, records)) == 4 + 4
    assert "E3" in report_latex(ablation, records, judge_claim(INTERACTION, records))


def test_runs_that_diverged_are_told(claim: Claim, arms: list[str], records: list[Record]) -> None:
    gone = [replace(r, parameters="") if (r.arm, r.seed) == ("one_7x7", 3) else r for r in records]
    words = "Runs that diverged, and count as guessing: one_7x7 3."
    assert words in caption(ablation_of(claim, arms), gone)
    assert "diverged" not in caption(ablation_of(claim, arms), records)


def test_rates_that_differ_are_shown(claim: Claim, arms: list[str], records: list[Record]) -> None:
    ablation = ablation_of(claim, arms)
    assert "learning rate" not in readable_arms(ablation, records)
    slow = {"optimizer.learning_rate": 0.02}
    ablation.arms["narrow"] = ablation.arms["narrow"].override(slow)
    assert list(readable_arms(ablation, records)["learning rate"]) == ["0.1", "0.1", "0.1", "0.02"]


def test_a_probes_metric_is_shown_of_the_arms_that_have_it(
    records_of: Callable[..., list[Record]],
) -> None:
    tested = Comparison("a", "b", "better", "Is a better?")
    trained = Comparison("a", 5.0, "better", "Below five?", metric="clean_train_error")
    ablation = ablation_of(Claim("E13", "Gap.", "N0", (tested, trained)), ["a", "b"])
    ablation.arms["a"] = ablation.arms["a"].override({"probe": "gap"})
    metrics = {"test_error": 7.0, "clean_train_error": 1.0}
    records = records_of({"a": [0, 0]}, metrics=metrics) + records_of({"b": [3.0, 3.0]})
    table = readable_arms(ablation, records)
    assert list(table["test error %"]) == ["7.00", "3.00"]
    assert list(table["clean train error %"]) == ["1.00", ""]
