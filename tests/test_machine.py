"""What a record says of the code that made it."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from geobasin.machine import _source, versions

ROOT = Path(__file__).parents[1]


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *own, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "geobasin").mkdir()
    (tmp_path / "geobasin" / "a.py").write_text("a = 1\n")
    (tmp_path / "requirements.lock").write_text("torch==2\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_checkout_names_its_commit_and_its_lock(checkout: Path) -> None:
    assert _source(checkout) == {
        "commit": git(checkout, "rev-parse", "HEAD"),
        "lock_sha512": hashlib.sha512(b"torch==2\n").hexdigest(),
    }


@pytest.mark.parametrize("name", ["geobasin/a.py", "geobasin/new.py", "requirements.lock"])
def test_files_that_differ_from_the_commit_are_told(checkout: Path, name: str) -> None:
    (checkout / name).write_text("b = 2\n")
    assert _source(checkout)["commit"] == f"{git(checkout, 'rev-parse', 'HEAD')} and changes"


def test_results_beside_the_library_are_no_change(checkout: Path) -> None:
    (checkout / "results.txt").write_text("")
    assert _source(checkout)["commit"] == git(checkout, "rev-parse", "HEAD")


def test_nothing_is_known_of_a_library_that_is_installed(checkout: Path) -> None:
    # A folder below somebody's repository is not that repository.
    (checkout / "site-packages" / "geobasin").mkdir(parents=True)
    nothing = {"commit": None, "lock_sha512": None}
    assert _source(checkout / "site-packages") == nothing


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert _source(tmp_path)["commit"] is None


def test_versions_have_them() -> None:
    assert versions().items() >= _source(ROOT).items()
