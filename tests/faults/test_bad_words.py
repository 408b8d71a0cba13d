"""Whatever stands on the command line: status 0, 1 or 2, one line where it is an error."""

import io
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import strategies as st

from geobasin.__main__ import main
from geobasin.features import synthetic

WORDS = (
    *("", " ", "-1", "0", "1", "2", "8", "1e400", "-0.5", "0.5", "nan", "inf", "9" * 30),
    *("None", "8,8", ",", "8,", "-8", "..", "../x", "/", "/dev/null", "/proc/x", "nowhere"),
    *("é\u0301", "\udcff", "a" * 300, "two\nlines", "\x1b[2J", "%s", "{}", "f.safetensors", "made"),
)
BARS = ("epoch ", "\r", "train:", "val:", "RFT ", "  0%")
# Left out: how long a run lasts. Whoever asks for 9999999 epochs shall have them.
OPTIONS = {
    "train": "features simplices scales components schedule optimizer k levels batch seed "
    "alpha-init tau reach lr weight-decay gradient-clip warmup temperature label-smoothing "
    "scale-weight coherence-weight separation-weight discretisation-weight device out "
    "push-every resume",
    "probe": "features",
    "keep": "features out",
    "export": "out",
    "ladder": "features seeds method device out",
    "extract": "images classes encoder out batch device image_size no-pretrained",
    "stage4": "mode batch lr data_dir classes head loss image_size seed out optimizer weight-decay "
    "refresh schedule warmup telemetry-every val-every device workers assumed-watts quiet resume",
    "seal": "",
    "verify": "",
    "nothing": "",
}
BASES = {
    "train": "--features f.safetensors --epochs 1 --scales 8 --k 2 --levels 1 --batch 64",
    "probe": "nowhere",
    "keep": "nowhere --features f.safetensors --out made",
    "export": "nowhere --out made.pt2",
    "ladder": "--features f.safetensors --seeds 1 --out made --method nowhere",
    "extract": "--images nowhere --out made/x.safetensors --no-pretrained",
    "stage4": "--mode RFT --steps 1 --data_dir nowhere --out made --quiet",
    "seal": "nowhere",
    "verify": "nowhere",
}


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command with options of its own, good and bad values in any order."""
    command = draw(st.sampled_from(list(OPTIONS)))
    values = st.sampled_from(WORDS) | st.text(st.characters(exclude_characters="\x00"), max_size=6)
    # Most often all is well but for one option.
    words = draw(st.sampled_from([BASES.get(command, "").split()] * 4 + [[]]))
    names = st.sampled_from(OPTIONS[command].split() or ["x"])
    for name in draw(st.lists(names, min_size=1, max_size=2)):
        words = [*words, f"--{name}", draw(values)]
    return [command, *words, *draw(st.sampled_from([[], [], [], ["x"], [""]]))]


@pytest.mark.fault("the command line", "words of any kind", times=120, campaign=1_000)
def test_no_words_bring_a_command_down(
    fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    features = synthetic(classes=3, feature_dim=5, rows_per_class=8)
    features.save(tmp_path / "f.safetensors")
    monkeypatch.chdir(work)

    def say(words: list[str]) -> None:
        for path in work.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copy(tmp_path / "f.safetensors", work)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = main(words)
            except SystemExit as left:
                status = left.code
        assert status in (0, 1, 2)
        told = [line for line in err.getvalue().splitlines() if line and not line.startswith(BARS)]
        if status == 2:
            assert len(told) == 1, told
        assert {path.name for path in tmp_path.iterdir()} == {"work", "f.safetensors"}

    fault.examples(lines(), say)
