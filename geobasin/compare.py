"""Compare optimisers by the protocol of compare_protocol.py, into a folder that is sealed.

Usage: ``python -m geobasin compare --on cifar10 --on imagenet200-64px --out DIR``. Every finished
training is a file, so that the same command goes on where it was stopped.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from geobasin.compare_choice import Target, chosen_beta1, chosen_rates, fixed_target
from geobasin.compare_protocol import STANDARD, CompareConfig
from geobasin.compare_record import TrialResult
from geobasin.compare_result import Comparison
from geobasin.compare_trial import Trial, finished, run_trial
from geobasin.energy import EnergyMeter
from geobasin.errors import GeoBasinError
from geobasin.figures.comparison import comparison_figure
from geobasin.files import read_json, write_json
from geobasin.machine import hardware, pick_device, versions
from geobasin.optimizers import NAMES
from geobasin.seal import MANIFEST, require_verified, seal
from geobasin.workloads import load_workload

CONFIG = "config.json"
RESULT = "comparison.json"
FIGURE = "comparison.svg"


def write_comparison(
    config: CompareConfig,
    out: Path,
    device: str | torch.device = "auto",
    jobs: int = 1,
    progress: bool = False,
) -> Comparison:
    """Run a comparison into a folder and seal it.

    Args:
        config: the settings.
        out: the folder: new, empty, or of the same comparison, which then goes on.
        device: what computes.
        jobs: trainings at a time, each with its share of the CPU's threads; >= 1. With more than
            one, joules are not measured, for they could not be told apart.
        progress: show a bar on stderr.

    Returns:
        The comparison. The folder then holds ``config.json``, a file for every training,
        ``comparison.json``, ``comparison.svg`` and ``SHA512SUMS``.

    Raises:
        GeoBasinError: bad images, a folder of something else or altered since it was sealed, an
            optimiser that diverges at every rate, or a refused write.
    """
    if jobs < 1:
        raise GeoBasinError(f"jobs must be at least 1, not {jobs}")
    place = pick_device(device)
    for name in (config.tune_on, *config.workloads):
        load_workload(name, config.image_size)
    _claim(out, config, place, jobs)

    with _trainer(out, place, jobs) as train:

        def run(trials: Sequence[Trial], word: str) -> list[TrialResult]:
            return _run(trials, out, train, word if progress else None)

        tuned = run(config.tuning(), "tuning")
        rates = chosen_rates(tuned)
        default = [
            result
            for result in tuned
            if result.trial["arm"] == "nadamw" and result.trial["stage"]["lr"] == rates["nadamw"]
        ]
        beta1 = chosen_beta1(run(config.beta_tuning(rates), "tuning beta1"), default)
        targets = _targets(config, run(config.calibration(rates), "targets"))
        results = run(config.trials(rates, beta1), "trials")
    comparison = _assemble(config.as_dict(), rates, beta1, targets, results)
    write_json(
        out / RESULT,
        {
            "rates": rates,
            "nadamw_beta1": beta1,
            "targets": {name: asdict(target) for name, target in targets.items()},
            "trials": [trial.name for trial in config.trials(rates, beta1)],
        },
    )
    comparison_figure(comparison).save(out / FIGURE)
    seal(out)
    return comparison


def read_comparison(folder: Path) -> Comparison:
    """Read a sealed comparison.

    Args:
        folder: as :func:`write_comparison` left it.

    Returns:
        The comparison.

    Raises:
        GeoBasinError: no comparison there, or it is not as it was sealed.
    """
    require_verified(folder)
    config, result = read_json(folder / CONFIG), read_json(folder / RESULT)
    try:
        targets = {name: Target(**target) for name, target in result["targets"].items()}
        trials = [TrialResult.read(folder / f"{name}.json") for name in result["trials"]]
        rates, beta1 = result["rates"], result["nadamw_beta1"]
        return _assemble(config["compare"], rates, beta1, targets, trials)
    except (KeyError, TypeError) as error:
        raise GeoBasinError(f"{folder} is not a comparison's folder: {error} is wrong") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of a comparison.

    Args:
        parser: of the subcommand.
    """
    default = CompareConfig(workloads=("fractal",))
    add = parser.add_argument
    add(
        "--on",
        action="append",
        required=True,
        metavar="WORKLOAD",
        help="folder with train/<class>/<image> and val/..., or fractal; may be given repeatedly",
    )
    add("--tune-on", default=default.tune_on, metavar="WORKLOAD", help="default: %(default)s")
    add(
        "--optimizers",
        type=lambda text: tuple(part for part in text.split(",") if part),
        default=default.optimizers,
        help=f"besides {', '.join(STANDARD)} and dclr, of {', '.join(NAMES)}; comma-separated",
    )
    for name in ("rates", "betas1"):
        add(f"--{name}", type=_numbers, default=getattr(default, name), metavar="X,X,...")
    # As stage4 spells it, and as argparse would.
    add("--image_size", "--image-size", type=int, default=default.image_size)
    whole = ("steps", "tune_steps", "tune_seeds", "batch", "seeds")
    for name in (*whole, "val_every", "val_images"):
        add(f"--{name.replace('_', '-')}", type=int, default=getattr(default, name))
    for name in ("weight_decay", "target_at"):
        add(f"--{name.replace('_', '-')}", type=float, default=getattr(default, name))
    add("--schedule", default=default.schedule, help="constant or cosine (default: %(default)s)")
    add("--jobs", type=int, default=1, help="trainings at a time; joules only with one")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR")


