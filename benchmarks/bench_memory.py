"""Peak memory of a training step of the published configuration at batch 1024."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from memory_process import STEPS

SCRIPT = Path(__file__).with_name("memory_process.py")
SIZE = "published, batch 1024"


@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_peak_memory(record, simplices: str) -> None:
    """A fresh process for each way, on the CPU."""
    found = {}
    for way in STEPS:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), way, SIZE, simplices],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[way] = json.loads(done.stdout.splitlines()[-1])
    assert 0 < found["library"]["step_bytes"] < found["reference"]["step_bytes"]
    record(
        "peak memory",
        size=SIZE,
        simplices=simplices,
        bytes=found,
        times_less=found["reference"]["step_bytes"] / found["library"]["step_bytes"],
    )
