"""The ladder: GeoFractalDavid beside its rivals and its own ablations, on the same features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from geobasin.baselines import METHODS, bootstrap_intervals
from geobasin.config import TrainConfig
from geobasin.contest import Fitted, Method, Outcome, contest, reported
from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet
from geobasin.machine import pick_device
from geobasin.rivals import fitted, rival_methods
from geobasin.train import Training

OURS = "GeoFractalDavid"
SEEDS = 5
DRAWS = 2000


@dataclass(frozen=True)
class LadderResult:
    """Every method of a ladder, trained and predicted.

    Attributes:
        outcomes: in the order they were trained.
        labels: of the reported rows, [N] int64.
        split: name of these rows, ``"test"`` or, where there is no test, ``"val"``; the settings
            were chosen on val, which makes a ladder reported on val flatter those that chose.
        seeds: number of seeds of every method with chance in it.
    """

    outcomes: tuple[Outcome, ...]
    labels: np.ndarray
    split: str
    seeds: int

    def table(self) -> pd.DataFrame:
        """Compare the methods.

        Returns:
            A row for each method. ``accuracy`` (mean of the seeds) with the ends ``low`` and
            ``high`` of its 95 % bootstrap interval over the rows; ``difference`` of the accuracy
            to GeoFractalDavid's with ``difference_low`` and ``difference_high`` from the same
            resampled rows (NaN for GeoFractalDavid itself); ``parameters``; ``seconds`` of one
            training at the setting chosen; ``choosing_seconds`` of those at the other settings;
            ``joules`` of one training (NaN where not measured); ``setting``.
        """
        rows = {record["name"]: _flat(record) for record in self.as_dict()["methods"]}
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
        numbers = [name for name in table if name not in ("parameters", "setting")]
        return table.astype(dict.fromkeys(numbers, float))

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON can hold it; what is not known is None."""
        shares = {
            outcome.name: (outcome.predictions == self.labels).mean(0) for outcome in self.outcomes
        }
        means, ours = np.stack(list(shares.values())), shares.get(OURS)
        differences = np.zeros_like(means) if ours is None else means - ours
        ends = bootstrap_intervals(np.concatenate([means, differences]), draws=DRAWS).tolist()
        methods = []
        for index, outcome in enumerate(self.outcomes):
            compared = ours is not None and outcome.name != OURS
            correct = outcome.predictions == self.labels
            methods.append(
                {
                    "name": outcome.name,
                    "accuracy": outcome.accuracy,
                    "interval": ends[index],
                    "difference": float(differences[index].mean()) if compared else None,
                    "difference_interval": ends[len(means) + index] if compared else None,
                    "seed_accuracies": correct.mean(1).tolist(),
                    "parameters": outcome.parameters,
                    "seconds": outcome.seconds,
                    "choosing_seconds": outcome.choosing_seconds,
                    "joules": outcome.joules,
                    "energy_source": outcome.energy_source,
                    "setting": outcome.setting,
                    "candidates": list(outcome.candidates),
                }
            )
        return {
            "split": self.split,
            "rows": len(self.labels),
            "seeds": self.seeds,
            "compared_with": None if ours is None else OURS,
            "interval": {"level": 0.95, "method": "percentile bootstrap of rows", "draws": DRAWS},
            "methods": methods,
        }


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    low, high = record["interval"]
    difference_low, difference_high = record["difference_interval"] or (None, None)
    return {
        "accuracy": record["accuracy"],
        "low": low,
        "high": high,
        "difference": record["difference"],
        "difference_low": difference_low,
        "difference_high": difference_high,
        "parameters": record["parameters"],
        "seconds": record["seconds"],
        "choosing_seconds": record["choosing_seconds"],
        "joules": record["joules"],
        "setting": record["setting"],
    }


def ablations(config: TrainConfig) -> dict[str, TrainConfig]:
    """Variants of a configuration, each with one part of the geometry changed.

    Args:
        config: the whole model.

    Returns:
        By name: without the Cantor component (and without the loss terms of the Cantor line),
        without crystal, without feature, with the largest scale alone, with k = 1, with the other
        kind of simplices, with 1 level and with 5. Those equal to the configuration, or with no
        component left, are left out.
    """

    def without(name: str) -> tuple[str, ...]:
        return tuple(part for part in config.components if part != name)

    other = "free" if config.simplices == "rigid" else "rigid"
    changes: dict[str, dict[str, Any]] = {
        "no Cantor": {
            "components": without("cantor"),
            "coherence_weight": 0.0,
            "separation_weight": 0.0,
            "discretisation_weight": 0.0,
        },
        "no crystal": {"components": without("crystal")},
        "no feature": {"components": without("feature")},
        "one scale": {"scales": (max(config.scales),)},
        "k = 1": {"k": 1},
        f"{other} simplices": {"simplices": other},
        "levels = 1": {"levels": 1},
        "levels = 5": {"levels": 5},
    }
    return {
        name: replace(config, **change)
        for name, change in changes.items()
        if change.get("components") != () and replace(config, **change) != config
    }


