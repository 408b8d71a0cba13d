"""Processes of their own, forked from one that has torch loaded: the stage, and half a group."""

import json
import math
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from process_server import SERVER

from geobasin import stage4, stage4_model
from geobasin.__main__ import main
from geobasin.distributed import process_group
from geobasin.errors import GeoBasinError

Hook = Callable[[int, str], None]


def little_vit(image_size: int, num_classes: int, seed: int) -> torch.nn.Module:
    """Make the stage's model with one narrow layer, so that a run takes a moment."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(
            stage4_model.NAME, img_size=image_size, num_classes=num_classes, depth=1, embed_dim=24
        )


def start(
    folder: Path,
    words: list[str],
    hook: Hook | None = None,
    environment: Mapping[str, str] | None = None,
) -> multiprocessing.Process:
    """Start ``python -m geobasin stage4`` in a folder with the little model and one thread.

    Before each change of a file under ``run``, the hook is told its number, from 1, and the event.
    """
    process = SERVER.Process(target=_live, args=(folder, words, hook, environment or {}))
    process.start()
    return process


def _live(
    folder: Path, words: list[str], hook: Hook | None, environment: Mapping[str, str]
) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
    torch.set_num_threads(1)
    stage4.build_vit = little_vit
    changes = 0

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if hook and (writes or event in {"os.rename", "os.remove", "os.chmod", "os.mkdir"}):
            path = Path(os.fsdecode(arguments[0])).absolute()
            if path.is_relative_to(folder / "run"):
                changes += 1
                hook(changes, f"{event} {path.name}")

    sys.addaudithook(listen)
    code = main(["stage4", *words])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def die_at(number: int, change: int, event: str) -> None:
    """Be killed just before the numbered change."""
    if change == number:
        os.kill(os.getpid(), signal.SIGKILL)


def interrupt_at(number: int, change: int, event: str) -> None:
    """Be interrupted, as by Ctrl-C, just before the numbered change."""
    if change == number:
        signal.raise_signal(signal.SIGINT)


def note(path: Path, change: int, event: str) -> None:
    """Write the event down."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{event}\n".encode())
    os.close(descriptor)


def run_out_of_space(change: int, event: str) -> None:
    """Leave too little room for another checkpoint, once one is written."""
    if event.startswith("os.rename .checkpoint"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def join(folder: Path, environment: dict[str, str]) -> multiprocessing.Process:
    """Start one process of a group; what it finds there goes to ``<folder>/<rank>.json``."""
    process = SERVER.Process(target=_member, args=(folder, environment))
    process.start()
    return process


def _member(folder: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with process_group() as group:
        told: dict[str, Any] = {"rank": group.rank, "size": group.size, "main": group.is_main}
        told["sums"] = group.sums([group.rank + 1, 2.0**53 - 3 * group.rank, [1e16, 1][group.rank]])
        told["gathered"] = group.gather([group.rank, math.pi])
        model = torch.nn.Linear(2, 1, bias=False)
        torch.nn.init.constant_(model.weight, group.rank + 1.0)
        whole = group.wrap(model)
        whole(torch.tensor([[1.0, 10.0], [3.0, 30.0]])[group.rank]).sum().backward()
        assert model.weight.grad is not None
        told["weight"], told["gradient"] = model.weight.tolist(), model.weight.grad.tolist()
        try:
            with group.together():
                if group.rank == 1:
                    raise GeoBasinError("my disk is full")
        except GeoBasinError as error:
            told["error"] = str(error)
    (folder / f"{group.rank}.json").write_text(json.dumps(told))
