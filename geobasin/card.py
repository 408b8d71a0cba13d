"""The model card, every number read from the model itself and from its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from geobasin.head import COMPONENTS

if TYPE_CHECKING:
    from geobasin.model import GeoFractalDavid

FIGURES = {
    "cantor_prototypes_distribution.png": "Cantor prototypes, a histogram for each scale",
    "cantor_prototypes_sorted.png": "Cantor prototypes in rising order",
    "cantor_prototypes_cross_scale.png": "Prototypes and geometric weights against the scale",
}
_FRONT_MATTER = """---
license: mit
library_name: geobasin
pipeline_tag: tabular-classification
tags: [geometric-basin, cantor-staircase, simplex, frozen-features]
---"""


def model_card(
    model: GeoFractalDavid,
    run: Mapping[str, Any] | None = None,
    weights: str = "model.safetensors",
    figures: Mapping[str, str] | None = None,
) -> str:
    """Write a model's card.

    Args:
        model: trained or not.
        run: ``metadata`` and ``config`` of the run it comes from; without it the card says that
            nothing is recorded.
        weights: name of the weights' file.
        figures: file names beside the card, with their captions.

    Returns:
        Markdown with the front matter that model hubs read.
    """
    settings = model.settings
    name = f"GeoFractalDavid-Basin-k{settings['k']}"
    data = None if run is None else run["config"]["features"]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sections = [
        _FRONT_MATTER,
        f"# {name}" + ("" if data is None else f" on {data['name']}"),
        f"A multi-scale geometric basin classifier over frozen features: {model.num_classes} "
        f"classes, {settings['feature_dim']} features, {parameters:,} parameters, "
        f"{settings['simplices']} {settings['k']}-simplices at the scales "
        f"{', '.join(str(scale) for scale in model.scales)}.",
        *_training(run),
        *_structure(model),
        "\n".join(f"![{caption}]({file})" for file, caption in (figures or {}).items()),
        *_data(run),
        "## Use",
        "```python\n"
        "from geobasin import GeoFractalDavid, load_weights\n\n"
        f"model = GeoFractalDavid({_arguments(settings)})\n"
        f'model.load_state_dict(load_weights("{weights}"))\n'
        "logits = model.eval()(features)  # [rows, classes]\n"
        "```",
        "## What is not claimed",
        "The loss of this kind of model is a cross-entropy on geometric scores. Whatever numbers "
        "stand above hold for the rows named beside them and for one seed.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _training(run: Mapping[str, Any] | None) -> list[str]:
    if run is None:
        return ["No run is recorded with these weights: their accuracy is unknown."]
    metadata, train, hardware = run["metadata"], run["config"]["train"], run["config"]["hardware"]
    rows = [["validation, fused", f"{metadata['val_accuracy']:.2%}"]]
    rows += [
        [f"validation, scale {scale} alone", f"{share:.2%}"]
        for scale, share in metadata["scale_accuracy"].items()
    ]
    if "test_accuracy" in metadata:
        rows.append(["test, fused", f"{metadata['test_accuracy']:.2%}"])
    return [
        "## Accuracy",
        _table(["", "accuracy"], rows),
        f"The weights are those of epoch {metadata['epoch']} of {train['epochs']}, the best on the "
        f"validation rows; training took {metadata['seconds']:.1f} s on "
        f"{hardware['gpu'] or hardware['cpu']}. Alpha started at "
        f"{metadata['alpha']['initial']:.4f}.",
    ]


def _structure(model: GeoFractalDavid) -> list[str]:
    prototypes = {
        scale: model.head(scale).cantor_prototypes.detach().double() for scale in model.scales
    }
    return [
        "## Structure",
        f"The middle height alpha of the Cantor staircase is "
        f"{model.cantor_stairs.alpha.item():.4f}.",
        _table(
            ["scale", "prototype mean", "deviation", "lowest", "highest"],
            [
                [str(scale)]
                + [f"{value.item():.4f}" for value in (p.mean(), p.std(), p.min(), p.max())]
                for scale, p in prototypes.items()
            ],
        ),
        _table(
            ["scale", *COMPONENTS],
            [
                [str(scale)] + [f"{parts[component]:.3f}" for component in COMPONENTS]
                for scale, parts in model.get_geometric_weights().items()
            ],
        ),
    ]


def _data(run: Mapping[str, Any] | None) -> list[str]:
    if run is None:
        return []
    data = run["config"]["features"]
    rows = ", ".join(f"{count:,} {split}" for split, count in data["rows"].items())
    return [
        "## Data",
        f"{rows} rows; SHA-512 of features and labels `{data['sha512'][:16]}...` (in full in "
        "`train_config.json`).",
        *_shared(data),
    ]


def _shared(data: Mapping[str, Any]) -> list[str]:
    found = {name: count for name, count in data.get("shared_rows", {}).items() if count}
    return [
        f"{count:,} of the {name} rows have the features of a training row, value for value."
        for name, count in found.items()
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _arguments(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())
