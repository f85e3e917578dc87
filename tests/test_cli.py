"""The command `cnnlab`: what it prints, in every format, and what it says of mistakes."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import cnnlab
from cnnlab import cli, demo, evidence, models, pages

PATTERN = "INPUT -> [CONV3-8 -> RELU]*2 -> FC"


@pytest.fixture
def run(capsys):
    """Status, standard output and standard error of one command line."""

    def run(*arguments):
        status = cli.main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def printed(run):
    def printed(*arguments):
        status, out, err = run(*arguments)
        assert (status, err) == (0, "")
        return out

    return printed


@pytest.fixture
def refused(run):
    """What is said of a mistake: on standard error alone, with status 2."""

    def refused(*arguments):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        return err

    return refused


class TestModels:
    def test_every_name_once(self, printed):
        lines = printed("models").splitlines()
        assert tuple(line.split()[0] for line in lines[2:]) == models.names()
        assert lines[0].split() == ["name", "input", "source", "options"]
        row = next(line for line in lines if line.startswith("resnet20 "))
        assert [cell.strip() for cell in re.split("  +", row)][1:] == [
            "32x32x3",
            models.network("resnet20").source,
            "filters=16, stem_stride=1, shortcut=A, order=original, survival=1.0, scan=False",
        ]

    def test_formats_agree(self, printed):
        rows = json.loads(printed("models", "--format", "json"))
        assert list(csv.DictReader(io.StringIO(printed("models", "--format", "csv")))) == rows
        head, _, *lines = printed("models", "--format", "markdown").splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, *lines)]
        assert cells == [list(rows[0]), *(list(row.values()) for row in rows)]
        assert {row["name"]: row["source"] for row in rows} == {
            name: models.network(name).source for name in models.names()
        }
        options = {row["name"]: row["options"] for row in rows}
        assert options["mlp"] == "hidden=(512, 512)"
        assert options["preact164"] == (
            "filters=16, stem_stride=1, shortcut=B, order=full_preact, survival=1.0, scan=False"
        )
        assert options["linear"] == ""
        assert options["plain20"] == "filters=16, stem_stride=1, scan=False"


class TestSummary:
    def test_text(self, printed):
        table, memory = printed("summary", PATTERN, "--input", "32x32x3").split("\n\n")
        model = models.pattern(PATTERN, classes=10)
        assert table == str(cnnlab.summarize(model, (32, 32, 3)))
        # 82,738 parameters, 3,072 pixels, twice 8,192 and 10 numbers put out.
        assert memory.splitlines()[0] == (
            "memory for a batch of 1, activations in float32: 408.8 kB forward, 1.1 MB in training"
        )

    def test_memory_of_a_batch(self, printed):
        arguments = ("summary", PATTERN, "--input", "32x32x3", "--format", "json")
        memory = json.loads(printed(*arguments, "--batch-size", "8", "--dtype", "bfloat16"))[
            "memory"
        ]
        assert memory["activations"] == 8 * 2 * (2 * 8_192 + 10)
        assert memory["images"] == 8 * 4 * 3_072
        assert memory["parameters"] == 4 * 82_738

    def test_memory_is_of_the_networks_own_dtype(self, printed):
        arguments = ("summary", PATTERN, "--input", "32x32x3", "--option", "dtype=bfloat16")
        assert "of 1, activations in bfloat16: " in printed(*arguments)
        assert "of 1, activations in float16: " in printed(*arguments, "--dtype", "float16")
        memory = json.loads(printed(*arguments, "--format", "json"))["memory"]
        assert memory["activations"] == 2 * (2 * 8_192 + 10)

    def test_formats_agree(self, printed):
        arguments = ("summary", PATTERN, "--input", "16x24x3", "--classes", "7", "--format")
        summary = cnnlab.summarize(models.pattern(PATTERN, classes=7), (16, 24, 3))
        found = json.loads(printed(*arguments, "json"))
        assert found["totals"] == {
            "activations": summary.activations,
            "params": summary.params,
            "macs": summary.macs,
        }
        expected = [(row.path, row.macs, row.weights) for row in summary.rows]
        assert [(row["path"], row["macs"], row["weights"]) for row in found["rows"]] == expected
        read = list(csv.DictReader(io.StringIO(printed(*arguments, "csv"))))
        assert [(row["path"], int(row["macs"]), int(row["weights"])) for row in read] == expected
        assert printed(*arguments, "markdown").startswith(summary.table("markdown") + "\n\n")

    @pytest.mark.parametrize(
        ("given", "shape"),
        [([], "32x32x1"), (["--input", "36"], "36x36x1"), (["--input", "32x36"], "32x36x1")],
    )
    def test_input(self, printed, given, shape):
        """What is left out is as in the network's own input."""
        lines = printed("summary", "lenet5", *given).splitlines()
        assert lines[2].split()[:2] == ["INPUT", shape]

    def test_classes(self, printed):
        assert "FC-10 " in printed("summary", "lenet5")
        assert "FC-3 " in printed("summary", "lenet5", "--classes", "3")
        assert "FC-3 " in printed("summary", "lenet5", "--option", "classes=3")

    def test_options(self, printed):
        """A literal, a word, and both."""
        written = printed("summary", "mlp", "--option", "hidden=(5, 6)")
        assert "FC-5 " in written
        assert "FC-6 " in written
        options = ("--option", "shortcut=B", "--option", "survival=0.5")
        written = printed("summary", "resnet20", *options)
        assert "stage2_block1/shortcut_conv " in written
        assert "SURVIVE0.5 " in written


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["googlnet"], "did you mean 'googlenet'?\n"),
            (["lenet5", "--input", "32x"], "224x224x3; got '32x'\n"),
            (["lenet5", "--input", "-3"], "224x224x3; got '-3'\n"),
            (["lenet5", "--input", "0"], "whole numbers from 1; got (0, 0, 1)\n"),
            (["lenet5", "--option", "clases=3"], "did you mean 'classes'?\n"),
            (["lenet5", "--option", "c3"], "NAME=VALUE, e.g. shortcut=B; got 'c3'\n"),
            (["lenet5", "--option", "c3=tabel"], "did you mean 'table'?\n"),
            (["lenet5", "--classes", "0"], "classes must be a whole number, at least 1; got 0\n"),
            (["lenet5", "--option", "classes=ten"], "at least 1; got 'ten'\n"),
            (["lenet5", "--option", "classes=True"], "at least 1; got True\n"),
            (["lenet5", "--option", "dtype=float23"], "did you mean 'float32'?\n"),
            (["resnet20", "--option", "survival=x"], "probability in (0, 1]; got 'x'\n"),
            (["googlenet", "--option", "aux=x"], "a number from 0, not aux='x'\n"),
            (["mlp", "--option", "hidden=100"], "e.g. (512, 512); got 100\n"),
            (["VGG16"], "did you mean 'vgg16'?\n"),
            (["lenet5", "--batch-size", "0"], "at least 1; got 0\n"),
            (["lenet5", "--batch-size", "x"], "--batch-size: invalid int value: 'x'\n"),
            (["lenet5", "--dtype", "float23"], "did you mean 'float32'?\n"),
            (["lenet5", "--format", "jsn"], "did you mean 'json'?\n"),
            (["INPUT -> FC"], "give one, e.g. --input 32x32x3\n"),
            (["INPUT -> FC", "--input", "32"], "its channels: --input 32x32x3\n"),
            ([], "required: model\n"),
        ],
    )
    def test_one_line_that_helps(self, refused, arguments, said):
        found = refused("summary", *arguments)
        assert found.endswith(said)
        assert found.count("\n") == 1

    def test_pattern_that_does_not_parse(self, refused):
        _, pattern, pointer = refused("summary", "INPUT -> CNV3-4", "--input", "8x8x3").splitlines()
        assert pattern[pointer.index("^")] == "C"

    def test_input_that_does_not_fit(self, refused):
        reason, pattern, pointer = refused("summary", "lenet5", "--input", "8").splitlines()
        assert "CONV5-16p0 does not fit its input" in reason
        assert pattern[pointer.index("^") :].startswith("CONV5-16p0")

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ([], "required: COMMAND\n"),
            (
                ["summray"],
                "choices: models, summary, claims, report, demo; did you mean 'summary'?\n",
            ),
            (["models", "--fromat", "csv"], "unrecognized arguments: --fromat csv\n"),
        ],
    )
    def test_no_such_command(self, refused, command, said):
        found = refused(*command)
        assert found.endswith(said)
        assert found.count("\n") == 1


