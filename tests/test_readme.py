"""The README: its library example runs as printed, its picture is what the code draws."""

import re
from pathlib import Path

import pytest

from geobasin.__main__ import main
from geobasin.figures.cantor import soft_staircase

ROOT = Path(__file__).parents[1]
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


def test_picture_is_what_the_code_draws(tmp_path: Path) -> None:
    (name,) = re.findall(r"!\[.*?\]\((.*?)\)", README)
    soft_staircase(tau=0.05).save(tmp_path / "again.svg")
    assert (ROOT / name).read_bytes() == (tmp_path / "again.svg").read_bytes()


def test_files_it_names_are_there() -> None:
    for name in ("requirements.lock", "environment.yml", "CITATION.cff"):
        assert name in README
        assert (ROOT / name).is_file()
