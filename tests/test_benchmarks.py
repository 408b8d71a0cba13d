"""The benchmarks' tables: made from their own results, and the README is what they make of it."""

import importlib.util
import json
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def table_module() -> Any:
    spec = importlib.util.spec_from_file_location("table", BENCHMARKS / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_shows_the_results_file() -> None:
    document = json.loads((BENCHMARKS / "results.json").read_text())
    readme = (BENCHMARKS / "README.md").read_text()
    assert table_module().update(readme, document) == readme


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
    assert "2026-01-02: A, 2 cores, 1 threads" in text
    assert "Inference" not in text
