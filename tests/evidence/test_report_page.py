"""The report page in a browser: what it shows is what the records hold, and names stay text."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from cnnlab.analysis import summarize
from cnnlab.evidence import (
    Result,
    evidence_page,
    interval_plots,
    judge_claim,
    report_page,
    write_records,
)
from cnnlab.evidence import page as page_module
from cnnlab.evidence.ablation import load_ablation
from cnnlab.evidence.claim import Comparison
from cnnlab.evidence.overview import by_claim
from cnnlab.evidence.page import layers
from cnnlab.evidence.published import BEGIN, END, read_results, rewrite
from cnnlab.evidence.tables import readable_arms, readable_comparisons
from cnnlab.models import pattern
from cnnlab.training import Record
from cnnlab.training.recipe import Recipe

PROJECT = Path(__file__).parents[2]
HOSTILE = "</td></script><script>document.title='taken'</script><img src=x onerror=\"alert(1)\">'&"
HOSTILE_ARM = HOSTILE.replace(".", "")  # a Recipe's keys have no dots
CONFIG = """
from cnnlab.evidence import blank_config, digits_setting

def get_config(preset):
    claim = dict(
        id={id!r},
        statement={text!r},
        source={text!r},
        caveats={text!r},
        comparisons=(
            dict(treatment={wide!r}, baseline="narrow", expect="better", question={text!r},
                 paper=dict(value={text!r}, source={text!r}, note="on other data")),
            dict(treatment={wide!r}, baseline="narrow", expect="equivalent", margin=3.0,
                 question="Is it the same?"),
            dict(treatment={wide!r}, baseline=40.0, expect="better", question="Below forty?"),
        ),
    )
    if preset not in ("cpu", "digits"):
        raise ValueError(f"unknown preset: {{preset!r}}; choices: cpu, digits")
    config = blank_config({name!r}, preset, claim)
    digits_setting(config)
    config.model.name = "INPUT -> CONV3-2 -> RELU -> GAP -> FC"
    config.arms = {{{wide!r}: dict(optimizer=dict(name={setting!r})), "narrow": {{}}}}
    return config.lock()
