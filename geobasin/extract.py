"""Frozen features of an image folder, by timm's encoders or one of our own: a file, or shards."""

import argparse
import json
import os
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from geobasin.encoder import Encoder, encode, load_encoder
from geobasin.errors import GeoBasinError
from geobasin.extraction import Extraction, Listed
from geobasin.image_folder import check_classes, list_images
from geobasin.machine import pick_device
from geobasin.stage4_encoder import is_run, load_run_encoder
from geobasin.tensors import save_tensors

__all__ = ["DEFAULT_ENCODER", "Encoder", "add_arguments", "extract", "load_encoder", "run"]

DEFAULT_ENCODER = "vit_base_patch32_clip_224.openai"
PRECISIONS = {"float32": torch.float32, "float16": torch.float16}
_REQUIRED = ("train", "val")
_OPTIONAL = "test"


def extract(
    images: Path,
    encoder: str,
    out: Path,
    *,
    classes: str | None = None,
    pretrained: bool = True,
    batch: int = 64,
    device: str = "cpu",
    image_size: int | None = None,
    shard_rows: int | None = None,
    precision: str = "float32",
    progress: bool = False,
) -> Path:
    """Write the features of an image folder to a feature file, or to a folder of shards.

    Features are what the encoder's own last layer (a classifier, or CLIP's projection) would read.
    The file holds ``train.features [N, D]`` float32 and ``train.labels [N]`` int64, the same for
    ``val`` and, where the folder has one, for ``test``. Its metadata names the classes (JSON), how
    they were chosen, the encoder, whether its weights were trained, and the image size.

    With ``shard_rows`` the same goes into a folder, shard by shard. There the training rows are in
    a drawn order, always the same, because shards are read by blocks and a listing is sorted by
    class. A call that was killed goes on when it is made again: shards that are whole are kept,
    and the result is the same bit for bit. ``SHA512SUMS`` ends it.

    Args:
        images: a folder laid out as ``train/<class>/<image>`` and ``val/<class>/<image>``, and
            optionally ``test/<class>/<image>``.
        encoder: a model name of timm, with or without a tag for its weights; or the folder of a
            finished run of ``python -m geobasin stage4``, whose ViT-Tiny then sees the images as it
            saw its own.
        out: the feature file, ending in ``.safetensors``, which appears when it is whole; or,
            with ``shard_rows``, a folder that is new, empty, or of the same extraction.
        classes: which of the folder's classes, as for
            :func:`geobasin.image_folder.list_images`; None for all.
        pretrained: load trained weights, from the cache or else from the network; otherwise the
            weights are random, always the same, and nothing is fetched.
        batch: images encoded at once; changes speed, and features by rounding only.
        device: where the encoder runs, as torch names it.
        image_size: side S in pixels; None for what the encoder was made for.
        shard_rows: rows in a shard, at least 1; None for a single file.
        precision: of the features on disk, ``float32`` or ``float16``.
        progress: show a bar on stderr.

    Returns:
        ``out``.

    Raises:
        GeoBasinError: the folder is no image folder, a choice of classes is no slice, an image
            cannot be read, timm has no such encoder or cannot have its weights, a run is not as it
            was sealed or kept no weights, the device is missing, a feature is NaN or infinite, the
            folder belongs to something else, or a file cannot be written.
    """
    _check_place(out, shard_rows)
    if batch < 1:
        raise GeoBasinError(f"batch is {batch}; encode at least 1 image at once")
    if precision not in PRECISIONS:
        raise GeoBasinError(f"precision is '{precision}'; choose {' or '.join(PRECISIONS)}")
    splits = [*_REQUIRED, *([_OPTIONAL] if (images / _OPTIONAL).is_dir() else [])]
    listed: Listed = {}
    names: dict[str, tuple[str, ...]] = {}
    for split in splits:
        paths, labels, names[split] = list_images(images, split, classes)
        listed[split] = (paths, labels)
    check_classes(images, names)
    place = pick_device(device)
    model, words = _load(encoder, pretrained, image_size)
    model.network.to(place)
    metadata = {
        "name": images.resolve().name,
        "class_names": json.dumps(names["train"]),
        **words,
        "pretrained": json.dumps(pretrained),
        "image_size": str(model.image_size),
        **({} if classes is None else {"class_slice": classes}),
    }
    kind = PRECISIONS[precision]
    if shard_rows is not None:
        Extraction(listed, model, out, shard_rows, batch, kind, place, metadata).run(progress)
        return out
    tensors: dict[str, Tensor] = {}
    for split, (paths, labels) in listed.items():
        batches = [paths[start : start + batch] for start in range(0, len(paths), batch)]
        rows = []
        with tqdm(total=len(paths), desc=split, unit="image", disable=not progress) as bar:
            for features in encode(model, batches, place, kind):
                rows.append(features)
                bar.update(len(features))
        tensors[f"{split}.features"] = torch.cat(rows)
        tensors[f"{split}.labels"] = labels
    save_tensors(out, tensors, metadata)
    return out


def _load(encoder: str, pretrained: bool, image_size: int | None) -> tuple[Encoder, dict[str, str]]:
    """The encoder, and what the metadata says of it."""
    if not is_run(encoder):
        made = load_encoder(encoder, pretrained=pretrained, image_size=image_size)
        return made, {"encoder": encoder}
    if not pretrained:
        raise GeoBasinError(
            f"the run in {encoder} has weights of its own; leave --no-pretrained out"
        )
    return load_run_encoder(Path(encoder), image_size)


def _check_place(out: Path, shard_rows: int | None) -> None:
    """Refuse a place that cannot be written: hours of encoding are not to end at a closed door."""
    if shard_rows is None and out.suffix != ".safetensors":
        raise GeoBasinError(f"features go to a .safetensors file, not {out}; name one")
    if shard_rows is not None and (out.suffix == ".safetensors" or shard_rows < 1):
        raise GeoBasinError(
            f"shards of {shard_rows} rows cannot go to {out}; give at least 1 row and a folder"
        )
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    wrong_kind = out.is_dir() if shard_rows is None else out.exists() and not out.is_dir()
    if wrong_kind or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise GeoBasinError(f"cannot write {out}; choose another file")


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
        "--classes",
        metavar="SLICE",
        help="only those at these places among the sorted classes: 0::2, 1::2, 0:100",
    )
    parser.add_argument(
        "--encoder",
        default=DEFAULT_ENCODER,
        metavar="TIMM_NAME|RUN_DIR",
        help="a model of timm, or a finished run of stage4 (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE|DIR",
        help="the .safetensors file to write, or with --shard-rows a folder",
    )
    parser.add_argument(
        "--shard-rows",
        type=int,
        metavar="N",
        help="write shards of N rows; the same command goes on where it was killed",
    )
    parser.add_argument(
        "--precision", choices=tuple(PRECISIONS), default="float32", help="default: %(default)s"
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
        "--image_size",
        "--image-size",
        type=int,
        metavar="PX",
        help="default: what the encoder was made for",
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
        classes=options.classes,
        pretrained=options.pretrained,
        batch=options.batch,
        device=options.device,
        image_size=options.image_size,
        shard_rows=options.shard_rows,
        precision=options.precision,
        progress=True,
    )
    print(path)
