"""A sealed run of the stage as an encoder: its ViT-Tiny, frozen, ahead of the classifier."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from geobasin.encoder import Encoder
from geobasin.errors import GeoBasinError
from geobasin.image_folder import central_square
from geobasin.images import normalise
from geobasin.stage4_config import StageConfig
from geobasin.stage4_folder import LOG, WEIGHTS, load_stage
from geobasin.stage4_model import NAME, build_vit
from geobasin.tensors import content_digest, load_weights

_HEAD = "head."


def is_run(encoder: str) -> bool:
    """Tell whether an encoder's name is the path of a run's folder, finished or not."""
    try:
        return (Path(encoder) / LOG).is_file()
    except OSError:
        # A name may be too long for a path.
        return False


def load_run_encoder(folder: Path, image_size: int | None = None) -> tuple[Encoder, dict[str, str]]:
    """Make a frozen encoder of a run's weights.

    Args:
        folder: of a finished run with its weights, as :func:`geobasin.stage4.run_stage` leaves it.
        image_size: side in pixels; None, or the run's own.

    Returns:
        The encoder, on the CPU: images prepared as the run prepared its own -> what its classifier
        reads, ``[B, 192]``. And words for a feature file's metadata: the model with the name of the
        folder, and the digest of the run's weights.

    Raises:
        GeoBasinError: the folder is not as it was sealed or is no such run, its weights were not
            kept, or another image size is asked for.
    """
    run = load_stage(folder)
    if not (folder / WEIGHTS).is_file():
        raise GeoBasinError(
            f"{folder} has no {WEIGHTS}; train to the end, and without --no-weights"
        )
    weights = load_weights(folder / WEIGHTS)
    try:
        size = StageConfig(**run.header["config"]).image_size
        if run.summary["weights_sha512"] != content_digest(weights):
            raise GeoBasinError(f"{folder / WEIGHTS} is not of this run; train it again")
    except (LookupError, TypeError) as error:
        raise GeoBasinError(f"{folder} is no run of the stage: {error!r}; name another") from error
    if image_size not in (None, size):
        raise GeoBasinError(
            f"the run in {folder} saw images of {size} pixels, not {image_size}; leave the image "
            "size out"
        )
    network = build_vit(size, 0, seed=0)
    body = {name: value for name, value in weights.items() if not name.startswith(_HEAD)}
    try:
        network.load_state_dict(body)
    except RuntimeError as error:
        raise GeoBasinError(f"{folder / WEIGHTS} does not fit {NAME}; name another run") from error
    network.eval().requires_grad_(False)

    def prepare(image: Image.Image) -> Tensor:
        return normalise(central_square(image, size))

    words = {
        "encoder": f"{NAME}, stage4 run {folder.resolve().name}",
        "weights_sha512": run.summary["weights_sha512"],
    }
    return Encoder(network, prepare, size), words
