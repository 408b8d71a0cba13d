"""The stage's checkpoints: what a killed run goes on from, as safetensors and JSON, no pickle.

``checkpoint-000100.safetensors`` holds weights and optimiser after step 100 with everything the
summary will need. The order of the images follows from seed and step, and nothing else in the stage
is random, so that no random state is kept. A checkpoint counts as good once the next step's loss
has shown its weights to be sound; until then the one before it is kept as well.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from geobasin.errors import GeoBasinError
from geobasin.files import canonical_json
from geobasin.optimizer_state import pack_optimizer, unpack_optimizer
from geobasin.tensors import content_digest, read_tensors, save_tensors

_STEM = "checkpoint-"
_ENDING = ".safetensors"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in a run's folder.

    Attributes:
        folder: of the run.
        every: steps between two checkpoints, >= 0; 0 writes none.
        about: ``config`` and ``images`` of the run, as its log's header has them.
    """

    folder: Path
    every: int
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.every < 0:
            raise GeoBasinError(f"checkpoint_every must be 0 or more, not {self.every}")

    def due(self, step: int) -> bool:
        """Tell whether a checkpoint is written after a step."""
        return self.every > 0 and step % self.every == 0

    def steps(self) -> list[int]:
        """List the steps of which there is a checkpoint, in order."""
        names = (path.name for path in self.folder.glob(f"{_STEM}*{_ENDING}"))
        numbers = (name.removeprefix(_STEM).removesuffix(_ENDING) for name in names)
        return sorted(int(number) for number in numbers if number.isdecimal())

    def path(self, step: int) -> Path:
        """Give the file of a step's checkpoint."""
        return self.folder / f"{_STEM}{step:06d}{_ENDING}"

    def save(
        self, step: int, model: nn.Module, optimizer: Optimizer, progress: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint, atomically and to the disk.

        Args:
            step: the last step that weights and optimiser have taken.
            model: its weights.
            optimizer: its state.
            progress: all else that the run needs to go on, as JSON can hold it.

        Raises:
            GeoBasinError: the file system refuses the write; older checkpoints are left as they
                were.
        """
        tensors, rest = pack_optimizer(optimizer)
        tensors |= {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors = {name: value.detach().cpu() for name, value in tensors.items()}
        text = canonical_json({**self.about, "step": step, "progress": progress, "optimizer": rest})
        digest = content_digest(tensors, text)
        save_tensors(self.path(step), tensors, {"stage4": text, "sha512": digest})

    def restore(self, step: int, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        """Put a model and an optimiser where a checkpoint was taken.

        Args:
            step: of the checkpoint.
            model: of the same shape, on its device.
            optimizer: just made, over the model's parameters.

        Returns:
            The progress that was saved with it.

        Raises:
            GeoBasinError: the file is unreadable, altered since it was written, or of a run with
                other settings or images.
        """
        path = self.path(step)
        tensors, metadata = read_tensors(path)
        text = metadata.get("stage4", "")
        if metadata.get("sha512") != content_digest(tensors, text):
            raise GeoBasinError(f"{path} is not as it was written; remove it or start a new run")
        try:
            document = json.loads(text)
            require_same(document, self.about, path)
            model.load_state_dict(
                {
                    name.removeprefix("model."): value
                    for name, value in tensors.items()
                    if name.startswith("model.")
                }
            )
            unpack_optimizer(optimizer, tensors, document["optimizer"])
            progress: dict[str, Any] = document["progress"]
        except GeoBasinError:
            raise
        # Torch tells of tensors that do not fit in many ways.
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise GeoBasinError(f"cannot resume from {path}: {error!r}; start a new run") from error
        return progress

    def confirm(self, step: int) -> None:
        """Let the checkpoint of a step be the only one, now that its weights have proved sound."""
        if self.path(step).exists():
            for other in self.steps():
                if other != step:
                    self.path(other).unlink()

    def reject(self, step: int) -> None:
        """Remove the checkpoint of a step, if there is one: its weights have proved unsound."""
        self.path(step).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all checkpoints."""
        for step in self.steps():
            self.path(step).unlink()


def require_same(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with a run of other settings or images.

    Args:
        theirs: ``config`` and ``images`` from a file.
        ours: the same as they are now.
        path: the file.

    Raises:
        GeoBasinError: they differ; the first setting that does is named.
    """
    for part in ("config", "images"):
        there, here = theirs.get(part), ours[part]
        if not isinstance(there, dict):
            raise GeoBasinError(f"{path} does not tell its {part}; start a new run")
        for name in [*here, *there]:
            if name not in there or name not in here or there[name] != here[name]:
                what = name if part == "config" else f"{part}: {name}"
                raise GeoBasinError(
                    f"cannot resume: {what} is {there.get(name)!r} in {path} and "
                    f"{here.get(name)!r} now; give the same, or a new --out without --resume"
                )
