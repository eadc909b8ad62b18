"""Trains a small model while its tracking server is killed, restarted and moved; nothing is lost.

``train`` is an ordinary training script: not one line of it knows what happens to the server. The rest of
this file is what happens to the server. At the end it counts what the server holds.

    python examples/resilient_training.py

It uses PyTorch where that is installed, else scikit-learn.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import headrace
from headrace.client import Client

LIBRARIES = ("torch", "sklearn")


# The training.


def train(library: str, epochs: int) -> None:
    """Train a classifier of handwritten digits, and log every step."""
    learn = learn_with_torch if library == "torch" else learn_with_sklearn
    headrace.set_experiment("resilient")
    with headrace.start_run(run_name=library):
        headrace.log_params({"library": library, "epochs": epochs})
        step = 0
        for step, (loss, accuracy) in enumerate(learn(epochs), 1):
            headrace.log({"loss": loss, "accuracy": accuracy}, step=step)
        headrace.set_tag("steps", step)
        headrace.log_text(f"{library} learned for {step} steps.\n", "summary.txt")


def digits() -> tuple[Any, Any]:
    """Images of 64 pixels between 0 and 1, and the digits that they show."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images / 16, labels


def learn_with_torch(epochs: int) -> Iterator[tuple[Any, Any]]:
    """Train a small network with PyTorch; loss and accuracy of each step, as tensors."""
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(1)
    images, labels = digits()
    data = torch.utils.data.TensorDataset(
        torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    )
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch, wanted in torch.utils.data.DataLoader(data, batch_size=64, shuffle=True):
            scores = model(batch)
            loss = torch.nn.functional.cross_entropy(scores, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss, (scores.argmax(1) == wanted).float().mean()


def learn_with_sklearn(epochs: int) -> Iterator[tuple[Any, Any]]:
    """Train the same network with scikit-learn; loss and accuracy of each step."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    images, labels = digits()
    model = MLPClassifier(64, random_state=1)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(labels))
        for batch in np.array_split(order, len(labels) // 64):
            model.partial_fit(images[batch], labels[batch], classes=range(10))
            yield model.loss_, model.score(images[batch], labels[batch])


# What happens to the server.


class Server:
    """A tracking server that keeps its address, whatever becomes of it."""

    def __init__(self, store: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = store
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "headrace", "server", "--port", str(self.port)]
        with (self.store.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--store", str(self.store)], stdout=log, stderr=log
            )
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self.process.poll() is not None:
                    raise SystemExit((self.store.parent / "server.log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end."""
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        """Leave it no time to end properly."""
        self.process.kill()
        self.process.wait()


def misfortunes(server: Server) -> Iterator[str]:
    """What happens, one after the other."""
    yield "the server runs"
    server.kill()
    yield "the server was killed"
    server.start()
    yield "the server is back"
    server.stop()
    elsewhere = server.store.with_name("elsewhere")
    shutil.move(server.store, elsewhere)
    yield "the server was stopped, and its store moved"
    server.store = elsewhere
    server.start()
    yield "the server runs from the other place"
    server.kill()
    server.start()
    yield "the server was killed and restarted"


def main() -> None:
    """Run the training and the server's misfortunes at once; then count."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--library", choices=LIBRARIES, help="default: torch, if it is installed")
    options.add_argument("--epochs", type=int, default=200)
    options.add_argument("--only-train", action="store_true", help="to the server of your settings")
    given = options.parse_args()
    library = given.library or LIBRARIES[importlib.util.find_spec("torch") is None]
    if given.only_train:
        train(library, given.epochs)
        return
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "store")
        try:
            sys.exit(not run(server, library, given.epochs, Path(folder) / "journal"))
        finally:
            server.stop()


def run(server: Server, library: str, epochs: int, journal: Path) -> bool:
    """Whether the run is complete after all that."""
    training = subprocess.Popen(
        [sys.executable, __file__, "--only-train", "--library", library, "--epochs", str(epochs)],
        env={
            **os.environ,
            "HEADRACE_TRACKING_URI": server.url,
            "HEADRACE_JOURNAL_DIR": str(journal),
        },
    )
    try:
        for event in misfortunes(server):
            print(f"{event}; the training {'goes on' if training.poll() is None else 'has ended'}")
            time.sleep(1)
        code = training.wait()
    finally:
        training.kill()
        training.wait()
    with Client(server.url) as client:
        experiment = client.get_experiment_by_name("resilient")
        (found,) = client.search_runs([experiment.experiment_id])
        run_id, status = found.info.run_id, found.info.status
        steps = int(found.data.tags["steps"])
        counts = {}
        for key in ("loss", "accuracy"):
            history = client.get_metric_history(run_id, key)
            counts[key] = len(history)
            assert sorted(point.step for point in history) == list(range(1, steps + 1)), key
        text = client.list_artifacts(run_id)
    print(f"The training logged {steps:,} steps; the server holds {counts}.")
    print(f"The run is {status}, the last accuracy {found.data.metrics['accuracy']:.3f}.")
    complete = set(counts.values()) == {steps} and status == "FINISHED" and bool(text)
    print("Nothing is missing." if complete and not code else "Something is missing!")
    return complete and not code


if __name__ == "__main__":
    main()
