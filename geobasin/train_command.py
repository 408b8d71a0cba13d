"""The command ``train``: its options, alone or under torchrun."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from geobasin.config import TrainConfig
from geobasin.distributed import process_group
from geobasin.errors import GeoBasinError
from geobasin.feature_options import add_feature_options, read_features
from geobasin.report import finish_run, push_periodically, push_run
from geobasin.runs import train_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options.

    Args:
        parser: of the command.
    """
    default = TrainConfig()
    add_feature_options(parser)
    parser.add_argument("--simplices", choices=("rigid", "free"), default=default.simplices)
    parser.add_argument("--scales", type=_scales, default=default.scales, metavar="384,512")
    parser.add_argument(
        "--components",
        type=lambda text: tuple(text.split(",")),
        default=default.components,
        metavar="feature,cantor,crystal",
    )
    parser.add_argument("--schedule", choices=("cosine", "constant"), default=default.schedule)
    parser.add_argument("--optimizer", choices=("adamw", "dclr"), default=default.optimizer)
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default=default.precision,
        help="of the products with matrices in a step; bfloat16 pays on a GPU",
    )
    parser.add_argument(
        "--compile", action="store_true", help="let torch.compile join a step; pays on a GPU"
    )
    for name in ("k", "levels", "epochs", "batch", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    for field in fields(default):
        if isinstance(getattr(default, field.name), float):
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=float,
                default=getattr(default, field.name),
            )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--push-to", metavar="OWNER/NAME", help="upload the run to a model hub")
    parser.add_argument(
        "--push-every", type=int, metavar="N", help="and every N epochs on the way there"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")


def run(options: argparse.Namespace) -> None:
    """Train; under torchrun each process takes its share of every batch, and the first one writes.

    Args:
        options: what :func:`add_arguments` declared.

    Raises:
        GeoBasinError: options, features or a machine that cannot be trained with.
    """
    config = TrainConfig(
        **{field.name: getattr(options, field.name) for field in fields(TrainConfig)}
    )
    if options.push_every is not None and options.push_to is None:
        raise GeoBasinError("--push-every needs --push-to OWNER/NAME")
    periodically = (
        None
        if options.push_every is None
        else push_periodically(options.push_to, options.push_every)
    )
    with process_group() as group:
        features = read_features(options)
        try:
            folder = train_run(
                features,
                config,
                out=options.out,
                source=options.features,
                device=options.device,
                resume=options.resume,
                progress=True,
                on_epoch=periodically,
                group=group,
            )
        except KeyboardInterrupt:
            if group.is_main:
                print("interrupted; the same command with --resume goes on", file=sys.stderr)
            raise
    if group.is_main:
        _finish(folder, options.push_to)


def _finish(folder: Path, push_to: str | None) -> None:
    finished = finish_run(folder)
    print(f"validation accuracy {finished.metadata['val_accuracy']:.4f}", file=sys.stderr)
    if "test_accuracy" in finished.metadata:
        print(f"test accuracy {finished.metadata['test_accuracy']:.4f}", file=sys.stderr)
    if push_to is not None:
        print(f"pushed: {push_run(folder, push_to)}", file=sys.stderr)
    print(folder)


def _scales(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list like 384,512") from error
