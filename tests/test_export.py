"""Exported models: the same logits for any number of rows, also where this library is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geobasin.__main__ import main
from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.export import export_model, exported
from geobasin.features import synthetic
from geobasin.model import GeoFractalDavid
from geobasin.runs import train_run

# What somebody runs who has torch and the file, and nothing else.
STRANGER = """
import sys, torch
from safetensors.torch import load_file, save_file
sys.modules["geobasin"] = None
about = {"geobasin.json": ""}
program = torch.export.load(sys.argv[1], extra_files=about).module()
logits = {name: program(rows) for name, rows in load_file(sys.argv[2]).items()}
save_file({name: value.detach() for name, value in logits.items()}, sys.argv[3])
print(about["geobasin.json"])
"""


def batches() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {str(rows): torch.randn(rows, 8, generator=generator) for rows in (1, 2, 7, 64)}


@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_exported_logits_are_those_of_the_model(simplices: str) -> None:
    torch.manual_seed(0)
    model = GeoFractalDavid(8, 5, k=3, scales=(6, 10), simplices=simplices).train()
    program = exported(model).module()
    assert model.training
    for features in batches().values():
        torch.testing.assert_close(program(features), model(features), atol=1e-6, rtol=0)


def test_a_run_exports_for_those_without_this_library(tmp_path: Path, capsys) -> None:
    features = synthetic(classes=4, feature_dim=8, rows_per_class=20)
    config = TrainConfig(k=3, scales=(8,), epochs=1, levels=2)
    folder = train_run(features, config, tmp_path, source="synthetic")
    file, given, found = (tmp_path / name for name in ("m.pt2", "rows", "logits"))
    assert main(["export", str(folder), "--out", str(file)]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    save_file(batches(), given)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, file, given, found],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (weights,) = folder.glob("best_model_acc*.safetensors")
    about = json.loads(done.stdout)
    model = GeoFractalDavid(**about["settings"]).eval()
    model.load_state_dict(load_file(weights))
    logits = load_file(found)
    for name, rows in batches().items():
        torch.testing.assert_close(logits[name], model(rows), atol=1e-6, rtol=0)
    assert about["class_names"] == list(features.class_names)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match=r"\.pt2"):
        export_model(GeoFractalDavid(4, 2, k=2, scales=(4,)), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
