"""The book's machinery, on a small book made of the real configuration and chapter 1."""

import base64
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))

from figure_files import moved  # noqa: E402
from own_origin import mathjax_folder  # noqa: E402
from page_repairs import repaired  # noqa: E402
from run_time import told  # noqa: E402
from style_rules import Names, needed  # noqa: E402

CHAPTERS = [
    Path(chapter["file"]).name
    for part in yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    if part.get("numbered")
    for chapter in part["chapters"]
]
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)

# The final style of every element of a page, and of what style sheets add before and after it.
LOOKS = """async (folder) => {
  await Promise.allSettled(document.getAnimations().map(({ finished }) => finished));
  const looks = [];
  for (const element of document.querySelectorAll("body *")) {
    for (const part of [null, "::before", "::after"]) {
      const style = getComputedStyle(element, part);
      if (part && ["none", "normal"].includes(style.content)) continue;
      const names = [...style].filter((name) => !name.startsWith("--")).sort();
      const values = names.map((name) => `${name}: ${style.getPropertyValue(name)}`).join("; ");
      looks.push(`${element.outerHTML.slice(0, 60)} ${part} ${values}`.replaceAll(folder, ""));
    }
  }
  return looks;
}"""

BANNERS_OPENED = "document.querySelector('.pst-async-banner-revealer').style.height === 'auto'"

NOTEBOOK = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A page