"""
SPLITS = "validation", "train"
ERRORS = {"wide": [5.0, 6.0, 7.0], "narrow": [25.0, 27.0, 29.0]}


def write_config(home: Path, name: str, **changes: str) -> None:
    words = {"id": "T1", "text": "Wide wins.", "wide": "wide", "setting": "adamw", **changes}
    (home / "configs").mkdir(exist_ok=True)
    (home / "configs" / f"{name}.py").write_text(CONFIG.format(name=name, **words))


@pytest.fixture
def publish(
    records_of: Callable[..., list[Record]], run_of: Callable[[Record, Recipe], Record]
) -> Callable[..., None]:
    """Writes records of an ablation that is in `home`."""

    def publish(home: Path, name: str, errors: dict[str, list[float]], preset: str = "cpu") -> None:
        ablation = load_ablation(home / "configs" / f"{name}.py", preset)
        records = [
            run_of(record, ablation.recipe(record.arm, record.seed))
            for record in records_of(errors)
        ]
        write_records(home / "results" / name / f"{preset}.jsonl", records)

    return publish


@pytest.fixture
def home(tmp_path: Path, publish: Callable[..., None]) -> Path:
    """Three claims: supported, not run, and one whose differences are smaller."""
    write_config(tmp_path, "widths")
    write_config(tmp_path, "unrun", id="T2", text="Nobody ran this.")
    write_config(tmp_path, "alike", id="T10", text="All are alike.")
    publish(tmp_path, "widths", ERRORS)
    publish(tmp_path, "alike", {"wide": [5.0, 6.0, 7.0, 6.5], "narrow": [5.1, 6.0, 7.2, 6.6]})
    return tmp_path


@pytest.fixture
def opened(home, visit):
    return visit(evidence_page(home, folder=home / "pages").html)


def lead(home: Path, claim: str) -> Result:
    claims = by_claim(read_results(home / "results", home / "configs"))
    return next(lead for lead, *_ in claims if lead.ablation.claim.id == claim)


def cells(opened, table: str) -> pd.DataFrame:
    """A table of the page, as it is read."""
    rows = opened.locator(table).evaluate(
        "table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return pd.DataFrame(rows[1:], columns=rows[0])


def test_the_tables_are_those_of_the_records(home, opened):
    result = lead(home, "T1")
    comparisons, arms = (f"#T1 .words >> nth={i}" for i in (0, 1))
    shown = readable_arms(result.ablation, result.records)
    pd.testing.assert_frame_equal(cells(opened, arms), shown)
    assert list(shown["test error %"]) == ["6.00 ± 2.48", "27.00 ± 4.97"]
    shown = readable_comparisons(result.ablation.claim, result.verdicts)
    pd.testing.assert_frame_equal(cells(opened, comparisons), shown)
    text = opened.inner_text("#T1")
    for part in (
        "wide against narrow (n = 3): the difference in test error of -21.00 [-25.16, -16.84]",
        "wide - narrow = -21.00 [-25.16, -16.84] points",
        "INPUT -> CONV3-2 -> RELU -> GAP -> FC\n\noptimizer.name = adamw\n",
        "4 layers, 50 parameters, 18,452 MACs",  # 9 x 2 + 2 and 2 x 10 + 10; 18 x 1,024 and 20
        "Caveats. Wide wins.",
        "python experiments/ablate.py --config configs/widths.py:cpu",
    ):
        assert part in text, part
    assert opened.get_attribute("#T1 a[href$='.py']", "href") == "../configs/widths.py"


def test_every_mark_stands_where_its_axis_says(opened):
    """Places in pixels against the axis's own labels, by the numbers of the records."""
    arms, differences = opened.locator("#T1 .plot").all()

    def scale(plot):
        ticks = plot.locator("text").all()
        first, last = ticks[0], ticks[-1]
        (x1, t1), (x2, t2) = ((middle(t), float(t.inner_html())) for t in (first, last))
        return lambda value: x1 + (value - t1) * (x2 - x1) / (t2 - t1)

    def middle(mark):
        box = mark.bounding_box()
        return box["x"] + box["width"] / 2

    def ends(mark):
        box = mark.bounding_box()
        return box["x"], box["x"] + box["width"]

    at = scale(arms)
    values = [*ERRORS["wide"], *ERRORS["narrow"]]
    assert [middle(dot) for dot in arms.locator(".dot").all()] == pytest.approx(
        [at(value) for value in values], abs=1
    )
    assert middle(arms.locator(".estimate").first) == pytest.approx(at(6), abs=1)
    # Student's t of two degrees of freedom: 4.303 standard errors.
    half = 4.303 * (1 / 3) ** 0.5
    assert ends(arms.locator(".interval").first) == pytest.approx(
        (at(6 - half), at(6 + half)),
        abs=3,  # the box counts half the stroke's width on every side
    )
    assert middle(arms.locator(".guide").first) == pytest.approx(at(27), abs=1)
    at = scale(differences)
    assert [middle(mark) for mark in differences.locator(".estimate").all()] == pytest.approx(
        [at(-21), at(-21), at(-34)], abs=1
    )
    assert middle(differences.locator(".guide").first) == pytest.approx(at(0), abs=1)
    assert differences.locator(".margin").count() == 1
    assert ends(differences.locator(".margin")) == pytest.approx((at(-3), at(3)), abs=1)


def test_a_run_tells_of_itself(opened):
    tip, runs = opened.locator("#tip"), opened.locator("#T1 .run")
    assert tip.is_hidden()
    runs.nth(1).hover()
    errors = ["test error 6.00 %", "learning rate 0.05", *(f"{s} error 1.00 %" for s in SPLITS)]
    said = ["wide, seed 1", *errors, "312 steps"]
    assert tip.inner_text().split("\n") == said
    assert runs.nth(1).get_attribute("aria-label") == "; ".join(said)
    opened.mouse.move(0, 0)
    assert tip.is_hidden()
    runs.nth(0).focus()
    assert tip.inner_text().startswith("wide, seed 0\ntest error 5.00 %\n")
    opened.keyboard.press("End")
    assert tip.inner_text().startswith("narrow, seed 2\ntest error 29.00 %\n")
    opened.keyboard.press("ArrowLeft")
    assert tip.inner_text().startswith("narrow, seed 1\n")
    assert [run.get_attribute("tabindex") for run in runs.all()] == ["-1"] * 4 + ["0", "-1"]
    opened.keyboard.press("Escape")
    assert tip.is_hidden()


