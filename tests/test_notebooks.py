"""The .ipynb twins of the chapters, and the links to the repository they are published in."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))

from notebooks import twins  # noqa: E402
from plain_markdown import Book, Writer  # noqa: E402
from publishing import repository_options  # noqa: E402

from geobasin import GeoBasinError  # noqa: E402

CHAPTERS = sorted(
    path.stem for path in BOOK.glob("*.md") if "```{code-cell}" in path.read_text(encoding="utf-8")
)
# What MyST knows and Jupyter would show as it stands.
LEFTOVERS = re.compile(
    r"(`{3,}|~{3,}|:{3,})\{"  # a directive
    r"|^:{3,}"  # the end of one
    r"|(?<!`)\{[a-z][\w:-]*\}`"  # a role
    r"|^\([\w:-]+\)=\s*$"  # a target
    r"|\$\$ *\([\w:-]+\)"  # the label of a formula
    r"|^:(label|class|name|alt|width):"  # an option
    r"|\]\([\w-]+\.md\)"  # a link to a source that has a twin
    r"|(?<=[\])`])\{[.#]",  # attributes
    re.MULTILINE,
)
HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
HOME = (
    HEADER
    + """# Home

Begin with {doc}`the first <first>`, then read {doc}`second`. {eq}`eq-two` is far away.

```{math}
:label: eq-home
0 = 0
```

```{code-cell} ipython3
1 + 1
```
"""
)
FIRST = (
    HEADER
    + """# One

$$a = b$$ (eq-one)

Without a number:

$$c = d$$

> A quotation of {eq}`eq-one`.

```{admonition} Takeaway
:class: tip
Inside, too:

$$
e = f
$$ (eq-inner)
```

```{exercise-start} A title
:label: ex-first
```
Show {eq}`eq-inner` with `{eq}` in mind.
```{exercise-end}
```

````{solution-start} ex-first
:class: dropdown
````
So.

```{code-cell} ipython3
:tags: [hide-input]
2 + 2
```
And so on.
````{solution-end}
````

Thus {cite}`kingma2015` and {cite:t}`papyan2020`.
"""
)
SECOND = (
    HEADER
    + """# Two

:::{note}
Later: {math}`x` and {ref}`here <the-end>`.
:::

```{math}
:label: eq-two
x &= y \\\\
y &= z
```

- an item with

  ```{math}
  :label: eq-item
  u = v
  ```

```{exercise-start}
:label: ex-second
```
Use {eq}`eq-one`.
```{exercise-end}
```

```{code-cell} ipython3
:tags: [remove-cell]
from myst_nb import glue

glue("answer", 42, display=False)
```

(the-end)=
## The end
"""
)


def markdown(twin: str) -> str:
    """All Markdown of a twin."""
    cells = json.loads(twin)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def write(source: str) -> str:
    """One cell of Markdown, in a book that has no labels."""
    return Writer("page", Book(titles={"page": "Page"})).markdown(source)


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return {path.stem: text for path, text in twins(ROOT).items()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of three pages with the real configuration, and its twins beside the pages."""
    root = tmp_path_factory.mktemp("small")
    (root / "book").mkdir()
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"
    (root / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for name in ("_ext", "_static"):
        shutil.copytree(BOOK / name, root / "book" / name)
    shutil.copy(BOOK / "references.bib", root / "book")
    shutil.copy(BOOK / "bibliography.md", root / "book")
    for name, text in (("home", HOME), ("first", FIRST), ("second", SECOND)):
        (root / "book" / f"{name}.md").write_text(text, encoding="utf-8")
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/home\nparts:\n  - numbered: 1\n    chapters:\n"
        "      - file: book/first\n      - file: book/second\n"
        "  - chapters:\n      - file: book/bibliography\n",
        encoding="utf-8",
    )
    for path, text in twins(root).items():
        path.write_text(text, encoding="utf-8")
    return root


Build = Callable[[str], dict[str, str]]


