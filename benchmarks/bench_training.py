"""A training step of GeoFractalDavid, next to the same step written straight from the formula."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from turns import take_turns
from workload import (
    SIZES,
    batch,
    build_model,
    library_step,
    multiplications,
    products,
    reference_step,
    score_by_the_formula,
)


@pytest.mark.parametrize("simplices", ["rigid", "free"])
@pytest.mark.parametrize("name", SIZES)
def test_training_step(
    benchmark: BenchmarkFixture, device: torch.device, record, name: str, simplices: str
) -> None:
    """Forward, loss, backward and AdamW on one batch that stays the same."""
    size = SIZES[name]
    model, (features, _) = build_model(size, simplices, device), batch(size, device)
    with torch.no_grad():
        expected, given = score_by_the_formula(model, features).logits, model(features)
    torch.testing.assert_close(given, expected, atol=1e-3, rtol=1e-3)
    del model, expected, given

    reference, library = (
        build(size, simplices, device) for build in (reference_step, library_step)
    )
    # The same loss, and after a step of each the same again.
    for _ in range(2):
        torch.testing.assert_close(library(), reference(), atol=1e-3, rtol=1e-3)
    others = {"reference": reference, "products": products(size, simplices, device)}
    benchmark.group = f"training step, {name}, {simplices}"
    turns = take_turns(benchmark, library, others, device, size.rounds)
    bound = turns.times_quicker_than("products")
    record(
        "training step",
        size=name,
        simplices=simplices,
        seconds=turns.seconds(),
        times_quicker=turns.times_quicker_than("reference"),
        share_of_the_products=bound,
        products_per_second=multiplications(size, simplices) / turns.seconds()["products"],
    )
