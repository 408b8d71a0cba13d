"""Models that save to a folder, push to a model hub and come back, as safetensors only."""

from pathlib import Path
from typing import Any, Self

from huggingface_hub import HfApi, ModelCard, ModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

from geobasin.errors import GeoBasinError
from geobasin.tensors import load_weights, save_tensors

WEIGHTS = "model.safetensors"


class HubModel(
    ModelHubMixin,
    library_name="geobasin",
    license="mit",
    tags=["geometric-basin", "frozen-features"],
):
    """huggingface_hub's mixin without its fall-back to pickled weights.

    ``save_pretrained(folder)``, ``from_pretrained(folder or repository)`` and
    ``push_to_hub(repository)`` are the mixin's; the constructor's arguments travel in
    ``config.json``, the weights in ``model.safetensors``, and the card is the model's own.
    """

    def card_text(self, **facts: Any) -> str:
        """Text of the model card.

        Args:
            facts: what ``model_card_kwargs`` holds.

        Returns:
            Markdown.
        """
        raise NotImplementedError

    def generate_model_card(self, *_: Any, **facts: Any) -> ModelCard:
        """The card that :meth:`save_pretrained` writes.

        Args:
            facts: passed on to :meth:`card_text`.

        Returns:
            The card.
        """
        return ModelCard(self.card_text(**facts))

    def _save_pretrained(self, save_directory: Path) -> None:
        assert isinstance(self, nn.Module)
        save_tensors(save_directory / WEIGHTS, self.state_dict(), {"format": "pt"})

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **settings: Any,
    ) -> Self:
        folder = Path(model_id)
        if folder.is_dir():
            path = folder / WEIGHTS
        else:
            try:
                path = Path(
                    hf_hub_download(
                        repo_id=model_id,
                        filename=WEIGHTS,
                        revision=revision,
                        cache_dir=cache_dir,
                        force_download=force_download,
                        token=token,
                        local_files_only=local_files_only,
                    )
                )
            except EntryNotFoundError as error:
                raise GeoBasinError(
                    f"'{model_id}' has no {WEIGHTS}; pickled weights are not loaded"
                ) from error
        model = cls(**settings)
        assert isinstance(model, nn.Module)
        model.load_state_dict(load_weights(path))
        model.eval()
        return model


def push_folder(folder: Path, repository: str, path_in_repository: str, message: str) -> str:
    """Upload a folder to a model hub, making the repository where it is missing.

    Args:
        folder: its files are uploaded.
        repository: ``owner/name``.
        path_in_repository: folder they go to.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        GeoBasinError: the hub refuses or cannot be reached.
    """
    api = HfApi()
    try:
        repo_id = api.create_repo(repo_id=repository, exist_ok=True).repo_id
        return str(
            api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                path_in_repo=path_in_repository,
                commit_message=message,
            )
        )
    # The hub's library lets its HTTP client's own errors through, and changes that client.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise GeoBasinError(
            f"cannot push to '{repository}': {reason}; see 'hf auth login'"
        ) from error
