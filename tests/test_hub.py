"""Saving, loading and pushing models, against a hub on this machine that speaks its calls."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import pytest
import torch
from huggingface_hub import ModelCard

from geobasin.errors import GeoBasinError
from geobasin.model import GeoFractalDavid
from geobasin.runs import load_run

SMALL = ["--scales", "8,16", "--k", "3", "--epochs", "4", "--levels", "2"]


class Hub(BaseHTTPRequestHandler):
    """The few calls that creating, committing to and downloading from a repository make."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: HubServer = self.server
        if self.path == "/api/repos/create":
            request = json.loads(body)
            server.created.append(request["name"])
            owner = request.get("organization") or "someone"
            self._answer({"url": f"{server.address}/{owner}/{request['name']}"})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    server.files[line["value"]["path"]] = content
            server.commits.append(lines[0]["value"]["summary"])
            commit = f"{len(server.commits):040x}"
            self._answer(
                {
                    "commitUrl": f"{server.address}/someone/basin/commit/{commit}",
                    "commitOid": commit,
                }
            )
        else:
            self._answer({})

    def do_GET(self) -> None:
        server: HubServer = self.server
        name = unquote(self.path.split("?")[0]).split("/resolve/main/")[-1]
        if "/resolve/" not in self.path:
            self._answer({"id": "someone/basin", "sha": "0" * 40, "siblings": []})
        elif name in server.files:
            data = server.files[name]
            self.send_response(200)
            self.send_header("ETag", hashlib.sha1(data).hexdigest())
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815 (the base class's name)

    def _answer(self, answer: object) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep the access log out of the tests' output."""


class HubServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.created: list[str] = []
        self.commits: list[str] = []
        self.files: dict[str, bytes] = {}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    server = HubServer()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def python(*words: str, folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    surroundings = os.environ | {
        "HF_ENDPOINT": address,
        "HF_TOKEN": "hf_of_this_test",
        "HF_HOME": str(folder / "cache"),
    }
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_is_pushed_on_the_way_and_at_the_end(hub: HubServer, tmp_path: Path) -> None:
    push = ["--push-to", "someone/basin", "--push-every", "2"]
    done = python(
        "-m", "geobasin", "train", "--features", "digits", *SMALL, *push,
        folder=tmp_path, address=hub.address,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / done.stdout.splitlines()[-1]
    assert set(hub.created) == {"basin"}
    assert hub.commits == [
        f"{what} after {epochs} epochs" for epochs in (2, 4, 4) for what in ("Best model", "Run")
    ]
    for path in run.iterdir():
        assert hub.files[f"weights/{run.parent.name}/{run.name}/{path.name}"] == path.read_bytes()
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.library_name == "geobasin"
    assert f"{load_run(run).metadata['val_accuracy']:.2%}" in card.text

    code = """
import sys, torch
from geobasin import GeoFractalDavid, load_run
from pathlib import Path
hub, local = GeoFractalDavid.from_pretrained("someone/basin"), load_run(Path(sys.argv[1])).model
rows = torch.randn(5, 64)
print(torch.equal(hub(rows), local(rows)))
"""
    loaded = python("-c", code, str(run), folder=tmp_path, address=hub.address)
    assert loaded.stdout.strip() == "True", loaded.stderr


def test_a_hub_that_is_away_does_not_end_the_training(tmp_path: Path) -> None:
    push = ["--push-to", "someone/basin", "--push-every", "1"]
    done = python(
        "-m", "geobasin", "train", "--features", "digits", *SMALL, *push,
        folder=tmp_path, address="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("training goes on") == 4
    assert "cannot push to 'someone/basin'" in done.stderr.splitlines()[-1]
    (run,) = tmp_path.glob("weights/*/*")
    assert len(load_run(run).history) == 4


def test_a_model_comes_back_from_a_folder(tmp_path: Path) -> None:
    model = GeoFractalDavid(6, 4, k=2, scales=(4, 8), simplices="free", tau=0.3).eval()
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    again = GeoFractalDavid.from_pretrained(tmp_path)
    assert again.settings == model.settings
    rows = torch.randn(3, 6)
    assert torch.equal(again(rows), model(rows))
    assert "accuracy is unknown" in (tmp_path / "README.md").read_text()


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    model = GeoFractalDavid(6, 4, k=2, scales=(4,))
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(GeoBasinError, match=r"model\.safetensors"):
        GeoFractalDavid.from_pretrained(tmp_path)