def our_method(name: str, config: TrainConfig, device: str | torch.device = "cpu") -> Method:
    """GeoFractalDavid as a method: all settings given, nothing chosen on the validation rows.

    Args:
        name: in the table.
        config: all but the seed.
        device: where to train.

    Returns:
        The method; a fit ends after the last epoch.
    """
    place = pick_device(device)

    def fit(
        features: FeatureSet, setting: str, seed: int, on_epoch: Callable[[], object]
    ) -> Fitted:
        training = Training.start(features, replace(config, seed=seed), place)
        for _ in range(config.epochs):
            training.train_epoch()
            on_epoch()
        return fitted(training.model)

    return Method(name, fit, random=True, epochs=config.epochs, device=str(place))


def contenders(
    config: TrainConfig, device: str | torch.device = "cpu", ablate: bool = True
) -> list[Method]:
    """Every method of the ladder.

    Args:
        config: of GeoFractalDavid; its optimiser, epochs, batches and schedule are everyone's.
        device: where the trained heads are trained; scikit-learn's methods use the CPU.
        ablate: with the ablations.

    Returns:
        GeoFractalDavid, the simple classifiers, the trained heads, the ablations.
    """
    variants = ablations(config) if ablate else {}
    return [
        our_method(OURS, config, device),
        *METHODS,
        *rival_methods(config, device),
        *(our_method(f"{OURS}, {name}", own, device) for name, own in variants.items()),
    ]


def checked_names(methods: Sequence[Method], seeds: int) -> list[str]:
    """Names of methods that can be compared.

    Args:
        methods: to compare.
        seeds: trainings of each.

    Returns:
        The names, in order.

    Raises:
        GeoBasinError: fewer than one seed, no method, or two of one name.
    """
    if seeds < 1:
        raise GeoBasinError(f"a ladder needs at least 1 seed, not {seeds}")
    names = [method.name for method in methods]
    if not names or len(set(names)) != len(names):
        raise GeoBasinError(f"a ladder needs methods with names of their own, not {names}")
    return names


def ladder(
    features: FeatureSet,
    config: TrainConfig | None = None,
    seeds: int = SEEDS,
    device: str | torch.device = "cpu",
    methods: Sequence[Method] | None = None,
    progress: bool = False,
    kept: Mapping[str, Outcome] | None = None,
    keep: Callable[[Outcome], object] | None = None,
) -> LadderResult:
    """Train every method on the same rows, with the same seeds, and predict the same rows.

    Args:
        features: to learn from, to choose by and to report on.
        config: of GeoFractalDavid; the defaults where not given. Its seed is the first one.
        seeds: trainings of every method with chance in it, at least 1.
        device: where the trained heads are trained.
        methods: those to compare; :func:`contenders` where not given.
        progress: show a bar on stderr.
        kept: outcomes that are there already, by name; these methods are not trained again.
        keep: called with every new outcome.

    Returns:
        All outcomes. The same arguments give the same predictions; only the costs vary.

    Raises:
        GeoBasinError: fewer than one seed, or two methods of one name.
    """
    config = config or TrainConfig()
    chosen = contenders(config, device) if methods is None else list(methods)
    names = checked_names(chosen, seeds)
    outcomes = dict(kept or {})
    work = {method.name: method.fits(seeds) * method.epochs for method in chosen}
    with tqdm(
        total=sum(work.values()),
        initial=sum(count for name, count in work.items() if name in outcomes),
        unit="epoch",
        disable=not progress,
    ) as bar:
        for method in chosen:
            if method.name not in outcomes:
                bar.set_description(method.name)
                outcome = contest(method, features, seeds, config.seed, on_epoch=bar.update)
                outcomes[method.name] = outcome
                if keep is not None:
                    keep(outcome)
    return LadderResult(
        outcomes=tuple(outcomes[name] for name in names),
        labels=reported(features).labels.cpu().numpy(),
        split="val" if features.test is None else "test",
        seeds=seeds,
    )