CLAIMS = [
    {
        "id": f"A{i}",
        "claim": f"claim {i} " + "that goes on " * 12,
        "source": "N0, Somewhere",
        "the note says": "[3] x " * 20,
        "ours": "ours [bold]",
        "outcome": outcome,
        "why": why,
    }
    for i, (outcome, why) in enumerate([("agrees", ""), ("slip", "a note's slip")], 1)
]


class TestClaims:
    @pytest.fixture(autouse=True)
    def _claims(self, monkeypatch):
        monkeypatch.setattr(evidence, "arithmetic_table", lambda: pd.DataFrame(CLAIMS[:1]))
        monkeypatch.setattr(evidence, "empirical_table", lambda: pd.DataFrame(CLAIMS[1:]))

    def test_formats_agree(self, printed):
        assert json.loads(printed("claims", "--format", "json")) == CLAIMS
        assert list(csv.DictReader(io.StringIO(printed("claims", "--format", "csv")))) == CLAIMS
        head, _, *lines = printed("claims", "--format", "markdown").splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, *lines)]
        values = [[value.strip() for value in claim.values()] for claim in CLAIMS]
        assert cells == [list(CLAIMS[0]), *values]

    def test_markdown_means_what_it_says(self, printed, monkeypatch):
        claim = CLAIMS[0] | {"ours": "[FC]*2 | FC"}
        monkeypatch.setattr(evidence, "arithmetic_table", lambda: pd.DataFrame([claim]))
        assert r" [FC]\*2 \| FC " in printed("claims", "--format", "markdown")

    def test_piped_text_wraps_is_not_cut_nor_coloured(self, printed):
        text = printed("claims")
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= cli.PAGE
        rows = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
        words = [set(" ".join(column).split()) for column in zip(*rows, strict=True)]
        for claim in CLAIMS:
            for place, column in enumerate(("claim", "the note says", "ours", "outcome"), 1):
                assert set(claim[column].split()) <= words[place]

    def test_in_a_terminal_it_wraps(self, printed, monkeypatch):
        terminal = Console(width=72, force_terminal=True, color_system=None)
        monkeypatch.setattr("rich.console.Console", lambda: terminal)
        lines = printed("claims").splitlines()
        assert max(map(len, lines)) == 72
        assert "".join(lines).count("that") == 12 * len(CLAIMS)

    def test_where_nothing_is_published(self, run, monkeypatch):
        monkeypatch.setattr(evidence, "empirical_table", pd.DataFrame)
        status, out, said = run("claims", "--format", "json")
        assert (status, json.loads(out)) == (0, CLAIMS[:1])
        configs = Path(cnnlab.__file__).parents[1] / "configs"
        assert said == f"no claims that take training: looked in {configs}\n"

    def test_records_that_do_not_belong(self, run, monkeypatch):
        def refuse():
            raise evidence.ForeignRecord("cpu.jsonl: arm 'a' is not known")

        monkeypatch.setattr(evidence, "empirical_table", refuse)
        assert run("claims") == (2, "", "error: cpu.jsonl: arm 'a' is not known\n")

    def test_one_that_disagrees(self, run, monkeypatch):
        table = pd.DataFrame([*CLAIMS, CLAIMS[0] | {"outcome": "disagrees"}])
        monkeypatch.setattr(evidence, "arithmetic_table", lambda: table)
        status, out, _ = run("claims", "--format", "csv")
        assert status == 1
        assert "disagrees" in out


