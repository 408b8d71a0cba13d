"""What an optimiser remembers, as tensors and JSON: for checkpoints without a pickle."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

_PREFIX = "optimizer."


def pack_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an optimiser's state apart.

    Args:
        optimizer: any of torch's, timm's, or :class:`geobasin.dclr.DCLR`.

    Returns:
        Tensors by name, ``optimizer.<parameter's number>.<field>``; and all else, as JSON holds it.
    """
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for number, fields in whole["state"].items():
        for field, value in fields.items():
            if isinstance(value, Tensor):
                tensors[f"{_PREFIX}{number}.{field}"] = value
            else:
                plain[f"{number}.{field}"] = value
    return tensors, {"groups": whole["param_groups"], "plain": plain}


def unpack_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> None:
    """Give an optimiser the state that :func:`pack_optimizer` took apart.

    Args:
        optimizer: just made, over the same parameters in the same order.
        tensors: by name; names that are not an optimiser's are passed over.
        document: the rest.

    Raises:
        LookupError, TypeError, ValueError: the state is not of such an optimiser.
    """
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith(_PREFIX):
            number, field = name.removeprefix(_PREFIX).split(".", 1)
            # A copy in memory of its own: how a sum rounds can hang on where its terms lie.
            state.setdefault(int(number), {})[field] = value.clone()
    for name, value in document["plain"].items():
        number, field = name.split(".", 1)
        state.setdefault(int(number), {})[field] = value
    groups = [
        # JSON knows no tuples, as betas are.
        {
            name: tuple(value) if isinstance(fresh.get(name), tuple) else value
            for name, value in group.items()
        }
        for fresh, group in zip(optimizer.param_groups, document["groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
