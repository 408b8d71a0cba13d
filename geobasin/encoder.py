"""Frozen encoders from timm, and images on their way through one."""

import difflib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geobasin.errors import GeoBasinError
from geobasin.image_folder import optional, read_image

# Untrained encoders are drawn with one seed, so that their features can be had again.
_UNTRAINED_SEED = 0


@dataclass(frozen=True)
class Encoder:
    """A frozen network with the preparation of images that it was made for.

    Attributes:
        network: images ``[B, 3, S, S]`` float32 -> features ``[B, D]``, in evaluation mode.
        prepare: decoded image -> ``[3, S, S]`` float32, resized, cut and normalised.
        image_size: S in pixels.
    """

    network: nn.Module
    prepare: Callable[[Any], Tensor]
    image_size: int


def load_encoder(encoder: str, *, pretrained: bool, image_size: int | None = None) -> Encoder:
    """Make a frozen timm encoder.

    Args:
        encoder: a model name of timm, with or without a tag for its weights.
        pretrained: load trained weights (safetensors only) from the Hugging Face hub's cache, or
            from the hub itself; otherwise the weights are random, drawn with a fixed seed.
        image_size: side S in pixels; None for what the encoder was made for.

    Returns:
        The encoder, on the CPU.

    Raises:
        GeoBasinError: timm has no such encoder, cannot make it for that size, or its weights are
            not to be had.
    """
    timm = optional("timm")
    known = timm.list_models() + timm.list_pretrained()
    if encoder not in known:
        close = difflib.get_close_matches(encoder, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() names them all"
        if Path(encoder).parent != Path():
            hint = "a folder serves as one if it is of a finished run of stage4"
        raise GeoBasinError(f"timm has no encoder '{encoder}'; {hint}")
    config = timm.get_pretrained_cfg(encoder)
    options: dict[str, Any] = {"num_classes": 0}
    if image_size is not None and config is not None and config.fixed_input_size:
        options["img_size"] = image_size
    if pretrained:
        if config is None or not config.hf_hub_id:
            raise GeoBasinError(
                f"'{encoder}' has no trained weights as safetensors; "
                "choose another encoder or give --no-pretrained for random weights"
            )
        # Without this timm may fall back to weights that have to be unpickled.
        options["pretrained_cfg_overlay"] = {"hf_hub_filename": "model.safetensors", "url": ""}
    try:
        with torch.random.fork_rng(devices=[]), _quiet("huggingface_hub"):
            torch.manual_seed(_UNTRAINED_SEED)
            network = timm.create_model(encoder, pretrained=pretrained, **options)
    # Missing weights show as errors of the network, of the file system or of timm itself.
    except Exception as error:
        if pretrained:
            raise GeoBasinError(
                f"cannot load the trained weights of '{encoder}' ({type(error).__name__}); with a "
                "network they are fetched once from the Hugging Face hub and kept in its cache, "
                "and --no-pretrained takes random weights instead"
            ) from error
        raise _unfit(encoder, image_size, error) from error
    settings = timm.data.resolve_model_data_config(network)
    if image_size is not None:
        settings["input_size"] = (3, image_size, image_size)
    network.eval().requires_grad_(False)
    try:
        shape = network(torch.zeros(1, *settings["input_size"])).shape
    except Exception as error:
        raise _unfit(encoder, image_size, error) from error
    if len(shape) != 2:
        raise GeoBasinError(
            f"'{encoder}' gives {list(shape)} for an image in place of one row; choose another"
        )
    prepare = timm.data.create_transform(**settings, is_training=False)
    return Encoder(network, prepare, settings["input_size"][1])


def encode(
    encoder: Encoder,
    batches: Sequence[Sequence[Path]],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """Encode images, batch by batch; one batch is decoded while the one before is encoded.

    Args:
        encoder: its network on the device.
        batches: image files, none of them empty.
        device: where the encoder runs.
        dtype: of the features, a float.

    Yields:
        Features [B, D] of each batch, in order, on the CPU.

    Raises:
        GeoBasinError: an image cannot be read, or a feature is NaN or infinite in ``dtype``.
    """
    with ThreadPoolExecutor() as pool:
        ahead: list[Future[Tensor]] = []
        for batch in [*batches, []]:
            current = ahead
            ahead = [pool.submit(_decode, path, encoder.prepare) for path in batch]
            if current:
                pictures = torch.stack([picture.result() for picture in current])
                yield _encode(encoder.network, pictures.to(device), dtype)


def _decode(path: Path, prepare: Callable[[Any], Tensor]) -> Tensor:
    return prepare(read_image(path))


@torch.inference_mode()
def _encode(network: nn.Module, pictures: Tensor, dtype: torch.dtype) -> Tensor:
    features: Tensor = network(pictures).to("cpu", dtype)
    if not torch.isfinite(features).all():
        raise GeoBasinError(
            f"the encoder gave NaN or infinite features as {dtype}; choose another encoder, or "
            "--precision float32"
        )
    return features


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's warnings off stderr; what matters of them is in our one line."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unfit(encoder: str, image_size: int | None, error: Exception) -> GeoBasinError:
    size = "its own size" if image_size is None else f"{image_size} pixels"
    return GeoBasinError(
        f"timm cannot run '{encoder}' on images of {size}: {error}; try another --image_size"
    )
