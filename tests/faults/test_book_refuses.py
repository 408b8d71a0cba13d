"""A chapter that reads a sealed run shows nothing when a byte of the run has changed."""

import ast
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geobasin.errors import GeoBasinError
from geobasin.seal import MANIFEST

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
RUN = re.compile(r"Path\('runs/([\w.-]+)'\)")
FENCE = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def statements(chapter: Path) -> Iterator[ast.stmt]:
    """What the cells of a chapter do, in order, without their options and magics."""
    for code in FENCE.findall(chapter.read_text(encoding="utf-8")):
        yield from ast.parse(re.sub(r"^(:\w|%|!).*$", "", code, flags=re.MULTILINE)).body


def first_calls(chapter: Path) -> dict[str, tuple[str, str]]:
    """For each sealed run that a chapter names: what was imported by then, and its first call."""
    found: dict[str, tuple[str, str]] = {}
    imports: list[str] = []
    named: dict[str, str] = {}
    for statement in statements(chapter):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports.append(ast.unparse(statement))
        # Innermost first, so that print(read(run)) counts as a call of read.
        for node in reversed(list(ast.walk(statement))):
            if not isinstance(node, ast.Call) or RUN.fullmatch(ast.unparse(node)):
                continue
            for place, argument in enumerate(node.args):
                match = RUN.fullmatch(named.get(ast.unparse(argument), ast.unparse(argument)))
                if match is not None:
                    # The seal comes first, whatever else the call is given.
                    nothing = ["None"] * len(node.args)
                    nothing[place] = match[0]
                    call = f"{ast.unparse(node.func)}({', '.join(nothing)})"
                    found.setdefault(match[1], ("\n".join(imports), call))
        if isinstance(statement, ast.Assign) and RUN.fullmatch(ast.unparse(statement.value)):
            named[ast.unparse(statement.targets[0])] = ast.unparse(statement.value)
    return found


READINGS = [
    pytest.param(run, imports, call, id=f"{path.stem}-{run}")
    for path in sorted(BOOK.glob("*.md"))
    for run, (imports, call) in first_calls(path).items()
]


def test_every_run_that_a_chapter_names_is_sealed_and_read_by_a_call() -> None:
    assert READINGS
    for path in sorted(BOOK.glob("*.md")):
        cells = "".join(FENCE.findall(path.read_text(encoding="utf-8")))
        runs = set(re.findall(r"""["']runs/([\w.-]+)""", cells))
        assert runs == first_calls(path).keys(), path.name
        for run in runs:
            assert (BOOK / "runs" / run / MANIFEST).is_file(), f"{path.name} reads {run}"


@pytest.mark.parametrize(("run", "imports", "call"), READINGS)
@pytest.mark.fault("a run that a chapter reads", "one flipped bit in a file", times=3, campaign=24)
def test_a_chapter_refuses_a_run_whose_seal_is_broken(
    fault, run: str, imports: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(call)
    shutil.copytree(BOOK / "runs" / run, tmp_path / "runs" / run)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / run
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    names: dict[str, Any] = {}
    exec(imports, names)
    for _ in fault.tries():
        with fault:
            path = draw.choice([path for path in files if path.name != MANIFEST])
            good = path.read_bytes()
            place = draw.randrange(8 * len(good))
            bad = bytearray(good)
            bad[place // 8] ^= 1 << place % 8
            path.write_bytes(bad)
            with pytest.raises(GeoBasinError, match=re.escape(path.relative_to(folder).as_posix())):
                exec(call, names)
            path.write_bytes(good)
