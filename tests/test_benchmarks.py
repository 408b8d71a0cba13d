"""The benchmarks' tables: made from their own results, and the README is what they make of it."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from geobasin.cost_tables import aims_table, cost_tables
from geobasin.costs import extraction_rates, hours, read_costs
from geobasin.errors import GeoBasinError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def table_module() -> Any:
    spec = importlib.util.spec_from_file_location("table", BENCHMARKS / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_shows_the_results_file() -> None:
    table = table_module()
    readme = table.README.read_text()
    assert table.update(readme, read_costs(table.COSTS)) == readme


def test_a_table_shows_the_numbers_of_its_result() -> None:
    ratio = {"low": 7.5, "median": 8.25, "high": 9.0}
    result = {
        "kind": "initialisation",
        "simplices": "free",
        "seconds": {"own": 0.25, "reference": 2.5},
        "times_quicker": ratio,
    }
    machine = {"gpu": None, "cpu": "A", "cpu_count": 2, "torch_threads": 1, "system": "B"}
    versions = {"python": "3.11", "torch": "2.8"}
    document = {
        "date": "2026-01-02",
        "machine": machine,
        "versions": versions,
        "results": [result],
    }
    text = table_module().tables(document)
    assert "| free | 2.50 s | 250 ms | 8.25 (7.50 to 9.00) |" in text
    assert "2026-01-02: A, 2 cores, 1 thread, B" in text
    assert "Inference" not in text


def test_an_altered_results_file_is_not_shown(tmp_path: Path) -> None:
    costs = shutil.copytree(table_module().COSTS, tmp_path / "costs")
    results = costs / "results.json"
    results.write_text(results.read_text().replace("times_quicker", "times_Quicker", 1))
    with pytest.raises(GeoBasinError, match=r"results\.json: altered"):
        read_costs(costs)


def test_an_aim_is_reached_at_its_bound_and_missed_beside_it() -> None:
    def reached(kind: str, **values: Any) -> list[str]:
        result = {"kind": kind, "simplices": "free", **values}
        return aims_table({"results": [result]})["reached"].to_list()

    assert reached("initialisation", seconds={"own": 0.5}) == ["yes"]
    assert reached("initialisation", seconds={"own": 0.51}) == ["no"]
    assert reached("peak memory", times_less=3.0) == ["yes"]
    assert reached("peak memory", times_less=2.99) == ["no"]


def test_runs_that_disagree_about_an_aim_are_counted() -> None:
    def run(seconds: float) -> dict[str, Any]:
        result = {"kind": "initialisation", "simplices": "free", "seconds": {"own": seconds}}
        return {"results": [result]}

    (row,) = aims_table(run(0.5), {"results": []}, run(0.51), run(0.125)).itertuples()
    assert row.measured == "0.5, 0.51, 0.125"
    assert row.reached == "in 2 of 3 runs"


def test_every_aim_has_its_measurement() -> None:
    document = read_costs(table_module().COSTS)
    assert len(aims_table(document)) == 8


def test_extraction_has_rates_where_it_was_measured() -> None:
    rates = {"own": 8.5, "network": 9.0, "decoding": 60.0}
    result = {"kind": "extraction", "encoder": "CLIP", "images_a_second": rates}
    assert extraction_rates({"results": [{"kind": "rivals"}, result]}) == rates
    with pytest.raises(GeoBasinError, match="no extraction"):
        extraction_rates({"results": [{"kind": "rivals"}]})
    (table,) = cost_tables({"results": [result]}).values()
    assert table.loc["CLIP"].to_list() == ["8.5", "9", "60"]


def test_hours_are_steps_times_seconds() -> None:
    step = {
        "kind": "training step",
        "size": "published, batch 256",
        "simplices": "rigid",
        "seconds": {"own": 0.5},
    }
    document = {"results": [step]}
    assert hours(document, step["size"], "rigid", 256 * 7200, 3) == pytest.approx(3.0)
    with pytest.raises(GeoBasinError, match="free"):
        hours(document, step["size"], "free", 1, 1)
