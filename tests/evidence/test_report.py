import io
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from cnnlab.evidence import (
    Ablation,
    ForeignRecord,
    empirical_table,
    plots,
    print_report,
    read_records,
    write_records,
    write_report,
)
from cnnlab.evidence.ablation import load_ablation
from cnnlab.evidence.overview import Result, by_claim, overview, summary
from cnnlab.evidence.published import (
    BEGIN,
    END,
    CannotPublish,
    MarkerMissing,
    check_publishable,
    read_results,
    replace_block,
    rewrite,
)
from cnnlab.training import Record
from cnnlab.training.recipe import Recipe

PROJECT = Path(__file__).parents[2]
CONFIG = """
from cnnlab.evidence import blank_config

CLAIM = dict(
    id="T1",
    statement="Wide beats narrow.",
    source="a test",
    comparisons=(
        dict(treatment="wide", baseline="narrow", expect="better", question="Does width help?"),
    ),
)


def get_config(preset):
    config = blank_config("widths", preset, CLAIM)
    config.arms = dict(narrow={}, wide=dict(optimizer=dict(learning_rate=0.2)))
    epochs = dict(short=1.0, long=9.0)
    if preset not in epochs:
        raise ValueError(f"unknown preset: {preset!r}; choices: short, long")
    config.train.epochs = epochs[preset]
    return config.lock()
"""
README = f"# A title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a config and a README, and nothing published yet."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "widths.py").write_text(CONFIG)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


@pytest.fixture
def ablation(project: Path) -> Ablation:
    return load_ablation(project / "configs" / "widths.py", "short")


@pytest.fixture
def runs_of(
    records_of: Callable[..., list[Record]], run_of: Callable[[Record, Recipe], Record]
) -> Callable[[Ablation], list[Record]]:
    """Records of an ablation's recipes, three runs an arm."""

    def make(ablation: Ablation) -> list[Record]:
        records = records_of({"wide": [5.0, 6.0, 7.0], "narrow": [25.0, 27.0, 29.0]})
        return [run_of(record, ablation.recipe(record.arm, record.seed)) for record in records]

    return make


@pytest.fixture
def published(project: Path, runs_of: Callable[[Ablation], list[Record]]) -> Path:
    """The same folder with the records of both presets."""
    for preset in ("short", "long"):
        ablation = load_ablation(project / "configs" / "widths.py", preset)
        write_records(project / "results" / "widths" / f"{preset}.jsonl", runs_of(ablation))
    return project


def remake(project: Path) -> list[Path]:
    return rewrite(project / "results", project / "configs", project / "README.md")


def test_records_come_back_sorted(
    ablation: Ablation, runs_of: Callable[[Ablation], list[Record]], tmp_path: Path
) -> None:
    records = runs_of(ablation)
    path = tmp_path / "new" / "folder" / "short.jsonl"
    write_records(path, records[::-1])
    same, found = read_records(path, ablation)
    assert same == ablation
    assert [(r.arm, r.seed) for r in found] == [
        (a, s) for a in ("narrow", "wide") for s in (0, 1, 2)
    ]
    assert found == [*records[3:], *records[:3]]
    first = path.read_bytes()
    write_records(path, records)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["short.jsonl"]


def test_records_of_another_recipe_are_refused(
    ablation: Ablation, runs_of: Callable[[Ablation], list[Record]], tmp_path: Path
) -> None:
    path = tmp_path / "short.jsonl"
    write_records(path, runs_of(ablation))
    changed = load_ablation(tmp_path / "configs" / "widths.py", "long")
    with pytest.raises(
        ForeignRecord,
        match=r"short\.jsonl: arm 'narrow' seed 0 .* the config's: train.epochs = 1.0, not 9.0$",
    ):
        read_records(path, changed)
    ablation.arms["narrow"] = ablation.arms["narrow"].override({"data.directory": "/elsewhere"})
    assert len(read_records(path, ablation)[1]) == 6
    write_records(path, [replace(runs_of(ablation)[0], arm="gone")])
    with pytest.raises(ForeignRecord, match=r"arm 'gone' seed 0 is a run that the config does not"):
        read_records(path, ablation)
    write_records(path, [replace(runs_of(ablation)[0], seed=ablation.seeds)])
    with pytest.raises(ForeignRecord, match=r"seed \d is a run that the config does not have"):
        read_records(path, ablation)
    write_records(path, runs_of(ablation)[:1] * 2)
    with pytest.raises(ForeignRecord, match=r"more than one record of arm '\w+' seed 0 at rate"):
        read_records(path, ablation)


