"""The table in the book is of the faults that the tests try, all of them and no others."""

from conftest import TABLE

from geobasin.files import read_json
from geobasin.seal import require_verified


def test_the_books_table_has_the_faults_that_the_tests_try(
    declared: list[tuple[str, str]],
) -> None:
    require_verified(TABLE)
    rows = read_json(TABLE / "faults.json")["faults"]
    assert [(row["target"], row["fault"]) for row in rows] == declared
    assert all(row["tried"] > 0 for row in rows)