```{code-cell} ipython3
from pathlib import Path

print("read", Path("data.txt").read_text())
```
"""


def small_book(folder: Path, toc: str, *chapters: str) -> Path:
    """Lay out a book with the real configuration and the chapters named."""
    (folder / "book").mkdir(parents=True)
    shutil.copy(ROOT / "_config.yml", folder)
    for name in ("_ext", "_static"):
        shutil.copytree(BOOK / name, folder / "book" / name)
    for name in ("references.bib", *chapters):
        shutil.copy(BOOK / name, folder / "book")
    ladder = Path("runs", "digits-ladder")
    shutil.copytree(BOOK / ladder, folder / "book" / ladder)
    (folder / "_toc.yml").write_text(f"format: jb-book\n{toc}", encoding="utf-8")
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build a book as ``make book`` does."""
    program = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    command = [program, "build", ".", "--all", "-W", "--keep-going"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built book of chapter 1, the list of sources and the status page."""
    toc = (
        "root: book/bibliography\nparts:\n  - caption: Chapters\n    numbered: 1\n"
        "    chapters:\n      - file: book/cantor\n  - chapters:\n      - file: book/status\n"
    )
    pages = ("bibliography.md", "cantor.md", "status.md")
    folder = small_book(tmp_path_factory.mktemp("site"), toc, *pages)
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


@pytest.mark.parametrize(
    "page", ["book/cantor.html", "book/bibliography.html", "book/status.html", "search.html"]
)
@pytest.mark.parametrize(("width", "mode"), [(390, "light"), (1280, "dark")])
def test_pages_stay_home_and_fit(
    site: Path, browse: Any, serve: Callable[[Path], str], page: str, width: int, mode: str
) -> None:
    address = serve(site)
    with browse(f"{address}/{page}", own=address, width=width, mode=mode) as visit:
        assert visit.foreign == []
        assert visit.faults == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_chapter_works_from_disk(site: Path, browse: Any) -> None:
    address = (site / "book" / "cantor.html").as_uri()
    with browse(address, own=site.as_uri()) as visit:
        slider = visit.page.get_by_role("slider", name="levels", exact=True)
        drawing = visit.page.locator(".geobasin-live svg")
        assert drawing.count() == 1
        before = drawing.inner_html()
        slider.press("ArrowRight")
        assert drawing.inner_html() != before
        assert visit.page.locator("mjx-container").count() > 10
        assert visit.page.locator("mjx-merror").count() == 0
        # A formula without its fonts is set in boxes of the wrong width.
        assert visit.page.evaluate("document.fonts.check('16px MJXTEX')")
        assert visit.foreign == []
        assert visit.faults == []


def test_equations_are_numbered_and_referred_to(site: Path, browse: Any) -> None:
    address = (site / "book" / "cantor.html").as_uri()
    with browse(address, own=site.as_uri()) as visit:
        reference = visit.page.locator('a.reference[href="#equation-eq-staircase"]').first
        assert reference.inner_text() == "(1.2)"
        assert "1.2" in visit.page.locator("#equation-eq-staircase").inner_text()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_figures_follow_the_mode_without_a_frame(site: Path, browse: Any, mode: str) -> None:
    address = (site / "book" / "cantor.html").as_uri()
    with browse(address, own=site.as_uri(), mode=mode) as visit:
        plate = visit.page.locator(".geobasin-plate").first
        assert plate.locator(f".for-{mode}").is_visible()
        assert plate.locator("img:visible").count() == 1
        assert plate.locator("img:visible").get_attribute("alt")
        style = "(el) => { const s = getComputedStyle(el); return [s.padding, s.filter]; }"
        assert plate.locator("img:visible").evaluate(style) == ["0px", "none"]
        assert plate.locator("xpath=..").evaluate(style) == ["0px", "none"]


def test_without_javascript_the_still_drawing_stands_in(site: Path, browse: Any) -> None:
    address = (site / "book" / "cantor.html").as_uri()
    with browse(address, own=site.as_uri(), javascript=False) as visit:
        # The live staircase and the family of alphas.
        pictures = visit.page.locator(".geobasin-plate img:visible")
        assert pictures.count() == 2
        assert "4 levels" in pictures.first.get_attribute("alt")


def test_mathjax_is_loaded_where_there_are_formulas(site: Path) -> None:
    assert "mathjax/startup.js" in (site / "book" / "cantor.html").read_text(encoding="utf-8")
    assert "mathjax/" not in (site / "search.html").read_text(encoding="utf-8")


def test_formulas_are_there_for_screen_readers_and_keyboards(site: Path, browse: Any) -> None:
    address = (site / "book" / "cantor.html").as_uri()
    with browse(address, own=site.as_uri(), width=390) as visit:
        formulas = visit.page.locator("mjx-container")
        assert formulas.locator("mjx-assistive-mml math").count() == formulas.count() > 10
        # A tab stop for each formula that has to be scrolled, and for no other.
        assert visit.page.locator("mjx-container:not([display])[tabindex]").count() == 0
        # In the end, that is: a formula changes its width when its fonts come.
        visit.page.wait_for_function(
            "() => [...document.querySelectorAll('mjx-container[display]')].every("
            "(one) => one.tabIndex === (one.scrollWidth > one.clientWidth ? 0 : -1))"
        )
        before = visit.page.evaluate("scrollX")
        formula = visit.page.locator("mjx-container[tabindex='0']").first
        formula.focus()
        formula.press("ArrowRight")
        visit.page.wait_for_function("(one) => one.scrollLeft > 0", arg=formula.element_handle())
        assert visit.page.evaluate("scrollX") == before


def test_drawings_leave_the_page_as_they_are() -> None:
    drawing = '<svg viewBox="0 0 360 237.6">é</svg>'.encode()
    data = base64.b64encode(drawing).decode()
    page = f'<p><img class="for-dark" alt="a &gt; b" src="data:image/svg+xml;base64,{data}"></p>'
    drawings: dict[str, bytes] = {}
    lighter = moved(page, "../_images", drawings)
    ((name, kept),) = drawings.items()
    assert kept == drawing
    assert lighter == (
        f'<p><img class="for-dark" alt="a &gt; b" src="../_images/{name}" loading="lazy" '
        'width="360" height="238"></p>'
    )
    assert moved(lighter, "../_images", drawings) == lighter


@pytest.mark.parametrize(("mode", "other"), [("light", "dark"), ("dark", "light")])
def test_a_page_fetches_the_drawings_of_its_mode_alone(
    site: Path, browse: Any, serve: Callable[[Path], str], mode: str, other: str
) -> None:
    address = serve(site)
    with browse(f"{address}/book/cantor.html", own=address, mode=mode) as visit:
        plate = visit.page.locator(".geobasin-plate:visible").last
        plate.scroll_into_view_if_needed()
        shown = plate.locator(f".for-{mode}")
        shown.evaluate("(image) => image.decode()")
        asked = visit.page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
        source = "(image) => image.src"
        assert shown.evaluate(source) in asked
        hidden = visit.page.locator(f".for-{other}").evaluate_all("(all) => all.map((i) => i.src)")
        assert hidden
        assert not set(hidden) & set(asked)


@pytest.mark.parametrize(
    ("sheet", "left"),
    [
        (".a{color:red}", ".a{color:red}"),
        (".b{color:red}", ""),
        ("p,.b,.a .b,ul > .a:hover{x:y}", "p,ul > .a:hover{x:y}"),
        (".a:not(.b){x:y}", ".a:not(.b){x:y}"),
        (".a:is(.b,p){x:y}", ".a:is(.b,p){x:y}"),
        (".tip-left{x:y}.tap{x:y}", ".tip-left{x:y}"),
        ("@media print{.b{x:y}.a{x:y}}", "@media print{.a{x:y}}"),
        ("@media print{.b{x:y}}", ""),
        ("@font-face{src:url(b.woff)}", "@font-face{src:url(b.woff)}"),
        (r".w-1\/2{x:y}", r".w-1\/2{x:y}"),
        ("/*! licence */.b{x:y}/* talk */", "/*! licence */"),
    ],
)
def test_rules_that_nothing_can_use_are_left_out(sheet: str, left: str) -> None:
    names = Names(['<p class="a w-1/2">'], ['show("tip-" + side)'])
    assert needed(sheet, names) == left


@pytest.mark.parametrize(("width", "mode"), [(390, "dark"), (1280, "light")])
def test_a_page_looks_the_same_with_the_whole_style_sheets(
    site: Path, browse: Any, tmp_path: Path, width: int, mode: str
) -> None:
    whole = shutil.copytree(site, tmp_path / "whole", ignore=shutil.ignore_patterns("mathjax"))
    theme = Path(find_spec("pydata_sphinx_theme").origin).parent
    book_theme = Path(find_spec("sphinx_book_theme").origin).parent
    for package in (theme, book_theme):
        for sheet in package.rglob("static/styles/*.css"):
            copy = whole / "_static" / "styles" / sheet.name
            assert sheet.stat().st_size >= copy.stat().st_size
            shutil.copy(sheet, copy)
    looks = []
    for folder in (site, whole):
        address = (folder / "book" / "status.html").as_uri()
        with browse(address, own=folder.as_uri(), width=width, mode=mode) as visit:
            # The theme's script opens its place for banners a moment after the page has loaded.
            visit.page.wait_for_function(BANNERS_OPENED)
            visit.page.evaluate("document.getElementById('pst-search-dialog').showModal()")
            looks.append(visit.page.evaluate(LOOKS, folder.as_uri()))
    assert len(looks[0]) > 300
    assert [pair for pair in zip(*looks, strict=True) if pair[0] != pair[1]][:1] == []


def test_only_the_search_page_loads_the_index(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert ("searchindex.js" in page) == (path.name == "search.html"), path


def test_without_a_tex_make_pdf_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [shutil.which("make"), "pdf"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "latexmk" in said[0]


def test_only_the_needed_part_of_mathjax_is_copied(site: Path) -> None:
    copied = {path for path in (site / "_static" / "mathjax").rglob("*") if path.is_file()}
    assert {path.suffix for path in copied} == {".js", ".woff"}
    for path in copied:
        original = mathjax_folder() / path.relative_to(site / "_static" / "mathjax")
        assert path.read_bytes() == original.read_bytes()
    assert sum(path.stat().st_size for path in copied) < 2_000_000


def test_names_and_roles_are_repaired(site: Path, browse: Any) -> None:
    address = (site / "book" / "bibliography.html").as_uri()
    with browse(address, own=site.as_uri()) as visit:
        sources = visit.page.locator(".citation-list")
        entries = re.findall(r"^@", (BOOK / "references.bib").read_text(encoding="utf-8"), re.M)
        assert sources.get_by_role("listitem").count() == len(entries)
        # What is seen on the button is part of its spoken name.
        assert visit.page.get_by_role("button", name=re.compile("Search.*Ctrl")).is_visible()
        assert visit.page.get_by_role("region", name="Book").is_visible()
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert "<th></th>" not in page
        assert "<summary aria-label" not in page
        assert "fontawesome.js" not in page
        assert repaired(page) == page


def source(name: str) -> str:
    """The text of one chapter."""
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_opens_with_its_objectives_and_closes_with_its_takeaway(name: str) -> None:
    text = source(name)
    head = text[: text.index("\n## ")]
    (objectives,) = re.findall(
        r"^```\{admonition\}[^\n]*\n:class: objectives\n(.*?)^```", head, re.M | re.S
    )
    assert len(re.findall(r"^- ", objectives, re.M)) >= 3
    assert "**You need**" in objectives
    assert head.count("```{run-time}\n```") == 1
    takeaway = text.index("```{admonition} Takeaway\n:class: tip\n")
    exercises, reading = text.index("\n## Exercises\n"), text.index("\n## Further reading\n")
    assert text.index("\n## ") < takeaway < exercises < reading
    assert "{cite}" in text[reading:]


@pytest.mark.parametrize("name", CHAPTERS)
def test_exercises_rise_and_every_one_is_solved_by_code_that_runs(name: str) -> None:
    text = source(name)
    asked = re.findall(r"^```\{exercise-start\} (\w[\w-]*)[^\n]*\n:label: ([\w-]+)$", text, re.M)
    assert len(asked) >= 4
    kinds = [kind for kind, _ in asked]
    assert (kinds[0], kinds[-1]) == ("Warm-up", "Open")
    assert {"Predict", "Build"} <= set(kinds)
    solved = re.findall(
        r"^````\{solution-start\} ([\w-]+)\n:class: dropdown\n````\n(.*?)^````\{solution-end\}",
        text,
        re.M | re.S,
    )
    assert [label for label, _ in solved] == [label for _, label in asked]
    for label, solution in solved:
        assert "```{code-cell}" in solution, label


@pytest.mark.parametrize("name", CHAPTERS)
def test_equations_are_named_and_referred_to(name: str) -> None:
    text = source(name)
    whole_book = "".join(map(source, CHAPTERS))
    for label in re.findall(r"^:label: (eq-[\w-]+)$", text, re.M):
        assert f"{{eq}}`{label}`" in whole_book, f"{label} is a number that nobody refers to"


@pytest.mark.parametrize("name", CHAPTERS)
def test_code_fits_beside_the_margin(name: str) -> None:
    for cell in CELL.findall(source(name)):
        assert [line for line in cell.splitlines() if len(line) > 78] == []


@pytest.mark.parametrize(
    ("seconds", "cores", "words"),
    [
        (None, 2, "not measured"),
        (0.2, 2, "less than a second for all cells with 2 CPU cores, measured"),
        (61.4, 1, "61 s for all cells with 1 CPU core, measured"),
        (5.0, None, "5 s for all cells, measured"),
    ],
)
def test_run_time_is_told_and_never_guessed(
    seconds: float | None, cores: int | None, words: str
) -> None:
    assert told(seconds, cores).startswith(words)


def test_chapter_and_status_page_tell_the_same_run_time(site: Path, browse: Any) -> None:
    chapter = (site / "book" / "cantor.html").read_text(encoding="utf-8")
    (seconds,) = re.findall(r"<strong>Run time</strong> (\d+) s for all cells", chapter)
    address = (site / "book" / "status.html").as_uri()
    with browse(address, own=site.as_uri()) as visit:
        rows = visit.page.locator("table:has-text('All pages') tbody tr").all()
        times = {row.locator("td").nth(0).inner_text(): row.locator("td").nth(1) for row in rows}
        listed = {name: float(cell.inner_text()) for name, cell in times.items()}
        # The pages with code, as they stand in the book; the list of sources has none.
        assert list(listed) == ["Cantor geometry", "Status", "All pages"]
        assert round(listed["Cantor geometry"]) == int(seconds)
        parts = listed["Cantor geometry"] + listed["Status"]
        assert listed["All pages"] == pytest.approx(parts, abs=0.11)
        visit.page.get_by_role("link", name="Cantor geometry").last.click()
        assert visit.page.url.endswith("book/cantor.html")


def test_a_build_sees_new_data_and_fails_on_a_raising_cell(tmp_path: Path) -> None:
    folder = small_book(tmp_path / "tiny", "root: book/page\n")
    (folder / "book" / "page.md").write_text(NOTEBOOK, encoding="utf-8")
    data = folder / "book" / "data.txt"
    page = folder / "_build" / "html" / "book" / "page.html"
    for words in ("the first words", "other words"):
        data.write_text(words, encoding="utf-8")
        done = build(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"read {words}" in page.read_text(encoding="utf-8")
    data.unlink()
    done = build(folder)
    assert done.returncode != 0
    assert "FileNotFoundError" in done.stdout + done.stderr


def test_a_build_fails_on_a_missing_reference(tmp_path: Path) -> None:
    folder = small_book(tmp_path / "tiny", "root: book/page\n")
    (folder / "book" / "page.md").write_text("# A page\n\nSee {eq}`nowhere`.\n", encoding="utf-8")
    done = build(folder)
    assert done.returncode != 0
    assert "nowhere" in done.stderr