def test_records_on_other_data_are_refused(
    ablation: Ablation, runs_of: Callable[[Ablation], list[Record]], tmp_path: Path
) -> None:
    *records, last = runs_of(ablation)
    other = replace(last, dataset={**last.dataset, "fingerprint": "ff00" * 4})
    write_records(tmp_path / "short.jsonl", [*records, other])
    words = r"seed 2 was run on other data than .* seed 0: fingerprint = 'ff00.*', not '0a1b.*'$"
    with pytest.raises(ForeignRecord, match=words):
        read_records(tmp_path / "short.jsonl", ablation)
    # Arms of another data set have another copy, but one of their own.
    ablation.arms["wide"] = ablation.arms["wide"].override({"data.name": "mnist"})
    wide, narrow = runs_of(ablation)[:3], runs_of(ablation)[3:]
    there = {"fingerprint": "ff00" * 4}
    wide = [replace(record, dataset=record.dataset | there) for record in wide]
    write_records(tmp_path / "short.jsonl", [*wide, *narrow])
    assert len(read_records(tmp_path / "short.jsonl", ablation)[1]) == 6
    # So has an arm that prepares the same data in another way.
    changed = {"data.name": "digits", "data.preprocess": "gcn_zca"}
    ablation.arms["wide"] = ablation.arms["wide"].override(changed)
    wide = [replace(r, dataset=r.dataset | there) for r in runs_of(ablation)[:3]]
    write_records(tmp_path / "short.jsonl", [*wide, *narrow])
    assert len(read_records(tmp_path / "short.jsonl", ablation)[1]) == 6


def test_a_record_that_lacks_a_key_added_since_is_read(
    ablation: Ablation, runs_of: Callable[[Ablation], list[Record]], tmp_path: Path
) -> None:
    records = runs_of(ablation)
    for record in records:
        del record.config["optimizer"]["ema_decay"]
    write_records(tmp_path / "old.jsonl", records)
    assert len(read_records(tmp_path / "old.jsonl", ablation)[1]) == 6
    records[3].config["optimizer"]["ema_decay"] = 0.5
    write_records(tmp_path / "old.jsonl", records)
    with pytest.raises(ForeignRecord):
        read_records(tmp_path / "old.jsonl", ablation)


