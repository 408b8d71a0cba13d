"""Features of photographs by the encoder of the published features, decoding included."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from turns import take_turns

from geobasin.encoder import encode, load_encoder
from geobasin.extract import DEFAULT_ENCODER
from geobasin.image_folder import read_image

ROUNDS = 3
IMAGES, BATCH = 64, 32
# Of a photograph of ImageNet, as most of them are.
WIDTH, HEIGHT, QUALITY = 500, 375, 95


def photographs(folder: Path) -> list[Path]:
    """Pictures with large shapes and some grain, so that a file is as large as a photograph's."""
    draw = np.random.default_rng(0)
    paths = []
    for number in range(IMAGES):
        shapes = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(shapes.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        grain = draw.normal(0, 6, (HEIGHT, WIDTH, 1))
        pixels = (smooth + grain).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=QUALITY)
    return paths


def test_extraction(
    benchmark: BenchmarkFixture, device: torch.device, record, tmp_path: Path
) -> None:
    """Random weights cost what trained ones do; decoding by itself is timed on one core."""
    paths = photographs(tmp_path)
    encoder = load_encoder(DEFAULT_ENCODER, pretrained=False)
    encoder.network.to(device)
    batches = [paths[start : start + BATCH] for start in range(0, IMAGES, BATCH)]
    pictures = [torch.stack([encoder.prepare(read_image(p)) for p in b]) for b in batches]

    def network() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [encoder.network(batch.to(device)).cpu() for batch in pictures]

    found = torch.cat(list(encode(encoder, batches, device)))
    assert torch.allclose(found, torch.cat(network()), atol=1e-4)
    benchmark.group = "extraction"
    turns = take_turns(
        benchmark,
        lambda: list(encode(encoder, batches, device)),
        {"network": network, "decoding": lambda: [encoder.prepare(read_image(p)) for p in paths]},
        device,
        ROUNDS,
    )
    record(
        "extraction",
        encoder=DEFAULT_ENCODER,
        bytes_an_image=round(sum(path.stat().st_size for path in paths) / IMAGES),
        images_a_second={name: IMAGES / taken for name, taken in turns.seconds().items()},
    )
