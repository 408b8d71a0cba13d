"""The book's machinery, on a small book made of the real configuration and chapter 1."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))

from own_origin import mathjax_folder  # noqa: E402
from page_repairs import repaired  # noqa: E402

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
    """A built book of chapter 1 and the list of sources."""
    toc = (
        "root: book/bibliography\nparts:\n  - caption: Chapters\n    numbered: 1\n"
        "    chapters:\n      - file: book/cantor\n"
    )
    folder = small_book(tmp_path_factory.mktemp("site"), toc, "bibliography.md", "cantor.md")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


@pytest.mark.parametrize("page", ["book/cantor.html", "book/bibliography.html", "search.html"])
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
    assert "tex-chtml.js" in (site / "book" / "cantor.html").read_text(encoding="utf-8")
    assert "tex-chtml.js" not in (site / "search.html").read_text(encoding="utf-8")


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