def test_a_report_is_a_page_tables_and_a_figure(
    ablation: Ablation, runs_of: Callable[[Ablation], list[Record]], tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    page = write_report(folder, ablation, runs_of(ablation))
    assert page == folder / "short.md"
    assert sorted(path.name for path in folder.iterdir()) == [
        "short-comparisons.csv",
        "short.csv",
        "short.md",
        "short.png",
        "short.tex",
    ]
    text = page.read_text()
    assert "**Supported**: wide against narrow (n = 3): " in text
    assert "Preset: short." in text
    assert text.endswith("](short.png)\n")
    arms = pd.read_csv(folder / "short.csv")
    assert list(arms["mean"]) == [6.0, 27.0]
    comparisons = pd.read_csv(folder / "short-comparisons.csv")
    assert list(comparisons["difference"]) == [-21.0]
    assert r"\toprule" in (folder / "short.tex").read_text()
    assert (folder / "short.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("wide", "narrow", "outcome"),
    [
        ([5.0, 6.0, 7.0], [25.0, 27.0, 29.0], "SUPPORTED"),
        ([25.0, 27.0, 29.0], [5.0, 6.0, 7.0], "REFUTED"),
        ([5.0, 6.0, 7.0], [4.0, 6.0, 8.0], "UNDECIDED"),
        ([5.0, 6.0, 7.0], [], "UNDECIDED"),
    ],
)
def test_printed_verdict_follows_the_records(
    ablation: Ablation,
    records_of: Callable[..., list[Record]],
    wide: list[float],
    narrow: list[float],
    outcome: str,
) -> None:
    said = io.StringIO()
    records = records_of({"wide": wide, "narrow": narrow})
    print_report(Console(file=said, width=100), ablation, records)
    runs = "3" if narrow else "3, 0"
    assert f"{outcome}: wide against narrow (n = {runs})" in said.getvalue()
    assert "Preset: short." in said.getvalue()


def test_a_narrow_terminal_loses_no_column(
    ablation: Ablation, records_of: Callable[..., list[Record]]
) -> None:
    records = records_of({"wide": [5.0, 6.0], "narrow": [7.0, 8.0]})
    said = {width: io.StringIO() for width in (60, 100)}
    for width, file in said.items():
        print_report(Console(file=file, width=width), ablation, records)
    headings = [line for line in said[60].getvalue().splitlines() if line.startswith(" arm ")]
    assert len(headings) == 2
    assert all(word in said[60].getvalue() for word in ("receptive", " px ", "±"))
    assert sum(line.startswith(" arm ") for line in said[100].getvalue().splitlines()) == 1


def test_published_results_are_remade_from_the_records_alone(published: Path) -> None:
    pages = remake(published)
    folder = published / "results" / "widths"
    assert pages == [folder / "long.md", folder / "short.md", published / "results" / "README.md"]
    first = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    for path in pages[-1], *folder.iterdir():
        if path.suffix != ".jsonl":
            path.unlink()
    assert remake(published) == pages
    assert {path: path.read_bytes() for path in first} == first


def test_readme_shows_the_first_preset_that_was_run(published: Path) -> None:
    remake(published)
    readme = (published / "README.md").read_text()
    assert readme.startswith(f"# A title\n\nBefore.\n\n{BEGIN}\nPreset `long`:\n\n| claim ")
    assert readme.endswith(f"|\n\nData: CIFAR-10 (JPEG q75 copy).\n{END}\n\nAfter.\n")
    assert "old" not in readme
    row = "| T1: Wide beats narrow | supported | -21.00 [-25.16, -16.84] points | 3 | | "
    assert squeezed(readme).count(row + "| [table](results/widths/long.md) |") == 1
    assert (published / "results" / "widths" / "long.md").is_file()
    assert "short" not in readme


def squeezed(text: str) -> str:
    return re.sub(r" +", " ", text)


@pytest.mark.parametrize(
    ("text", "missing"),
    [("no markers", "begin"), (f"a {BEGIN} b", "end"), (f"{END} {BEGIN}", "end"), (END, "begin")],
)
def test_a_missing_marker_is_told_before_anything_is_written(
    published: Path, text: str, missing: str
) -> None:
    (published / "README.md").write_text(text)
    with pytest.raises(MarkerMissing, match=f"'<!-- results:{missing} -->'"):
        remake(published)
    assert (published / "README.md").read_text() == text
    assert {path.suffix for path in (published / "results" / "widths").iterdir()} == {".jsonl"}


def test_a_block_is_replaced_wherever_it_stands() -> None:
    once = replace_block(f"a\n{BEGIN}{END}", "x\ny")
    assert once == f"a\n{BEGIN}\nx\ny\n{END}"
    assert replace_block(once, "x\ny") == once
    assert replace_block(once + "\nb", "z") == f"a\n{BEGIN}\nz\n{END}\nb"


def test_records_without_their_config_are_told(published: Path) -> None:
    path = published / "results" / "widths" / "other.jsonl"
    path.write_text("")
    with pytest.raises(ForeignRecord, match=r"other\.jsonl: .*widths\.py with a preset 'other'$"):
        remake(published)
    (published / "configs" / "widths.py").unlink()
    with pytest.raises(ForeignRecord, match=r"long\.jsonl: there is no .*configs/widths\.py with"):
        remake(published)


def test_a_changed_config_disowns_its_published_records(published: Path) -> None:
    path = published / "configs" / "widths.py"
    path.write_text(CONFIG.replace("learning_rate=0.2", "learning_rate=0.3"))
    with pytest.raises(ForeignRecord, match=r"long\.jsonl: arm 'wide' seed 0"):
        remake(published)


def test_only_what_the_config_describes_is_published(project: Path, ablation: Ablation) -> None:
    configs = project / "configs"
    ablation.arms["wide"] = ablation.arms["wide"].override({"data.directory": "/elsewhere"})
    check_publishable(ablation, configs)
    ablation.arms["wide"] = ablation.arms["wide"].override({"train.epochs": 2.0})
    words = r"from .*widths\.py, which has it otherwise: arms\.wide\.train\.epochs = 2\.0, not"
    with pytest.raises(CannotPublish, match=words):
        check_publishable(ablation, configs)
    fewer = replace(load_ablation(configs / "widths.py", "short"), seeds=2)
    with pytest.raises(CannotPublish, match=r": seeds = 2, not 5$"):
        check_publishable(fewer, configs)
    described = load_ablation(configs / "widths.py", "short")
    other = replace(described, claim=replace(described.claim, metric="test_loss"))
    with pytest.raises(CannotPublish, match=r"claim\.metric = 'test_loss', not 'test_error'$"):
        check_publishable(other, configs)
    with pytest.raises(CannotPublish, match=r"no .*gone\.py, to make"):
        check_publishable(replace(ablation, name="gone"), configs)


def test_the_page_of_all_claims(
    published: Path, runs_of: Callable[[Ablation], list[Record]]
) -> None:
    configs = published / "configs"
    other = CONFIG.replace('"T1"', '"T10"').replace('"widths"', '"unrun"')
    other = other.replace("narrow={}", "narrow=dict(model=dict(name='INPUT -> FC'))")
    (configs / "unrun.py").write_text(other)
    caveat = '    config.claim.caveats = "Few epochs."\n    return config'
    config = (configs / "widths.py").read_text().replace("    return config", caveat)
    (configs / "widths.py").write_text(config)
    remake(published)
    page = squeezed((published / "results" / "README.md").read_text())
    row = "| T1: Wide beats narrow | supported | -21.00 [-25.16, -16.84] points | 3 | |"
    for preset in ("long", "short"):
        assert page.count(f"{row} | [table](widths/{preset}.md) |") == 1
        assert f"## Preset `{preset}`" in page
    assert page.count("| T10: Wide beats narrow | not run | | | | | |") == 2
    assert page.index("## Preset `long`") < page.index("## T1: ") < page.index("## T10: ")
    first, second = page.split("## T1: ")[1].split("## T10: ")
    for part in (
        "Does width help? Source of the claim: a test.",
        "- `wide`: ``, `optimizer.learning_rate = 0.2`\n- `narrow`: ``, `optimizer.learning_rate",
        "\n\n**Supported**: wide against narrow (n = 3): ",
        "| wide | 6.00 ± 2.48 | 3 | 0.2 |",
        "| Does width help? | wide - narrow | -21.00 [-25.16, -16.84] |",
        "![every run, by arm](widths/long.png)",
        "\n\nFew epochs.\n\n",
        "--config configs/widths.py:long\n",
        "Preset `short`: **Supported**: ",
    ):
        assert first.count(part) == 1, part
    assert "\n\nNot run.\n\n" in second
    assert "- `narrow`: `INPUT -> FC`, " in second
    assert "Few epochs." in (published / "results" / "widths" / "short.md").read_text()


def test_the_presets_that_were_run_come_first(project: Path, ablation: Ablation) -> None:
    found = read_results(project / "results", project / "configs")
    assert list(found) == ["cpu", "digits", "paper"]
    write_records(project / "results" / "widths" / "short.jsonl", [])
    assert next(iter(read_results(project / "results", project / "configs"))) == "short"
    assert summary(found["cpu"]) == "Not run."


def test_a_claim_is_shown_as_it_was_run_where_others_were_run_otherwise(
    ablation: Ablation, runs_of: Callable[[Ablation], list[Record]]
) -> None:
    second = replace(ablation, claim=replace(ablation.claim, id="T2"))
    unrun, run = Result(ablation, []), Result(ablation, runs_of(ablation))
    assert "undecided" not in unrun._repr_html_()
    assert unrun._repr_html_().count("not run") > 1
    presets = {"cpu": [unrun, Result(second, runs_of(second))], "digits": [run]}
    assert [[r.records != [] for r in found] for found in by_claim(presets)] == [[1, 0], [1]]
    assert by_claim(presets)[0] == [run, unrun]


def test_the_summary_says_what_would_decide(
    ablation: Ablation, records_of: Callable[..., list[Record]]
) -> None:
    """Half a standard deviation: 64 runs an arm (Cohen 1988, table 2.4.1)."""
    records = records_of({"wide": [0.0, 2.0, 4.0], "narrow": [1.0, 3.0, 5.0]})
    table = squeezed(summary([Result(ablation, records)]))
    row = "| undecided | -1.00 [-5.53, +3.53] points | 3 | 64 | | [table](widths/short.md) |"
    assert row in table


def test_the_summary_names_what_is_not_the_usual_metric_and_the_data(
    ablation: Ablation, records_of: Callable[..., list[Record]]
) -> None:
    records = records_of({"wide": [100.0, 300.0], "narrow": [200.0, 400.0]})
    for metric, words in (("test_error", " points |"), ("test_loss", " of test loss |")):
        claim = replace(ablation.claim, metric=metric)
        table = squeezed(summary([Result(replace(ablation, claim=claim), records)]))
        assert f"]{words}" in table
        assert table.endswith("Data: CIFAR-10 (JPEG q75 copy).")


def test_the_section_says_whose_rate_stands_at_an_end(
    ablation: Ablation, records_of: Callable[..., list[Record]]
) -> None:
    rates = {"wide": 0.3, "narrow": 0.1}
    arms = {
        arm: recipe.override({"optimizer.learning_rate": rates[arm]})
        for arm, recipe in ablation.arms.items()
    }
    chosen = replace(ablation, arms=arms, rates=(0.03, 0.1, 0.3))
    page = overview({"cpu": [Result(chosen, records_of({"wide": [1.0], "narrow": [2.0]}))]})
    assert "at the edge of these, so that a better may lie beyond: wide." in page


def test_the_summary_counts_how_the_other_comparisons_came_out(
    ablation: Ablation, records_of: Callable[..., list[Record]]
) -> None:
    """A claim's verdict is its first comparison's: a reader sees that others came out otherwise."""
    (first,) = ablation.claim.comparisons
    below, above = (replace(first, baseline=number) for number in (50.0, 1.0))
    claim = replace(ablation.claim, comparisons=(first, above, below, above))
    records = records_of({"wide": [9.0, 10.0, 11.0], "narrow": [29.0, 30.0, 31.0]})
    result = Result(replace(ablation, claim=claim), records)
    assert (result.outcome, result.others) == ("supported", "1 supported, 2 refuted")
    assert "| 3 | | 1 supported, 2 refuted | [table]" in squeezed(summary([result]))


def test_claims_and_their_verdicts(
    published: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (row,) = empirical_table(published).to_dict("records")
    assert row == {
        "id": "T1",
        "claim": "Wide beats narrow",
        "source": "a test",
        "the note says": "wide better than narrow",
        "ours": "-21.00 [-25.16, -16.84] points (n = 3, preset long)",
        "outcome": "supported",
        "why": "",
    }
    (published / "results" / "widths" / "long.jsonl").unlink()
    (row,) = empirical_table(published).to_dict("records")
    assert row["ours"].endswith("(n = 3, preset short)")
    (published / "results" / "widths" / "short.jsonl").unlink()
    assert empirical_table(published).empty, "no preset to ask the configs for"
    assert empirical_table(published / "installed elsewhere").empty


@pytest.mark.skipif(not (PROJECT / "results").is_dir(), reason="nothing published yet")
def test_what_is_committed_is_what_the_records_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Figures take long, and are not compared: fonts differ between machines.
    monkeypatch.setattr(plots, "figure", lambda *_: _[-1].touch())
    shutil.copyfile(PROJECT / "README.md", tmp_path / "README.md")
    for path in (PROJECT / "results").glob("*/*.jsonl"):
        (tmp_path / "results" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / "results" / path.parent.name / path.name)
    rewrite(tmp_path / "results", PROJECT / "configs", tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == (PROJECT / "README.md").read_text()
    made = sorted(path.relative_to(tmp_path) for path in (tmp_path / "results").rglob("*.*"))
    there = sorted(path.relative_to(PROJECT) for path in (PROJECT / "results").rglob("*.*"))
    assert made == [path for path in there if path.parts[1] != "performance"]  # the benchmark's
    for path in made:
        if path.suffix in (".md", ".tex"):
            assert (tmp_path / path).read_text() == (PROJECT / path).read_text(), path
        if path.suffix == ".csv":  # at full precision, where the last digit is the machine's
            ours, theirs = pd.read_csv(tmp_path / path), pd.read_csv(PROJECT / path)
            pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
