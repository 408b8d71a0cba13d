"""The commands as a user runs them: a process each, its streams and its exit status."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geobasin.__main__ import main

SMALL = ["--scales", "8,16", "--k", "3", "--epochs", "2", "--levels", "2"]


def geobasin(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "geobasin", *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    done = geobasin("train", "--features", "digits", *SMALL, folder=folder)
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stderr
    run = folder / done.stdout.splitlines()[-1]
    assert run.is_dir()
    return run


def test_train_then_verify_then_probe(trained: Path) -> None:
    verified = geobasin("verify", trained, folder=trained.parent)
    assert (verified.returncode, verified.stdout.strip()) == (0, f"{trained}: intact")
    probed = geobasin("probe", trained, folder=trained.parent)
    assert probed.returncode == 0, probed.stderr
    for title in ("prototypes", "geometric weights", "alpha", "thirds", "removed", "collapse"):
        assert title in probed.stdout
    assert geobasin("verify", trained, folder=trained.parent).returncode == 0


def test_verify_names_every_file_that_differs(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "README.md").write_text("another card\n")
    (copy / "training_history.json").unlink()
    (copy / "extra.txt").write_text("")
    done = geobasin("verify", copy, folder=tmp_path)
    assert done.returncode == 1
    for name in ("README.md", "training_history.json", "extra.txt"):
        assert name in done.stdout
    assert main(["probe", str(copy)]) == 2
    assert main(["seal", str(copy)]) == 0
    assert main(["verify", str(copy)]) == 0


def test_train_takes_a_feature_file(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(60, 6, generator=generator), torch.arange(60) % 3
    parts = {"train": slice(0, 40), "val": slice(40, 60)}
    content = {f"{name}.features": rows[part].half().clone() for name, part in parts.items()}
    content |= {f"{name}.labels": labels[part].clone() for name, part in parts.items()}
    save_file(content, tmp_path / "mine.safetensors")
    done = geobasin(
        "train", "--features", "mine.safetensors", "--simplices", "free", *SMALL, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "mine-free-seed0" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--features", "nowhere.safetensors"], "no features at"),
        (["train", "--features", "digits", "--k", "99", "--scales", "8"], "does not fit"),
        (["train", "--features", "digits", "--lr", "-1"], "lr must be above 0"),
        (["train", "--features", "digits", "--device", "abacus"], "abacus"),
        (["train", "--features", "digits", "--resume", *SMALL], "no interrupted run"),
        (["probe", "nowhere"], "nowhere"),
        (["seal", "nowhere"], "nowhere"),
        (["verify", "nowhere"], "nowhere"),
        (["stage4", "--mode", "RFT", "--data_dir", "nowhere"], "nowhere"),
        (["extract", "--images", "nowhere", "--out", "x.safetensors"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2_and_leaves_nothing(
    words: list[str], says: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(f"geobasin {words[0]}: ")
    assert says in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--features", "digits", "--k", "three"], "invalid int value: 'three'"),
        (["train", "--features", "digits", "--scales", "8;9"], "not a list like 384,512"),
        (["seal"], "DIR"),
        (["seal", "a", "b\nc"], "unrecognized arguments: b c"),
        (["bake"], "'bake'"),
        (["seal", "\udcff"], "not UTF-8"),
        ([], "COMMAND"),
    ],
)
def test_words_that_are_no_options_are_one_line(words: list[str], says: str, capsys) -> None:
    """It is one line like any other, without the usage before it."""
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert "--help" in line


@pytest.mark.parametrize(
    "command", ["train", "probe", "ladder", "extract", "stage4", "seal", "verify"]
)
def test_every_command_explains_itself(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"python -m geobasin {command}" in capsys.readouterr().out


def test_commands_that_need_no_torch_do_not_load_it() -> None:
    code = """
import sys
from geobasin.__main__ import main
main(["seal", "nowhere"])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_ctrl_c_leaves_a_run_that_resumes(tmp_path: Path) -> None:
    words = ["train", "--features", "digits", "--scales", "8", "--k", "3", "--epochs", "40"]
    command = [sys.executable, "-m", "geobasin", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("weights/*/*/checkpoint.safetensors")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "the same command with --resume goes on" in said
    (interrupted,) = tmp_path.glob("weights/*/*")
    resumed = geobasin(*words, "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert tmp_path / resumed.stdout.splitlines()[-1] == interrupted
    assert not (interrupted / "checkpoint.safetensors").exists()
    assert len(json.loads((interrupted / "training_history.json").read_text())) == 40