class TestDemo:
    def test_a_page_of_the_options(self, printed, tmp_path):
        file = tmp_path / "page.html"
        settings = {"size": 7, "depth": 1, "filters": 3, "kernel": 5, "stride": 1, "padding": 2}
        given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        assert printed("demo", "convolution", *given, "--out", str(file)) == f"{file}\n"
        assert file.read_text(encoding="utf-8") == demo.convolution(**settings).html

    def test_without_options(self, printed, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert printed("demo", "pooling") == "pooling.html\n"
        assert Path("pooling.html").read_text(encoding="utf-8") == demo.pooling().html

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["pooling", "--kind", "mx"], "choices: max, avg, l2; did you mean 'max'?\n"),
            (["pooling", "--size", "x"], "--size: invalid int value: 'x'\n"),
            (["convolution", "--size", "11"], "at most 10, to be readable; got 11\n"),
            (["convolution", "--stride", "3"], "kernel 1 or 4, input size 4 or 7\n"),
            (["convolution", "--out", "no/such.html"], "no/such.html: No such file or directory\n"),
            (["convolutoin"], "did you mean 'convolution'?\n"),
            ([], "required: DEMO\n"),
        ],
    )
    def test_mistakes(self, refused, monkeypatch, tmp_path, arguments, said):
        monkeypatch.chdir(tmp_path)
        found = refused("demo", *arguments)
        assert found.endswith(said)
        assert found.count("\n") == 1
        assert list(tmp_path.iterdir()) == []


