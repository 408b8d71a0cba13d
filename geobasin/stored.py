"""Rows that stay on disk: memory-mapped shards, shuffled by blocks within bounded memory."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate, pairwise
from typing import TypeVar

import torch
from torch import Tensor

from geobasin.split import Split, drawn_rows

# A block is long enough to be read at a disk's full speed, and a window holds so many of them
# that a batch drawn from it comes from all over the split.
BLOCK_BYTES = 2**16
WINDOW_BYTES = 2**27
# Types that a window keeps as they are; others are widened to float32 on the way.
_KEPT = (torch.float16, torch.bfloat16, torch.float32)

Result = TypeVar("Result")


class StoredSplit(Split):
    """Rows of one split in the shards of a folder; only what is being looked at is in memory.

    A shuffled pass cuts the split into blocks of consecutive rows, draws the order of the blocks,
    reads a window of many blocks at a time, and draws the order of the rows within it. Every row
    comes once. A second window is read while the first is trained on, so that no more than two
    are in memory: twice :data:`WINDOW_BYTES`, beside the labels.

    Args:
        parts: memory-mapped features [n_i, D] in the order of the rows, any float.
        labels: [N] int64, N the sum of the n_i.
        device: where rows are given out.
        block_bytes: bytes of a block on disk, rounded down to whole rows, at least one row.
        window_bytes: bytes of a window, rounded down to whole blocks, at least one block.
    """

    def __init__(
        self,
        parts: Sequence[Tensor],
        labels: Tensor,
        device: torch.device | None = None,
        *,
        block_bytes: int = BLOCK_BYTES,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._place = device or torch.device("cpu")
        kinds = {part.dtype for part in parts}
        self._kind = kinds.pop() if len(kinds) == 1 and kinds <= {*_KEPT} else torch.float32
        self._parts = list(parts)
        self._starts = [0, *accumulate(len(part) for part in parts)]
        self._bytes = (block_bytes, window_bytes)
        row = self._kind.itemsize * self.width
        self.block_rows = max(block_bytes // row, 1)
        self.window_rows = max(window_bytes // row // self.block_rows, 1) * self.block_rows
        self._labels = labels.to(self._place)

    # The base class is a frozen dataclass, whose fields cannot be assigned: the attributes here
    # are others, and its two fields are read through properties.
    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"StoredSplit({len(self)} rows of {self.width}, {len(self._parts)} shards)"

    @property
    def features(self) -> Tensor:
        """All rows at once, [N, D] float32, read anew: for methods that cannot do with less."""
        return self._read([(0, len(self))]).to(self._place).float()

    @property
    def labels(self) -> Tensor:
        """Labels of all rows, [N] int64, in memory."""
        return self._labels

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self._parts[0].shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Type of the features as they are given out: float32, whatever is on disk."""
        return torch.float32

    def to(self, device: torch.device) -> "StoredSplit":
        """The same rows on disk, given out on another device."""
        block, window = self._bytes
        return StoredSplit(
            self._parts, self._labels, device, block_bytes=block, window_bytes=window
        )

    def chunks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the split in its own order, as :meth:`Split.chunks`."""
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            chunk = self._read([(start, stop)]).to(self._place).float()
            yield chunk, self._labels[start:stop]

    def batches(
        self, size: int, generator: torch.Generator, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the split once in an order drawn by blocks, as :meth:`Split.batches`.

        Args:
            size: rows in a batch.
            generator: on the CPU; the order follows from it, from N and from the sizes of block
                and window alone.
            start: batches to leave out; windows that they fill are not read.

        Yields:
            Features [n, D] float32 and labels [n].
        """
        rest: tuple[Tensor, Tensor] | None = None
        for features, labels, order in ahead(self._windows(generator, start * size)):
            if rest is not None:
                # A batch that began in the window before.
                missing, order = order[: size - len(rest[1])], order[size - len(rest[1]) :]
                head = torch.cat([rest[0], features[missing].float()])
                batch = (head, torch.cat([rest[1], labels[missing]]))
                rest = batch if len(batch[1]) < size else None
                if rest is None:
                    yield batch
            for rows in order.split(size):
                batch = (features[rows].float(), labels[rows])
                if len(rows) == size:
                    yield batch
                elif len(rows):
                    rest = batch
            # The window's memory is needed for the one after the next.
            del features, labels
        if rest is not None:
            yield rest

    def sample(self, most: int) -> tuple[Tensor, Tensor]:
        """Rows that stand for all, as :meth:`Split.sample`."""
        if len(self) <= most:
            return self.features, self.labels
        rows = drawn_rows(len(self), most)
        found = []
        for part, (first, last) in zip(self._parts, pairwise(self._starts), strict=True):
            inside = rows[(rows >= first) & (rows < last)] - first
            found.append(part[inside].to(self._kind))
        features = torch.cat(found).to(self._place).float()
        return features, self._labels[rows.to(self._place)]

    def _windows(
        self, generator: torch.Generator, skip: int
    ) -> Iterator[Callable[[], tuple[Tensor, Tensor, Tensor]]]:
        """Reads to be done, each giving a window's features, labels and drawn order."""
        blocks = torch.randperm(-(-len(self) // self.block_rows), generator=generator)
        for chosen in blocks.split(self.window_rows // self.block_rows):
            firsts = (chosen * self.block_rows).tolist()
            spans = [(first, min(first + self.block_rows, len(self))) for first in firsts]
            rows = sum(last - first for first, last in spans)
            order = torch.randperm(rows, generator=generator)
            if skip < rows:
                yield partial(self._load, spans, order[skip:])
            skip = max(skip - rows, 0)

    def _load(self, spans: list[tuple[int, int]], order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self._read(spans)
        if self._place.type == "cuda":
            features = features.pin_memory()
        rows = torch.cat([torch.arange(first, last) for first, last in spans])
        return (
            features.to(self._place, non_blocking=True),
            self._labels[rows.to(self._place)],
            order.to(self._place),
        )

    def _read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """Rows of the spans ``[first, last)``, one after the other, in the type of the window."""
        count = sum(last - first for first, last in spans)
        out = torch.empty(count, self.width, dtype=self._kind)
        filled = 0
        for first, last in spans:
            number = bisect_right(self._starts, first) - 1
            while first < last:
                begun, end = self._starts[number : number + 2]
                rows = self._parts[number][first - begun : min(last, end) - begun]
                out[filled : filled + len(rows)] = rows
                filled, first, number = filled + len(rows), first + len(rows), number + 1
        return out


def ahead(work: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Do pieces of work in order, each while its forerunner's result is in use.

    Args:
        work: functions, called one at a time in a thread of their own.

    Yields:
        Their results. No more than two exist at a time if the user lets go of each one.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending: Future[Result] | None = None
        for piece in work:
            future = pool.submit(piece)
            if pending is not None:
                yield pending.result()
            pending = future
        if pending is not None:
            yield pending.result()