def run(options: argparse.Namespace) -> Comparison:
    """Do what the command line asks.

    Args:
        options: from a parser with :func:`add_arguments`.

    Returns:
        The comparison; its tables are printed.

    Raises:
        GeoBasinError: as for :func:`write_comparison`.
    """
    names = set(CompareConfig.__dataclass_fields__) - {"workloads"}
    config = CompareConfig(
        workloads=tuple(options.on), **{name: getattr(options, name) for name in names}
    )
    comparison = write_comparison(config, options.out, options.device, options.jobs, progress=True)
    for workload, target in comparison.targets.items():
        print(f"{workload}: target {target.loss:.4f} nat, set by {target.rival}")
        for table in (comparison.table(workload), comparison.ablation_table(workload)):
            print(f"{table.to_string(float_format='{:.4g}'.format)}\n")
    return comparison


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list like 3e-4,6e-4") from error


def _claim(out: Path, config: CompareConfig, device: torch.device, jobs: int) -> None:
    """Make the folder this comparison's, or refuse it where it is another's."""
    described: dict[str, Any] = {
        "compare": config.as_dict(),
        "jobs": jobs,
        "versions": versions(),
        "hardware": {**hardware(device), "torch_threads": _threads(jobs)},
    }
    if not (out / CONFIG).exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise GeoBasinError(f"{out} holds other files; name a new folder")
        write_json(out / CONFIG, described)
        return
    if (out / MANIFEST).exists():
        # Sealed once more it would pass, whatever was done to it in between.
        require_verified(out)
    stored = read_json(out / CONFIG)
    for part, value in described.items():
        if not isinstance(stored, dict) or stored.get(part) != value:
            raise GeoBasinError(f"{out} holds a comparison with other {part}; name a new folder")


def _targets(config: CompareConfig, results: Sequence[TrialResult]) -> dict[str, Target]:
    names = [Path(workload).name for workload in config.workloads]
    return {
        name: fixed_target(
            config,
            [r for r in results if r.trial["workload"] == name and r.trial["arm"] in STANDARD],
        )
        for name in names
    }


def _assemble(
    config: dict[str, Any],
    rates: dict[str, float],
    beta1: float | None,
    targets: dict[str, Target],
    results: Sequence[TrialResult],
) -> Comparison:
    sorted_out: dict[str, dict[str, list[TrialResult]]] = {}
    for result in results:
        arms = sorted_out.setdefault(result.trial["workload"], {})
        arms.setdefault(result.trial["arm"], []).append(result)
    return Comparison(config, rates, beta1, targets, sorted_out)


# Trains what it is given, and yields each result as it is there.
Train = Callable[[Sequence[Trial]], Iterator[tuple[Trial, TrialResult]]]


def _run(trials: Sequence[Trial], out: Path, train: Train, word: str | None) -> list[TrialResult]:
    results = {trial.name: finished(trial, out) for trial in trials}
    missing = [trial for trial in trials if results[trial.name] is None]
    bar = tqdm(total=len(trials), initial=len(trials) - len(missing), desc=word, disable=not word)
    with closing(bar):
        for trial, result in train(missing):
            results[trial.name] = result
            bar.update()
    return [result for result in results.values() if result is not None]


@contextmanager
def _trainer(out: Path, device: torch.device, jobs: int) -> Iterator[Train]:
    if jobs == 1:
        with closing(EnergyMeter(device)) as meter:
            yield lambda trials: ((t, run_trial(t, out, device, meter)) for t in trials)
        return
    # A forked child would inherit torch's threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, torch.set_num_threads, (_threads(jobs),))

    def train(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        running = {pool.submit(run_trial, trial, out, device): trial for trial in trials}
        for future in as_completed(running):
            try:
                yield running[future], future.result()
            except BrokenProcessPool as error:
                raise GeoBasinError(
                    "a training process was killed, perhaps for lack of memory; the same command "
                    "goes on, with fewer --jobs if need be"
                ) from error

    try:
        yield train
    finally:
        # After Ctrl-C what waits is given up; every finished training is on disk.
        pool.shutdown(wait=True, cancel_futures=True)


def _threads(jobs: int) -> int:
    return torch.get_num_threads() if jobs == 1 else max(1, (os.cpu_count() or jobs) // jobs)
