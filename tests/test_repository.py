"""The repository itself: clean code, pinned versions that agree, rooms in their order."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

from geobasin.seal import verify

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "geobasin").rglob("*.py"))
# Lower rooms first; a module may import only from its own line and those above it.
ROOMS = (
    ("errors", "command_line", "files", "machine", "published", "distributed"),
    ("nearest", "compatibility", "contraction", "cross_entropy"),
    ("tensors", "cantor", "simplex", "seal"),
    ("dclr", "dclr_update", "dclr_reference", "orbital"),
    ("dclr_trace", "dclr_ablations"),
    ("energy", "energy_sources", "energy_nvml", "step_record", "telemetry", "split", "survey"),
    ("feature_set",),
    ("stored", "shards", "table_labels", "table_files", "columns"),
    ("head", "hub", "card", "model", "features", "fractals", "image_folder", "images"),
    ("encoder", "extraction", "feature_options"),
    ("loss", "initial", "evaluation", "contest", "baselines", "rival_heads"),
    ("rival_optimizers", "optimizers", "optimizer_state"),
    ("convert", "config", "epoch_record", "objective", "train", "checkpoint", "rivals"),
    ("event_log", "runs", "export", "estimator", "ladder", "ladder_folder"),
    ("probe", "collapse", "confusion", "learned", "claims", "card_claims", "rerun"),
    ("costs", "cost_tables"),
    ("stage4_config", "stage4_model", "stage4_data", "stage4_checkpoint", "stage4_progress"),
    ("stage4_objective",),
    ("stage4_trainer", "stage4_loop", "stage4_folder", "stage4"),
    ("stage4_encoder", "extract"),
    ("workloads", "compare_record", "compare_trial", "compare_protocol"),
    ("compare_choice", "compare_result", "compare_table", "stage_runs", "stage_claims"),
    ("result_tables",),
    ("figures", "widgets"),
    ("report", "compare", "train_command"),
    ("__init__", "__main__"),
)


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [re.match(r"([\w.-]+)==([\w.+-]+)( ; .+)?$", line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if pin is None]
    return {canonical(pin[1]): pin[2] for pin in pins if pin}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_code_is_clean(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_environment_has_the_versions_of_the_lock() -> None:
    pins = locked()
    pins["pytorch"] = pins["torch"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    entries = environment["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    found = {
        canonical(match[1]): match[2]
        for entry in [*entries, *pip]
        if isinstance(entry, str) and (match := re.match(r"([\w-]+)==?([\w.]+)", entry))
    }
    python = found.pop("python")
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert requires == f">={python}"
    assert {"pytorch", "torchvision"} <= found.keys()
    assert found == {name: pins[name] for name in found}


def test_lock_satisfies_the_declared_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    names = {canonical(re.match(r"[\w.-]+", line)[0]) for line in declared} - {"geobasin"}
    assert names <= locked().keys()


def test_modules_stay_short() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in LIBRARY}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_lower_rooms_never_import_higher_ones() -> None:
    floor = {name: level for level, names in enumerate(ROOMS) for name in names}
    for path in LIBRARY:
        room = path.relative_to(ROOT / "geobasin").with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("geobasin."):
                imported = node.module.split(".")[1]
                assert floor[imported] <= floor[room], f"{path.name} imports {imported}"


def test_every_module_has_its_room_and_its_line_of_purpose() -> None:
    rooms = {name for names in ROOMS for name in names}
    for path in LIBRARY:
        assert path.relative_to(ROOT / "geobasin").with_suffix("").parts[0] in rooms, path
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_nothing_is_unpickled() -> None:
    for path in LIBRARY:
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert not names & {"pickle", "unpickle"}, path
        assert "torch.load(" not in path.read_text(), path


def test_sealed_runs_are_intact() -> None:
    folders = [path.parent for path in (ROOT / "book" / "runs").rglob("SHA512SUMS")]
    assert folders
    for folder in folders:
        assert verify(folder) == [], folder
