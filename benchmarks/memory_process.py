"""Peak memory of one training step, in a process that does nothing else; prints JSON."""

import json
import resource
import sys
import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from workload import SIZES, library_step, reference_step

STEPS = {"reference": reference_step, "library": library_step}


def peak_of(step) -> int:
    """Most bytes that a step's own tensors hold at once, as torch's allocator counts them.

    What stood before the step (weights, AdamW's state, the batch) does not count; gradients do.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    held = most = 0
    for event in sorted(changes, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most


def main(way: str, size: str, simplices: str) -> None:
    """Take a step that makes AdamW's state, then one that is watched."""
    step = STEPS[way](SIZES[size], simplices, torch.device("cpu"))
    step()
    own = peak_of(step)
    # Linux counts in kibibytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"step_bytes": own, "process_bytes": resident}))


if __name__ == "__main__":
    main(*sys.argv[1:])
