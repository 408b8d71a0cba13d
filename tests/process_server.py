"""A process that has loaded torch, from which tests fork those that they kill, starve or watch."""

import multiprocessing
import os

# Where a test asks for two threads, the one that waits leaves the core to others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SERVER = multiprocessing.get_context("forkserver")
# There is one such process for all tests. What is missing here every fork of it has to load anew.
SERVER.set_forkserver_preload(
    [
        "geobasin.__main__",
        "geobasin.features",
        "geobasin.ladder_folder",
        "geobasin.report",
        "geobasin.stage4",
        # What torch, scikit-learn and the stage load when they are first used.
        "torch._dynamo",
        "sklearn.datasets",
        "timm",
        "torchvision.datasets",
    ]
)
