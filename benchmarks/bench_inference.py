"""Logits for one row and for many: the formula, the library, and the exported model."""

from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from turns import take_turns
from workload import PUBLISHED, batch, build_model, score_by_the_formula

from geobasin.export import exported
from geobasin.model import GeoFractalDavid

ROUNDS = {1: 20, 256: 5}


@lru_cache(maxsize=1)
def both(simplices: str, device: torch.device) -> tuple[GeoFractalDavid, torch.nn.Module]:
    """The model and what it is exported to, made once for all numbers of rows."""
    model = build_model(PUBLISHED, simplices, device).eval()
    return model, exported(model).module()


@pytest.mark.parametrize("rows", ROUNDS)
@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_inference(
    benchmark: BenchmarkFixture, device: torch.device, record, simplices: str, rows: int
) -> None:
    """The published configuration, without gradients."""
    model, program = both(simplices, device)
    features, _ = batch(replace(PUBLISHED, rows=rows), device)

    @torch.no_grad()
    def own() -> torch.Tensor:
        return model(features)

    @torch.no_grad()
    def reference() -> torch.Tensor:
        return score_by_the_formula(model, features).logits

    @torch.no_grad()
    def run_exported() -> torch.Tensor:
        return program(features)

    torch.testing.assert_close(own(), reference(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(own(), run_exported(), atol=1e-5, rtol=1e-5)
    benchmark.group = f"inference, {rows} rows, {simplices}"
    others = {"reference": reference, "exported": run_exported}
    turns = take_turns(benchmark, own, others, device, ROUNDS[rows])
    record(
        "inference",
        rows=rows,
        simplices=simplices,
        seconds=turns.seconds(),
        times_quicker=turns.times_quicker_than("reference"),
        times_quicker_than_exported=turns.times_quicker_than("exported"),
    )
