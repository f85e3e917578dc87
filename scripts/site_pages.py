"""The pages of the site that stand elsewhere in the project: made by `make docs`, kept nowhere.

The README and CONTRIBUTING are cut into pages; a claim's page is its config's docstring and its
published reports; every module has a page of its docstrings. Links between files of the project
become links between pages, and a file that has no page loses its link.
"""

import ast
import contextlib
import io
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import mkdocs_gen_files
from nbconvert import MarkdownExporter

from cnnlab import cli, demo
from cnnlab.evidence.ablation import Ablation, load_ablations
from cnnlab.evidence.arithmetic import arithmetic_table
from cnnlab.evidence.published import PRESETS

ROOT = Path(__file__).parents[1]
STARTED = ("In a notebook", "At the command line", "Experiments")
NAVIGATION = """\
* [Home](index.md)
* [Getting started](getting-started.md)
* [Pattern language](pattern-language.md)
* Claims
{claims}
* Look
    * [Demos](demos/index.md)
{notebooks}
* How to
    * [Add a claim, a network, a data set](contributing.md)
    * [Find things: the house](house.md)
    * [Performance](performance.md)
    * [Scaling](scaling.md)
* Reference
{reference}
"""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:]+)\)")


def main() -> None:
    """Write all pages and the navigation."""
    readme = _sections((ROOT / "README.md").read_text())
    write("index.md", readme[""] + readme["Two commands"] + readme["What was found"])
    write("getting-started.md", "# Getting started\n\n" + "".join(readme[each] for each in STARTED))
    write("house.md", "# The house\n\n" + readme["Where things are"])
    write("pattern-language.md", _pattern_language())
    write("contributing.md", (ROOT / "CONTRIBUTING.md").read_text())
    for page in (ROOT / "docs").glob("*.md"):
        write(page.name, page.read_text(), "docs")
    demos()
    parts = {"claims": claims, "notebooks": notebooks, "reference": reference}
    lines = {name: "\n".join(written()) for name, written in parts.items()}
    with mkdocs_gen_files.open("SUMMARY.md", "w") as file:
        file.write(NAVIGATION.format(**lines))


def write(page: str, text: str, folder: str = ".") -> None:
    """Write a page from text of the project's `folder`, which its links start from."""

    def link(match: re.Match[str]) -> str:
        words, target = match[1], page_of(posixpath.normpath(posixpath.join(folder, match[2])))
        if target is None:
            return words
        return f"[{words}]({posixpath.relpath(target, posixpath.dirname(page) or '.')})"

    with mkdocs_gen_files.open(page, "w") as file:
        file.write(_LINK.sub(link, text))


def page_of(file: str) -> str | None:
    """The page on which a file of the project stands, if there is one."""
    match file.split("/"):
        case ["README.md"]:
            return "index.md"
        case ["CONTRIBUTING.md"]:
            return "contributing.md"
        case ["docs", page]:
            return page
        case ["results", "README.md"]:
            return "claims/index.md"
        case ["results", name, _]:
            return f"claims/{name}/index.md"
        case ["cnnlab", *_] if file.endswith(".py"):
            return f"reference/{file.replace('__init__', 'index').removesuffix('.py')}.md"
    return None


def claims() -> Iterator[str]:
    """Write the claims' pages; gives their lines of the navigation."""
    overview = (ROOT / "results" / "README.md").read_text()
    write("claims/index.md", re.split(r"(?m)^## [A-Z]\d+:", overview, maxsplit=1)[0], "results")
    yield "    * [What was found](claims/index.md)"
    table = arithmetic_table().to_markdown(index=False)
    write("claims/arithmetic.md", f"# Arithmetic claims\n\nAs computed here.\n\n{table}\n")
    yield "    * [Arithmetic](claims/arithmetic.md)"
    for ablation in load_ablations(ROOT / "configs", "paper"):
        page = f"claims/{ablation.name}/index.md"
        write(page, _claim(ablation), f"results/{ablation.name}")
        for picture in (ROOT / "results" / ablation.name).glob("*.png"):
            with mkdocs_gen_files.open(f"claims/{ablation.name}/{picture.name}", "wb") as file:
                file.write(picture.read_bytes())
        yield f"    * [{ablation.claim.title}]({page})"


def demos() -> None:
    """Write the demos, and a page that shows them."""
    frames = ["# Demos"]
    for name in demo.__all__:
        made = getattr(demo, name)()
        with mkdocs_gen_files.open(f"demos/{name}.html", "w") as file:
            file.write(made.html)
        frames.append(
            f"## {name.capitalize()}\n\n"
            f'<iframe src="{name}.html" title="{name}" width="100%" height="{made.height}" '
            f'frameborder="0"></iframe>\n\n[In a window of its own]({name}.html){{target=_blank}}'
        )
    with mkdocs_gen_files.open("demos/index.md", "w") as file:
        file.write("\n\n".join(frames))


def notebooks() -> Iterator[str]:
    """Write the notebooks with what they printed; gives their lines of the navigation."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"), key=lambda path: path.stem != "tour"):
        files = {"output_files_dir": path.stem}
        text, made = MarkdownExporter().from_filename(str(path), resources=files)
        write(f"notebooks/{path.stem}.md", text)
        for name, content in made["outputs"].items():
            with mkdocs_gen_files.open(f"notebooks/{name}", "wb") as file:
                file.write(content)
        yield f"    * [{text.strip().splitlines()[0].removeprefix('# ')}](notebooks/{path.stem}.md)"


def reference() -> Iterator[str]:
    """Write a page for each module; gives their lines of the navigation."""
    for path in sorted(
        (ROOT / "cnnlab").rglob("*.py"), key=lambda path: path.with_suffix("").parts
    ):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        page = page_of(path.relative_to(ROOT).as_posix())
        assert page
        write(page, f"# {module}\n\n::: {module}\n")
        yield f"{'    ' * len(module.split('.'))}* [{module}]({page})"


def _sections(text: str) -> dict[str, str]:
    """A document's sections of the second level by their headings; what precedes them by ""."""
    first, *others = re.split(r"(?m)^(?=## )", text)
    return {"": first} | {each.splitlines()[0].removeprefix("## "): each for each in others}


def _docstring(file: Path) -> tuple[str, str]:
    """The first line of a module's docstring, without the label before a colon, and the rest."""
    first, _, rest = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")
    line = first.partition(": ")[2]
    return line[:1].upper() + line[1:], rest


def _pattern_language() -> str:
    line, rest = _docstring(ROOT / "cnnlab" / "models" / "pattern.py")
    with contextlib.redirect_stdout(io.StringIO()) as table:
        cli.main(["models", "--format", "markdown"])
    named = f"## Networks by name\n\n{table.getvalue()}"
    return f"# The pattern language\n\n{line}\n{rest}\n\n{named}\n"


def _claim(ablation: Ablation) -> str:
    """A claim's page: what its config says of it, then its published reports."""
    parts = [f"# {ablation.claim.title}", *_docstring(ROOT / "configs" / f"{ablation.name}.py")]
    for preset in PRESETS:
        report = ROOT / "results" / ablation.name / f"{preset}.md"
        if report.exists():
            parts += [f"## Preset `{preset}`", report.read_text().partition("\n")[2]]
    return "\n\n".join(parts)


main()
