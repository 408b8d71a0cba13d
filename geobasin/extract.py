"""Frozen features of an image folder, from any timm encoder, as a feature file."""

import argparse
import difflib
import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from geobasin.errors import GeoBasinError
from geobasin.image_folder import check_classes, list_images, optional, read_image
from geobasin.machine import pick_device
from geobasin.tensors import save_tensors

DEFAULT_ENCODER = "vit_base_patch32_clip_224.openai"
_REQUIRED = ("train", "val")
_OPTIONAL = "test"

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


def extract(
    images: Path,
    encoder: str,
    out: Path,
    *,
    pretrained: bool = True,
    batch: int = 64,
    device: str = "cpu",
    image_size: int | None = None,
    progress: bool = False,
) -> Path:
    """Write the features of an image folder to a feature file.

    Features are what the encoder's own last layer (a classifier, or CLIP's projection) would read.
    The file holds ``train.features [N, D]`` float32 and ``train.labels [N]`` int64, the same for
    ``val`` and, where the folder has one, for ``test``. Its metadata names the classes (JSON), the
    encoder, whether its weights were trained, and the image size.

    Args:
        images: a folder laid out as ``train/<class>/<image>`` and ``val/<class>/<image>``, and
            optionally ``test/<class>/<image>``.
        encoder: a model name of timm, with or without a tag for its weights.
        out: the feature file, ending in ``.safetensors``; it appears when it is whole.
        pretrained: load trained weights, from the cache or else from the network; otherwise the
            weights are random, always the same, and nothing is fetched.
        batch: images encoded at once; changes speed, and features by rounding only.
        device: where the encoder runs, as torch names it.
        image_size: side S in pixels; None for what the encoder was made for.
        progress: show a bar on stderr.

    Returns:
        ``out``.

    Raises:
        GeoBasinError: the folder is no image folder, an image cannot be read, timm has no such
            encoder or cannot have its weights, the device is missing, a feature is NaN or
            infinite, or the file cannot be written.
    """
    if out.suffix != ".safetensors":
        raise GeoBasinError(f"features go to a .safetensors file, not {out}; name one")
    # Hours of encoding are not to end at a closed door.
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    if out.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise GeoBasinError(f"cannot write {out}; choose another file")
    if batch < 1:
        raise GeoBasinError(f"batch is {batch}; encode at least 1 image at once")
    splits = [*_REQUIRED, *([_OPTIONAL] if (images / _OPTIONAL).is_dir() else [])]
    listed = {split: list_images(images, split) for split in splits}
    check_classes(images, {split: names for split, (_, _, names) in listed.items()})
    place = pick_device(device)
    model = load_encoder(encoder, pretrained=pretrained, image_size=image_size)
    network = model.network.to(place)
    tensors: dict[str, Tensor] = {}
    for split, (paths, labels, _) in listed.items():
        rows = []
        with tqdm(total=len(paths), desc=split, unit="image", disable=not progress) as bar:
            for pictures in _batches(paths, model.prepare, batch):
                rows.append(_encode(network, pictures.to(place)))
                bar.update(len(pictures))
        tensors[f"{split}.features"] = torch.cat(rows)
        tensors[f"{split}.labels"] = labels
    metadata = {
        "name": images.resolve().name,
        "class_names": json.dumps(listed["train"][2]),
        "encoder": encoder,
        "pretrained": json.dumps(pretrained),
        "image_size": str(model.image_size),
    }
    save_tensors(out, tensors, metadata)
    return out


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m geobasin extract``.

    Args:
        parser: the command's parser.
    """
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of train/<class>/<image>, val/<class>/<image> and, if any, test/...",
    )
    parser.add_argument(
        "--encoder", default=DEFAULT_ENCODER, metavar="TIMM_NAME", help="default: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the .safetensors file to write"
    )
    parser.add_argument(
        "--no-pretrained",
        dest="pretrained",
        action="store_false",
        help="random weights, always the same; needs no network",
    )
    parser.add_argument("--batch", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument(
        "--image_size", type=int, metavar="PX", help="default: what the encoder was made for"
    )


def run(options: argparse.Namespace) -> None:
    """Run ``python -m geobasin extract`` and print where the features are.

    Args:
        options: as :func:`add_arguments` reads them.

    Raises:
        GeoBasinError: as for :func:`extract`.
    """
    path = extract(
        options.images,
        options.encoder,
        options.out,
        pretrained=options.pretrained,
        batch=options.batch,
        device=options.device,
        image_size=options.image_size,
        progress=True,
    )
    print(path)


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


def _batches(paths: list[Path], prepare: Callable[[Any], Tensor], batch: int) -> Iterator[Tensor]:
    """Batches ``[B, 3, S, S]`` in order; the next one is decoded while one is being encoded."""
    chunks = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    with ThreadPoolExecutor() as pool:
        ahead: list[Future[Tensor]] = []
        for chunk in [*chunks, []]:
            current = ahead
            ahead = [pool.submit(_decode, path, prepare) for path in chunk]
            if current:
                yield torch.stack([picture.result() for picture in current])


def _decode(path: Path, prepare: Callable[[Any], Tensor]) -> Tensor:
    return prepare(read_image(path))


@torch.inference_mode()
def _encode(network: nn.Module, pictures: Tensor) -> Tensor:
    """Features ``[B, D]`` float32 on the CPU; GeoBasinError where one is not finite."""
    features: Tensor = network(pictures).float().cpu()
    if not torch.isfinite(features).all():
        raise GeoBasinError("the encoder gave NaN or infinite features; choose another encoder")
    return features


def _unfit(encoder: str, image_size: int | None, error: Exception) -> GeoBasinError:
    size = "its own size" if image_size is None else f"{image_size} pixels"
    return GeoBasinError(
        f"timm cannot run '{encoder}' on images of {size}: {error}; try another --image_size"
    )