class TestReport:
    def test_a_page_is_written(self, printed, monkeypatch, tmp_path):
        monkeypatch.setattr(
            evidence, "evidence_page", lambda preset, folder: pages.Page(f"<p>{preset} {folder}")
        )
        monkeypatch.chdir(tmp_path)
        assert printed("report") == "report.html\n"
        assert Path("report.html").read_text() == "<p>None ."
        Path("b").mkdir()
        assert printed("report", "--preset", "cpu", "--out", "b/a.html") == "b/a.html\n"
        assert Path("b/a.html").read_text() == "<p>cpu b"

    def test_mistakes(self, run, monkeypatch, tmp_path):
        monkeypatch.setattr(evidence, "evidence_page", lambda preset, folder: pages.Page(""))
        status, _, said = run("report", "--out", str(tmp_path / "gone" / "a.html"))
        assert (status, said.startswith("error: ")) == (2, True)
        assert "gone" in said

        def refuse(preset, folder):
            raise evidence.ForeignRecord("cpu.jsonl: arm 'a' is not known")

        monkeypatch.setattr(evidence, "evidence_page", refuse)
        assert run("report") == (2, "", "error: cpu.jsonl: arm 'a' is not known\n")


COMMAND = Path(sys.executable).with_name("cnnlab")
SLOW = (
    "pandas orbax optax tensorflow_datasets matplotlib sklearn cv2 cnnlab.training cnnlab.evidence"
)


class TestProcess:
    def test_nobody_reads_the_rest(self):
        """A closed pipe is no error: nothing is said of it."""
        reading, writing = os.pipe()
        os.close(reading)
        call = subprocess.run(
            [COMMAND, "summary", "resnet110"], stdout=writing, stderr=subprocess.PIPE, text=True
        )
        os.close(writing)
        assert (call.returncode, call.stderr) == (141, "")

    def test_loads_only_what_it_needs(self):
        program = f"""
            import sys, cnnlab
            from cnnlab import cli
            status = cli.main(["models"]) or cli.main(["summary", "linear"])
            print(status, [name for name in {SLOW!r}.split() if name in sys.modules])
        """
        words = [sys.executable, "-c", "\n".join(map(str.strip, program.splitlines()))]
        call = subprocess.run(words, capture_output=True, text=True, check=True)
        assert call.stdout.splitlines()[-1] == "0 []"
