"""Files with tables, Parquet and Arrow: which there are, and the columns in them."""

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geobasin.errors import GeoBasinError

SUFFIXES = (".parquet", ".arrow")
# What datasets leaves beside the tables it saved.
_CACHE = re.compile(r"(cache|tmp)-?.*\.arrow")
_ROWS = 65536


def list_tables(folder: Path) -> list[Path]:
    """List the tables at any depth of a folder, without what datasets caches beside its own.

    Args:
        folder: any.

    Returns:
        The files, sorted.
    """
    found = (path for suffix in SUFFIXES for path in folder.rglob(f"*{suffix}"))
    return sorted(path for path in found if path.is_file() and not _CACHE.fullmatch(path.name))


def read_columns(file: Path, names: Sequence[str]) -> Iterator[Any]:
    """Read some columns of a table, so many rows at a time.

    Args:
        file: a Parquet file by its ending, or else Arrow's stream or file format.
        names: of the columns.

    Yields:
        Record batches of pyarrow.

    Raises:
        GeoBasinError: pyarrow is missing, or a column is not there once.
    """
    if file.suffix == ".parquet":
        with _arrow("pyarrow.parquet").ParquetFile(file) as table:
            _require(names, table.schema_arrow, file)
            yield from table.iter_batches(batch_size=_ROWS, columns=list(names))
        return
    pyarrow = _arrow("pyarrow")
    with pyarrow.memory_map(str(file)) as source:
        magic = source.read(6)
        source.seek(0)
        if magic == b"ARROW1":
            reader = pyarrow.ipc.open_file(source)
            _require(names, reader.schema, file)
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            stream = pyarrow.ipc.open_stream(source)
            _require(names, stream.schema, file)
            yield from stream


def float_rows(column: Any, where: str) -> Tensor:
    """Read lists of floats as rows.

    Args:
        column: of a record batch with at least one row: lists, large lists, lists of fixed size
            or tensors of fixed shape, of floats.
        where: whose column it is, for messages.

    Returns:
        Rows [n, D] float32.

    Raises:
        GeoBasinError: another type, lists of unequal length, or anything missing.
    """
    pyarrow = _arrow("pyarrow")
    if isinstance(column, pyarrow.ExtensionArray):
        column = column.storage
    kind = column.type
    types = pyarrow.types
    listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not listed or not types.is_floating(kind.value_type):
        raise GeoBasinError(f"{where} is {kind}; give lists of floats")
    if column.null_count:
        raise GeoBasinError(f"{where} has empty cells; drop such rows")
    lengths = _arrow("pyarrow.compute").list_value_length(column).to_numpy(zero_copy_only=False)
    if (lengths != lengths[0]).any():
        raise GeoBasinError(f"{where} has lists of {lengths.min()} to {lengths.max()} numbers")
    values = column.flatten()
    if values.null_count:
        raise GeoBasinError(f"{where} has lists with missing numbers; drop such rows")
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float32)
    return torch.from_numpy(numbers.reshape(len(column), int(lengths[0])))


def _require(names: Sequence[str], schema: Any, file: Path) -> None:
    for name in names:
        if schema.names.count(name) != 1:
            raise GeoBasinError(
                f"{file} has {schema.names.count(name)} columns '{name}'; there are: "
                f"{', '.join(schema.names)}"
            )


def _arrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise GeoBasinError(
            f"{module} cannot be imported: {error}; install it with pip install 'geobasin[columns]'"
        ) from error
