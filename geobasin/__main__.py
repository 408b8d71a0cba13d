"""The command line: a subcommand for everything that is done by hand."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from geobasin.command_line import OneLineParser
from geobasin.errors import GeoBasinError

_DESCRIPTION = "Geometric basins and coherent optimisers, exactly defined and honestly tested."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line; those of the process where not given.

    Returns:
        0, 1 where a seal is broken, 2 where the user can mend the error, 130 after Ctrl-C.
    """
    parser = OneLineParser(prog="python -m geobasin", description=_DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = sys.argv[1:] if arguments is None else list(arguments)
    if any("\ud800" <= letter <= "\udfff" for word in words for letter in word):
        parser.error("a path or a name is not UTF-8; rename it")
    for name, (help_text, add) in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text)
        # Only the command that is meant loads what it needs; torch and timm take seconds.
        if name in words[:1]:
            add(command)
    options = parser.parse_args(words)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except GeoBasinError as error:
        print(f"geobasin {options.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # What no module foresaw, such as a name too long for the file system.
        line = " ".join(str(error).split())
        print(f"geobasin {options.command}: {line}; check the paths", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"geobasin {options.command}: interrupted", file=sys.stderr)
        return 130


def _add_module(name: str) -> Callable[[argparse.ArgumentParser], None]:
    """A command whose options and run are functions of one module."""

    def add(parser: argparse.ArgumentParser) -> None:
        module = import_module(f"geobasin.{name}")

        def run(options: argparse.Namespace) -> int:
            module.run(options)
            return 0

        module.add_arguments(parser)
        parser.set_defaults(run=run)

    return add


def _add_probe(parser: argparse.ArgumentParser) -> None:
    from geobasin.feature_options import add_feature_options

    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="as train prints it")
    add_feature_options(parser, required=False)
    parser.set_defaults(run=_probe)


def _probe(options: argparse.Namespace) -> int:
    from geobasin import probe
    from geobasin.collapse import collapse_table
    from geobasin.columns import Columns
    from geobasin.confusion import neighbour_confusion
    from geobasin.feature_options import read_features
    from geobasin.report import finish_run
    from geobasin.seal import require_verified

    require_verified(options.folder)
    run = finish_run(options.folder)
    model = run.model
    tables = {
        "prototypes": probe.prototype_table(model),
        "agreement of the scales (Spearman)": probe.rank_agreement(model),
        "geometric weights": probe.weight_table(model),
        "alpha": probe.history_table(run.history)[["alpha"]],
        "order on the Cantor line": probe.cantor_order(
            model, run.metadata["class_names"], model.scales[0]
        ),
    }
    source = options.features or run.config["features"]["source"]
    recorded = Columns.from_record(run.config["features"])
    features = read_features(options, source, None if options.features else recorded)
    if features.digest() != run.config["features"]["sha512"]:
        print(f"'{source}' is not what the run was trained on", file=sys.stderr)
    reported = features.test or features.val
    tables |= {
        "accuracy": probe.accuracy_table(model, features),
        "accuracy when a component is removed": probe.removal_table(model, reported),
        "thirds of the Cantor line": probe.interval_table(model, features),
        "errors that go to a neighbour on the Cantor line": neighbour_confusion(model, reported),
        "neural collapse on the training rows": collapse_table(model, features.train),
        "drift of the simplices": probe.drift_table(model),
    }
    for title, table in tables.items():
        print(f"{title}\n{table.to_string(float_format='{:.4f}'.format)}\n")
    explained = probe.cantor_variance_explained(model, reported)
    print(f"share of the Cantor coordinate's variance explained by class: {explained:.4f}")
    return 0


def _add_ladder(parser: argparse.ArgumentParser) -> None:
    from geobasin.feature_options import add_feature_options

    add_feature_options(parser)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--method", action="append", metavar="NAME", help="only this one; may be given repeatedly"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.set_defaults(run=_ladder)


def _ladder(options: argparse.Namespace) -> int:
    from geobasin.config import TrainConfig
    from geobasin.feature_options import read_features
    from geobasin.ladder import contenders
    from geobasin.ladder_folder import write_ladder

    methods = {method.name: method for method in contenders(TrainConfig(), options.device)}
    chosen = options.method or list(methods)
    unknown = [name for name in chosen if name not in methods]
    if unknown:
        raise GeoBasinError(f"no method '{unknown[0]}'; there are: {'; '.join(methods)}")
    try:
        result = write_ladder(
            read_features(options),
            options.out,
            seeds=options.seeds,
            device=options.device,
            methods=[methods[name] for name in chosen],
            source=options.features,
            progress=True,
        )
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        raise
    print(result.table().to_string(float_format="{:.4f}".format))
    return 0


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="as train prints it")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.pt2")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from geobasin.export import export_run

    print(export_run(options.folder, options.out))
    return 0


def _add_folder(
    run: Callable[[argparse.Namespace], int],
) -> Callable[[argparse.ArgumentParser], None]:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR")
        parser.set_defaults(run=run)

    return add


def _seal(options: argparse.Namespace) -> int:
    from geobasin.seal import seal

    print(seal(options.folder))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from geobasin.seal import verify

    differences = verify(options.folder)
    for difference in differences:
        print(difference)
    if not differences:
        print(f"{options.folder}: intact")
    return 1 if differences else 0


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "train": ("train GeoFractalDavid on frozen features", _add_module("train_command")),
    "probe": ("tables and figures of what a run has learned", _add_probe),
    "keep": ("keep what runs have learned, without their weights, sealed", _add_module("learned")),
    "ladder": ("compare GeoFractalDavid with simple rivals and its ablations", _add_ladder),
    "export": ("a run's model as a .pt2 file that runs without this library", _add_export),
    "extract": ("features of an image folder from a frozen encoder", _add_module("extract")),
    "stage4": (
        "train ViT-Tiny with DCLR (RFT) or Adam (BASE) under telemetry",
        _add_module("stage4"),
    ),
    "compare": ("compare optimisers on ViT-Tiny by a fixed protocol", _add_module("compare")),
    "seal": ("write SHA512SUMS over a folder", _add_folder(_seal)),
    "verify": ("compare a folder with its SHA512SUMS", _add_folder(_verify)),
}


if __name__ == "__main__":
    sys.exit(main())