@pytest.fixture(scope="module")
def build(small: Path) -> Build:
    """Builds the small book for a repository's address and gives its pages."""

    def pages(address: str) -> dict[str, str]:
        program = Path(sysconfig.get_path("scripts")) / "jupyter-book"
        done = subprocess.run(
            [program, "build", ".", "--all", "-W", "--keep-going"],
            cwd=small,
            env=os.environ | {"PYTHONPATH": str(ROOT), "GEOBASIN_REPOSITORY": address},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        html = small / "_build" / "html" / "book"
        return {path.stem: path.read_text(encoding="utf-8") for path in html.glob("*.html")}

    return pages


def test_every_chapter_has_its_twin_and_no_twin_is_old(written: dict[str, str]) -> None:
    assert sorted(written) == CHAPTERS
    committed = {path.stem: path.read_text(encoding="utf-8") for path in BOOK.glob("*.ipynb")}
    old = sorted(name for name in committed if committed[name] != written.get(name))
    missing = sorted(written.keys() - committed.keys())
    assert (old, missing) == ([], []), "make notebooks writes them"


def test_the_same_chapters_give_the_same_bytes(written: dict[str, str]) -> None:
    assert {path.stem: text for path, text in twins(ROOT).items()} == written


@pytest.mark.parametrize("name", CHAPTERS)
def test_twin_is_a_valid_notebook_without_outputs(name: str, written: dict[str, str]) -> None:
    notebook = nbformat.reads(written[name], as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.source.strip()
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert "myst_nb" not in cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_twin_has_all_code_and_all_formulas_of_its_chapter(
    name: str, written: dict[str, str]
) -> None:
    source = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(written[name])["cells"] if cell["cell_type"] == "code"]
    assert len(cells) - 1 == source.count("```{code-cell}")
    labels = re.findall(r":label: eq-|\$\$ *\(eq-", source)
    assert markdown(written[name]).count(r"\tag{") == len(labels)
    for heading in re.findall(
        r"^#+ [^{\n]+$", re.sub(r"(?ms)^```.*?^```", "", source), re.MULTILINE
    ):
        assert heading in markdown(written[name])


@pytest.mark.parametrize("name", CHAPTERS)
def test_nothing_of_myst_is_left(name: str, written: dict[str, str]) -> None:
    assert LEFTOVERS.search(markdown(written[name])) is None


def test_leftovers_would_be_seen() -> None:
    for source in (HOME, FIRST, SECOND):
        assert LEFTOVERS.search(source)


def test_links_between_twins_lead_somewhere(written: dict[str, str]) -> None:
    for text in written.values():
        for target in re.findall(r"\]\(([\w.-]+)\)", markdown(text)):
            assert (BOOK / target).exists(), target


def test_first_cell_does_nothing_where_geobasin_is_installed(
    written: dict[str, str], tmp_path: Path
) -> None:
    done = run_first_cell(written["cantor"], tmp_path, "-I")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_first_cell_says_what_to_do_where_no_repository_is_known(
    small: Path, tmp_path: Path
) -> None:
    text = (small / "book" / "first.ipynb").read_text(encoding="utf-8")
    # Without site-packages GeoBasin cannot be found.
    done = run_first_cell(text, tmp_path, "-I", "-S")
    assert done.returncode == 1
    assert "clone" in done.stderr.splitlines()[-1]


def test_first_cell_takes_the_repository_of_the_configuration(small: Path, tmp_path: Path) -> None:
    root = tmp_path / "known"
    shutil.copytree(small, root, ignore=shutil.ignore_patterns("_build"))
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    address = "https://github.com/someone/geobasin"
    config["repository"]["url"] = address
    (root / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    text = twins(root)[root / "book" / "first.ipynb"]
    recorder = (
        "class Shell:\n"
        "    def system(self, line): print('!', line)\n"
        "    def run_line_magic(self, name, line): print(name, line)\n"
        "def get_ipython(): return Shell()\n"
    )
    done = run_first_cell(text, tmp_path, "-I", "-S", before=recorder)
    assert done.stdout.splitlines() == [
        "! git clone --quiet --depth 1 {REPOSITORY} geobasin-clone",
        "cd -q geobasin-clone/book",
        'pip install --quiet "..[all]"',
    ]
    assert f'REPOSITORY = "{address}"' in text.replace('\\"', '"')


def run_first_cell(
    twin: str, folder: Path, *options: str, before: str = ""
) -> subprocess.CompletedProcess[str]:
    cell = "".join(json.loads(twin)["cells"][0]["source"])
    script = before + TransformerManager().transform_cell(cell)
    return subprocess.run(
        [sys.executable, *options, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_small_twins_read_as_they_should(small: Path) -> None:
    cells = json.loads((small / "book" / "first.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert sources[1].startswith(
        "# One\n\n$$\na = b\n\\tag{1.1}\n$$\n\nWithout a number:\n\n$$c = d$$"
    )
    assert "> A quotation of (1.1)." in sources[1]
    assert "> **Takeaway**\n>\n> Inside, too:\n>\n> $$\n> e = f\n> \\tag{1.2}\n> $$" in sources[1]
    assert "**Exercise 1.1 (A title)**\n\nShow (1.2) with `{eq}` in mind." in sources[1]
    assert sources[1].endswith(
        "<details>\n<summary>Solution of Exercise 1.1</summary>\n\nSo.\n\n</details>"
    )
    assert cells[2]["metadata"] == {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    assert "Solution of Exercise 1.1, continued</summary>\n\nAnd so on." in sources[3]
    assert "Thus [Kingma and Ba 2015] and Papyan et al. (2020)." in sources[3]
    assert sources[4].startswith("## Sources\n\n- [Kingma and Ba 2015] Diederik P. Kingma")

    second = (small / "book" / "second.ipynb").read_text(encoding="utf-8")
    assert "> **Note**\n>\n> Later: $x$ and here." in markdown(second)
    assert "\\begin{split}\nx &= y \\\\\ny &= z\n\\end{split}" in markdown(second)
    assert "  $$\n  u = v\n  \\tag{2.2}\n  $$" in markdown(second)
    assert "Use [(1.1)](first.ipynb)." in markdown(second)
    assert "(the-end)" not in markdown(second)

    home = (small / "book" / "home.ipynb").read_text(encoding="utf-8")
    assert "[the first](first.ipynb), then read [Two](second.ipynb)" in markdown(home)


def test_glued_values_are_printed(small: Path) -> None:
    cells = json.loads((small / "book" / "second.ipynb").read_text(encoding="utf-8"))["cells"]
    (cell,) = ["".join(c["source"]) for c in cells[1:] if c["cell_type"] == "code"]
    done = subprocess.run([sys.executable, "-c", cell], capture_output=True, text=True, check=True)
    assert done.stdout == "answer = 42\n"


def test_authors_keep_all_their_names_and_equal_citations_are_told_apart(
    small: Path, tmp_path: Path
) -> None:
    root = tmp_path / "cited"
    shutil.copytree(small, root, ignore=shutil.ignore_patterns("_build"))
    entry = "@misc{{{key}, author={{{author}}}, title={{{title}}}, year={{1999}}}}\n"
    (root / "book" / "references.bib").write_text(
        entry.format(key="kingma2015", author="van der Berg, Anna", title="A. Title")
        + entry.format(key="papyan2020", author="van der Berg, Anna", title="Another-one"),
        encoding="utf-8",
    )
    text = markdown(twins(root)[root / "book" / "first.ipynb"])
    assert "Thus [van der Berg 1999a] and van der Berg (1999b)." in text
    assert "- [van der Berg 1999b] Anna van der Berg. Another-one. 1999." in text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("```{mystery}\n```", "directive {mystery}"),
        ("A {mystery}`word`.", "role {mystery}"),
        ("See {eq}`eq-nowhere`.", "label eq-nowhere"),
        ("See {cite}`nobody1900`.", "citation nobody1900"),
        ("See {doc}`nowhere`.", "page nowhere"),
        ("```{note}\nnever closed", "never closed"),
    ],
)
def test_what_the_twins_do_not_know_is_refused(source: str, words: str) -> None:
    with pytest.raises(GeoBasinError, match=re.escape(words)):
        write(source)


@pytest.mark.parametrize(
    "source",
    [
        "Code `{eq}` and ``{doc}`x` `` stay.",
        "```python\nx = {1: 2}  # {eq}`a`\n```",
        "| a | b |\n|---|---|\n| `x` | $y$ |",
        "$$\na = b\n$$",
        r"Text with $\frac{a}{b}$ and {braces}.",
    ],
)
def test_plain_markdown_stays_as_it_is(source: str) -> None:
    assert write(source) == source


def test_numbers_and_links_agree_with_the_built_pages(build: Build, small: Path) -> None:
    pages = build("")
    for name in ("home", "first", "second"):
        twin = markdown((small / "book" / f"{name}.ipynb").read_text(encoding="utf-8"))
        shown = re.findall(r'class="eqno">\(([\d.]+)\)', pages[name])
        assert re.findall(r"\\tag\{(.+?)\}", twin) == shown
        exercises = re.findall(r'class="caption-number">\s*(Exercise [\d.]+)', pages[name])
        assert re.findall(r"\*\*(Exercise [\d.]+)", twin) == exercises
    assert re.findall(r'class="eqno">', pages["first"])
    # No repository is known, so nothing points to one.
    for text in pages.values():
        assert not re.search(r"github\.com|gitlab\.com|mybinder|colab", text)


def test_a_known_repository_is_linked_and_launched(build: Build) -> None:
    page = build("https://github.com/someone/geobasin.git")["first"]
    links = set(re.findall(r'href="(https://[^"]+)"', page))
    assert {
        "https://github.com/someone/geobasin",
        "https://mybinder.org/v2/gh/someone/geobasin/main?urlpath=lab/tree/book/first.ipynb",
        "https://colab.research.google.com/github/someone/geobasin/blob/main/book/first.ipynb",
    } <= links
    assert not re.search(r'(src|<link[^>]*href)="https://', page)


def test_a_repository_outside_github_has_no_button_for_colab() -> None:
    buttons = {"binderhub_url": "https://binder", "colab_url": "https://colab"}
    shown = repository_options("https://gitlab.com/someone/geobasin/", buttons)
    assert shown == {
        "launch_buttons": {"binderhub_url": "https://binder"},
        "repository_url": "https://gitlab.com/someone/geobasin",
        "use_repository_button": True,
    }


@pytest.mark.parametrize("address", ["someone/geobasin", "http://github.com/a/b", "https://x.org"])
def test_an_address_that_cannot_be_linked_is_refused(address: str) -> None:
    with pytest.raises(ExtensionError, match="GEOBASIN_REPOSITORY"):
        repository_options(address, {})


def test_pages_are_published_after_the_tests_by_official_actions() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    commands = [step["run"] for step in build["steps"] if "run" in step]
    assert commands.index("make test") < commands.index("make book")
    used = [step["uses"] for step in build["steps"] + publish["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)
    assert build["steps"][-1]["with"]["path"] == "_build/html"
    assert publish["needs"] == "build"
    # YAML reads the word "on" as true.
    assert workflow[True]["push"] == {"branches": ["main"]}