def test_every_column_sorts(opened):
    def order():
        return list(cells(opened, ".sortable")["id"])

    def click(name):
        opened.get_by_role("button", name=name, exact=True).click()
        return order()

    assert order() == ["T1", "T2", "T10"]
    assert click("id") == ["T10", "T2", "T1"]
    assert click("id") == ["T1", "T2", "T10"]
    assert click("verdict") == ["T1", "T10", "T2"]  # supported, undecided, not run
    assert click("claim") == ["T10", "T2", "T1"]
    assert click("difference [95%]") == ["T1", "T10", "T2"]  # -21 before -0.1; none is last
    assert click("difference [95%]") == ["T10", "T1", "T2"]
    assert opened.locator("th[aria-sort]").evaluate_all(
        "all => all.map(th => [th.textContent, th.ariaSort])"
    ) == [["difference [95%]", "descending"]]
    assert click("n") == ["T1", "T10", "T2"]
    assert click("n") == ["T10", "T1", "T2"]
    assert click("n to decide")[0] == "T10"
    click("other comparisons")
    others = ["1 supported, 1 refuted", "2 supported", ""]  # by words; none is last
    assert list(cells(opened, ".sortable")["other comparisons"]) == others
    assert click("preset") == order()


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_names_stay_text(tmp_path, publish, visit, width):
    hostile = {"id": "T'\"><b>1", "text": HOSTILE, "wide": HOSTILE_ARM}
    write_config(tmp_path, "widths", **hostile)
    publish(tmp_path, "widths", {HOSTILE_ARM: [5.0, 6.0, 7.0], "narrow": [25.0, 27.0, 29.0]})
    opened = visit(evidence_page(tmp_path).html, viewport={"width": width, "height": 800})
    assert opened.title() == "cnnlab: the evidence"
    assert opened.locator("img").count() == 0
    text = opened.inner_text("section.claim")
    for words in (f"{HOSTILE} - narrow", f"Caveats. {HOSTILE}"):
        assert words.replace(HOSTILE + " -", HOSTILE_ARM + " -") in text
    assert opened.locator(".arms dt").first.inner_text() == HOSTILE_ARM
    assert opened.locator(".words td", has_text=f"{HOSTILE}; on other data").count() == 1
    opened.locator(".run").first.focus()
    assert opened.inner_text("#tip").startswith(f"{HOSTILE_ARM}, seed 0\n")
    opened.locator(".sortable a").click()
    assert opened.evaluate("document.querySelector(':target').id") == hostile["id"]
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_claim_has_its_section(visit, monkeypatch, tmp_path):
    """Of the project's own configs, with nothing run; their networks have other tests."""
    small = summarize(pattern("INPUT -> FC", classes=2), (2, 2, 1))
    monkeypatch.setattr(page_module, "_layers", lambda *_: small)
    (tmp_path / "configs").symlink_to(PROJECT / "configs")
    opened = visit(evidence_page(tmp_path).html)
    claims = by_claim(read_results(tmp_path / "results", tmp_path / "configs"))
    ids = [lead.ablation.claim.id for lead, *_ in claims]
    assert len(ids) == len(list((PROJECT / "configs").glob("*.py")))
    sections = opened.locator("section.claim")
    assert sections.evaluate_all("all => all.map(each => each.id)") == ids
    for section, (result, *_) in zip(sections.all_inner_texts(), claims, strict=True):
        assert section.startswith(f"{result.ablation.claim.title} not run\n")
        assert "undecided" not in section
        for comparison in result.ablation.claim.comparisons:
            assert comparison.question in section
            assert not comparison.paper or comparison.paper.value in section
        assert all(recipe.model.name in section for recipe in result.ablation.arms.values())
    assert opened.locator(".plot").count() == 0
    assert opened.inner_text(".counts").split() == (
        f"0 supported 0 refuted 0 undecided {len(ids)} not run".split()
    )


def test_on_paper_everything_is_open(opened):
    opened.emulate_media(media="print")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details:not([open])").count() == 0
    assert opened.locator("#T1 .layers td").first.is_visible()
    assert not opened.locator(".back").first.is_visible()
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("details[open]").count() == 0


def test_presets(home, publish):
    publish(home, "widths", {"wide": [9.0, 9.5, 10.0], "narrow": [9.1, 9.4, 10.1]}, "digits")
    html = evidence_page(home).html
    assert html.count("Preset <code>digits</code>") == 1
    assert "(n = 3): the difference in test error of -0.03 [" in html
    assert "of -21.00 [-25.16, -16.84]" in html
    html = evidence_page(home, "digits").html
    assert "-21.00" not in html
    assert html.count('class="run"') == 6
    with pytest.raises(ValueError, match=r"preset: 'digit'; choices: cpu, digits; .*'digits'"):
        evidence_page(home, "digit")
    with pytest.raises(ValueError, match=r"no claims: looked in .*elsewhere/configs"):
        evidence_page(home / "elsewhere")


