"""The README: its example runs as printed, its pictures and results are what the code gives."""

import re
import sys
from pathlib import Path

import pytest

from geobasin import GeoBasinError
from geobasin.__main__ import main
from geobasin.figures.cantor import soft_staircase
from geobasin.ladder import OURS

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "book" / "runs"
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from headline import LADDERS, headline, picture, read_ladders, with_headline  # noqa: E402

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_library_example_runs_and_prints_what_it_says(capsys) -> None:
    (code,) = blocks("python")
    exec(code, {})
    accuracy, alpha, weights, thirds = capsys.readouterr().out.splitlines()
    assert 0.9 < float(accuracy) <= 1
    assert 0 < float(alpha) < 1
    assert "crystal" in weights
    assert "middle" in thirds


def test_commands_are_known(capsys) -> None:
    named = re.findall(r"python -m geobasin (\w+)", README)
    for command in {*named, "seal", "verify"}:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        assert f"geobasin {command}" in capsys.readouterr().out


def test_pictures_are_what_the_code_draws(tmp_path: Path) -> None:
    plates = {"staircase": soft_staircase(tau=0.05), "results": picture(RUNS)}
    for name, plate in plates.items():
        plate.save(tmp_path / f"{name}.svg")
    named = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert [Path(name).stem for name in named] == list(plates)
    for name in named:
        assert (ROOT / name).read_bytes() == (tmp_path / Path(name).name).read_bytes()


def test_results_are_those_of_the_sealed_runs() -> None:
    assert with_headline(README, headline(RUNS)) == README


def test_results_agree_with_the_predictions_themselves() -> None:
    rows = [line for line in README.splitlines() if f"{OURS} or the best of" in line]
    assert len(rows) == len(LADDERS)
    for row, ladder in zip(rows, read_ladders(RUNS).values(), strict=True):
        shares = {o.name: (o.predictions == ladder.labels).mean() for o in ladder.outcomes}
        rivals = {name: share for name, share in shares.items() if not name.startswith(OURS)}
        best = max(rivals, key=rivals.__getitem__)
        ours, theirs, ahead, low, high = map(float, re.findall(r"[-+]?\d+\.\d\d", row))
        assert best in row
        assert (ours, theirs) == pytest.approx((100 * shares[OURS], 100 * rivals[best]), abs=0.005)
        assert ahead == pytest.approx(100 * (shares[OURS] - rivals[best]), abs=0.005)
        words = {(True, True): "ahead", (False, False): "behind"}
        assert low <= ahead <= high
        assert row.endswith(f"| {words.get((low > 0, high > 0), 'no difference found')} |")


def test_a_readme_without_its_comments_is_refused() -> None:
    with pytest.raises(GeoBasinError, match="lost the comments"):
        with_headline("# GeoBasin", "| a |")


def test_files_it_names_are_there() -> None:
    for name in ("requirements.lock", "environment.yml", "CITATION.cff"):
        assert name in README
        assert (ROOT / name).is_file()
