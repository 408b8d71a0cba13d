"""TensorBoard's view of a training run: a point for every epoch, kept by a killed process too."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from geobasin.errors import GeoBasinError
from geobasin.train import EpochRecord


@contextmanager
def event_log(folder: Path, first_epoch: int) -> Iterator[SummaryWriter]:
    """Open the event files of a run.

    Args:
        folder: of the event files; made where it is missing.
        first_epoch: what was logged of this epoch and later ones, before a process was killed, is
            purged.

    Yields:
        The writer, for :func:`log_epoch`.

    Raises:
        GeoBasinError: the file system refuses a write.
    """
    outer = threading.excepthook

    def silent(failed: threading.ExceptHookArgs) -> None:
        # The board's own thread prints the error that flushing or closing raises here as well.
        if failed.exc_type is not OSError:
            outer(failed)

    threading.excepthook = silent
    try:
        with SummaryWriter(str(folder), purge_step=first_epoch) as board:
            yield board
    except OSError as error:
        raise GeoBasinError(
            f"cannot write {folder}: {error.strerror}; free some space or choose another folder"
        ) from error
    finally:
        threading.excepthook = outer


def log_epoch(board: SummaryWriter, record: EpochRecord) -> None:
    """Log one epoch; it reaches the file before this returns.

    Args:
        board: from :func:`event_log`.
        record: of the epoch.
    """
    for name, value in record.terms.items():
        board.add_scalar(f"loss/{name}", value, record.epoch)
    board.add_scalar("accuracy/val", record.val.accuracy, record.epoch)
    for scale, accuracy in record.val.scale_accuracy.items():
        board.add_scalar(f"accuracy/val_scale_{scale}", accuracy, record.epoch)
    board.add_scalar("cantor/alpha", record.alpha, record.epoch)
    for scale, weights in record.geometric_weights.items():
        for component, weight in weights.items():
            board.add_scalar(f"weights/scale_{scale}_{component}", weight, record.epoch)
    board.add_scalar("lr", record.lr, record.epoch)
    # A killed process keeps nothing that it had not yet handed over.
    board.flush()
