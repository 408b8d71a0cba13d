"""The model card of a run, every number read from the run itself."""

from geobasin.head import COMPONENTS
from geobasin.probe import prototype_table
from geobasin.runs import Run

FIGURES = {
    "cantor_prototypes_distribution.png": "Cantor prototypes, a histogram for each scale",
    "cantor_prototypes_sorted.png": "Cantor prototypes in rising order",
    "cantor_prototypes_cross_scale.png": "Prototypes and geometric weights against the scale",
}


def model_card(run: Run) -> str:
    """Write the card of a finished run.

    Args:
        run: read back from its folder.

    Returns:
        Markdown with the front matter that model hubs read.
    """
    metadata, train, data = run.metadata, run.config["train"], run.config["features"]
    name, hardware = run.config["model"], run.config["hardware"]
    weights = next(run.folder.glob("best_model_acc*.safetensors")).name
    settings = metadata["settings"]
    test = metadata.get("test_accuracy")
    sections = [
        "---\nlicense: mit\nlibrary_name: geobasin\npipeline_tag: tabular-classification\n"
        "tags: [geometric-basin, cantor-staircase, simplex, frozen-features]\n---",
        f"# {name} on {data['name']}",
        "A multi-scale geometric basin classifier over frozen features: "
        f"{data['classes']} classes, {data['feature_dim']} features, "
        f"{metadata['parameters']:,} parameters, "
        f"{settings['simplices']} {settings['k']}-simplices at the scales "
        f"{', '.join(str(scale) for scale in settings['scales'])}.",
        "## Accuracy",
        _table(
            ["", "accuracy"],
            [["validation, fused", f"{metadata['val_accuracy']:.2%}"]]
            + [
                [f"validation, scale {scale} alone", f"{share:.2%}"]
                for scale, share in metadata["scale_accuracy"].items()
            ]
            + ([["test, fused", f"{test:.2%}"]] if test is not None else []),
        ),
        f"The weights are those of epoch {metadata['epoch']} of {train['epochs']}, the best on the "
        f"validation rows; training took {metadata['seconds']:.1f} s on "
        f"{hardware['gpu'] or hardware['cpu']}.",
        "## Learned structure",
        f"The middle height alpha of the Cantor staircase went from "
        f"{metadata['alpha']['initial']:.4f} to {metadata['alpha']['final']:.4f}.",
        _table(
            ["scale", "prototype mean", "deviation", "lowest", "highest"],
            [
                [str(scale)] + [f"{row[column]:.4f}" for column in ("mean", "std", "min", "max")]
                for scale, row in prototype_table(run.model).iterrows()
            ],
        ),
        _table(
            ["scale", *COMPONENTS],
            [
                [str(scale)] + [f"{parts[component]:.3f}" for component in COMPONENTS]
                for scale, parts in run.model.get_geometric_weights().items()
            ],
        ),
        "\n".join(f"![{caption}]({file})" for file, caption in FIGURES.items()),
        "## Data",
        f"{', '.join(f'{count:,} {split}' for split, count in data['rows'].items())} rows; SHA-512 "
        f"of features and labels `{data['sha512'][:16]}...` (in full in `train_config.json`).",
        "## Use",
        "```python\n"
        "from geobasin import GeoFractalDavid, load_weights\n\n"
        f"model = GeoFractalDavid({_arguments(settings)})\n"
        f'model.load_state_dict(load_weights("{weights}"))\n'
        "logits = model.eval()(features)  # [rows, classes]\n"
        "```",
        "## What is not claimed",
        "The loss is a cross-entropy on geometric scores. The numbers hold for the rows named "
        "above, for one seed; `SHA512SUMS` shows whether a file here was altered since.",
    ]
    return "\n\n".join(sections) + "\n"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _arguments(settings: dict[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())
