"""The same seed on the same machine with the same threads gives the same bytes; other threads not.

How far two threads lead away from one is measured, and the book's table tells it.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import Workplace, threads

from geobasin.config import TrainConfig
from geobasin.features import digits
from geobasin.images import FRACTAL_LENGTHS
from geobasin.runs import load_run, train_run
from geobasin.stage4 import LOG, WEIGHTS, StageConfig, run_stage
from geobasin.telemetry import read_log
from geobasin.tensors import content_digest, read_tensors


def train(epochs: int) -> None:
    """Train on digits and leave weights and losses where they can be compared."""
    scales = TrainConfig().scales if epochs > 1 else (32,)
    config = TrainConfig(epochs=epochs, scales=scales)
    out = train_run(digits(), config, Path("out"), source="digits")
    history = [record.as_dict() | {"seconds": None} for record in load_run(out).history]
    Path("log.json").write_text(json.dumps(history))
    Path("losses.json").write_text(json.dumps([record["terms"]["total"] for record in history]))
    next(out.glob("*.safetensors")).rename("weights.safetensors")


def stage(steps: int) -> None:
    """Run the stage and leave weights and losses where they can be compared."""
    config = StageConfig(mode="RFT", steps=steps, batch=8, image_size=32, val_every=steps)
    # Fewer images than usual, so that they are drawn and judged in a moment.
    FRACTAL_LENGTHS.update(train=64, val=16)
    out = run_stage(config, Path("out"), quiet=True)
    records = read_log(out / LOG)[1]
    Path("losses.json").write_text(json.dumps([record.loss for record in records]))
    told = [(r.loss, r.acc, r.drift, r.coh, r.flux, r.E_ret, r.val_loss) for r in records]
    Path("log.json").write_text(json.dumps(told))
    (out / WEIGHTS).rename("weights.safetensors")


TASKS = {"train": (train, 1, 10), "stage4": (stage, 2, 30)}


def told(place: Workplace) -> tuple[str, str, list[float]]:
    """Digest of the weights, text of the log and the losses that a task has left."""
    weights = content_digest(read_tensors(place.folder / "weights.safetensors")[0])
    losses = json.loads((place.folder / "losses.json").read_text())
    return weights, (place.folder / "log.json").read_text(), losses


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.fault("train and stage4", "the same once more, one thread", times=1, campaign=3)
def test_the_same_again_is_the_same_to_the_last_bit(fault, name: str, tmp_path: Path) -> None:
    task, length, long = TASKS[name]
    length = long if fault.times > 1 else length
    places = [Workplace(tmp_path / str(number)) for number in range(fault.times + 1)]
    for place in places:
        place.folder.mkdir()
        ended = place.do(partial(task, length))
        assert ended.code == 0, ended.err
    for number in fault.tries():
        with fault:
            assert told(places[0]) == told(places[number + 1])


@pytest.mark.parametrize("name", TASKS)
def test_two_threads_differ_from_one_by_rounding(
    name: str, measured: dict[str, Any], long: bool, tmp_path: Path
) -> None:
    task, short, longer = TASKS[name]
    places = []
    for count in (1, 2):
        place = Workplace(tmp_path / str(count))
        place.folder.mkdir()
        ended = place.do(partial(task, longer if long else short), partial(threads, count))
        assert ended.code == 0, ended.err
        places.append(place)
    one, two = (read_tensors(place.folder / "weights.safetensors")[0] for place in places)
    losses = [told(place)[2] for place in places]
    # Both began from the same weights and the same rows: the first loss differs by rounding only.
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4)
    measured[name] = {
        "threads": [1, 2],
        "steps or epochs": len(losses[0]),
        "largest difference of a weight": max(
            float((one[tensor] - two[tensor]).abs().max()) for tensor in one
        ),
        "largest weight": max(float(tensor.abs().max()) for tensor in one.values()),
        "difference of the last loss": abs(losses[0][-1] - losses[1][-1]),
    }