def test_what_was_not_run_and_what_diverged_is_said(home, records_of):
    result = lead(home, "T1")
    records = records_of({"wide": [5.0]})
    records = [*records, replace(records[0], seed=1, parameters="")]
    (arms,) = interval_plots.plots(replace(result, records=records))
    assert [row.note for row in arms.rows] == ["5.00 %, n = 2", "not run"]
    assert [row.ends for row in arms.rows] == [None, None]
    assert arms.guide is None
    said = [run.words[-1] for run in arms.rows[0].runs]
    assert said == ["100 steps", "diverged, counts as guessing"]


def test_runs_that_all_agree_have_an_axis():
    axis = interval_plots.Axis.around([5.0, 5.0])
    assert axis.place(5.0) == 50
    assert [label for _, label in axis.ticks] == ["4", "4.4", "4.8", "5.2", "5.6", "6"]


def test_layers_of_the_data_sets_own_size():
    recipe = Recipe().override({"model.name": "INPUT -> FC"})
    for name, size, shape in (
        ("digits", 0, (32, 32, 1)),
        ("mnist", 0, (28, 28, 1)),
        ("imagenet2012", 64, (64, 64, 3)),
    ):
        recipe = recipe.override({"data.name": name, "data.image_size": size})
        assert layers(recipe).rows[0].shape == shape
    assert layers(recipe).rows[-1].shape == (1000,)


class TestNotebook:
    """What stands under a cell: plain HTML, in which names stay text."""

    def test_a_verdict(self, claim, records, visit):
        comparison = Comparison("three_3x3", "one_7x7", "better", HOSTILE)
        claim = replace(claim, comparisons=(comparison, *claim.comparisons[1:]))
        verdict = judge_claim(claim, records)[0]
        opened = visit(verdict._repr_html_())
        words = " ".join(opened.inner_text("p").split())
        assert words == f"supported {HOSTILE} {verdict.sentence}"
        assert "-3.00 [" in words

    def test_a_result(self, home, visit):
        result = lead(home, "T1")
        arms = {HOSTILE: result.ablation.arms["wide"], "narrow": result.ablation.arms["narrow"]}
        comparison = Comparison(HOSTILE, "narrow", "better", "Does it?")
        claim = replace(result.ablation.claim, comparisons=(comparison,))
        records = [
            replace(record, arm=HOSTILE) if record.arm == "wide" else record
            for record in result.records
        ]
        result = Result(replace(result.ablation, claim=claim, arms=arms), records)
        opened = visit(result._repr_html_())
        assert opened.locator("img").count() == 0
        shown = readable_arms(result.ablation, records)
        pd.testing.assert_frame_equal(cells(opened, "table >> nth=0"), shown)
        assert shown["arm"][0] == HOSTILE
        assert opened.locator("td", has_text="supported").count() == 1

    def test_a_page_of_one_claim(self, home, visit):
        frame = visit(report_page([[lead(home, "T1")]])._repr_html_()).frame_locator("iframe")
        frame.locator(".run").first.hover()
        assert frame.locator("#tip").inner_text().startswith("wide, seed 0\n")


def test_each_word_of_the_page_is_of_the_project(home):
    """No address outside it, and no path of the machine that made it."""
    html = evidence_page(home, folder=home).html
    assert not re.findall(r"https?://|//[a-z]", re.sub(r"// .*", "", html))
    assert str(home) not in html
    assert str(PROJECT) not in html


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "a|b`c*d*", "[x](http://y) &lt;"])
def test_hostile_names_stay_text_in_markdown(tmp_path, publish, name):
    """As a reader of Markdown sees it, in the reports and in the overview of all claims."""
    write_config(tmp_path, "widths", id="T1", text=f"{name} wins.", wide=name)
    config = tmp_path / "configs" / "widths.py"
    config.write_text(re.sub(r"caveats=.*", "caveats='',", config.read_text()))
    publish(tmp_path, "widths", {name: [5.0, 6.0, 7.0], "narrow": [25.0, 27.0, 29.0]})
    (tmp_path / "README.md").write_text(f"{BEGIN}\n{END}\n")
    pages = rewrite(tmp_path / "results", tmp_path / "configs", tmp_path / "README.md")
    for page in [*pages, tmp_path / "README.md"]:
        tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text())
        inline = [child for token in tokens for child in token.children or ()]
        assert not [token for token in (*tokens, *inline) if "html" in token.type and
                    token.content not in (f"{BEGIN}\n", f"{END}\n")]  # fmt: skip
        links = {token.attrs.get("href") for token in inline if token.type == "link_open"}
        assert "http://y" not in links
        assert name in " ".join("".join(child.content for child in token.children or ())
                                for token in tokens if token.type == "inline")  # fmt: skip
