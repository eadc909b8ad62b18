"""Many writers against a server, and an account of what it acknowledged."""

from __future__ import annotations

import random
import threading
from typing import Any

import httpx

from support.api import pairs, point, unique

BATCH_POINTS = 10


class Writer(threading.Thread):
    """Logs batches to runs of its own until it is told to stop or the server is gone.

    Each batch has points at one step, a param and a tag that say the step, so that half a batch shows.

    Attributes:
        acknowledged: By run id, the steps that the server said it has.
        unsure: By run id, the step that was sent and not answered.
        refused: Statuses other than 200 that came back.
    """

    def __init__(self, url: str, experiment_id: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, list[int]] = {}
        self.unsure: dict[str, int] = {}
        self.refused: list[int] = []
        self._http = httpx.Client(base_url=f"{url}/api/2.0/mlflow/", timeout=30)
        self._experiment_id = experiment_id
        self._halt = stop

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                answer = self._post("runs/create", {"experiment_id": self._experiment_id})
                if answer is None:
                    continue
                run_id = answer["run"]["info"]["run_id"]
                self.acknowledged[run_id] = []
                for step in range(20):
                    if self._halt.is_set():
                        return
                    self.unsure[run_id] = step
                    if self._post("runs/log-batch", batch(run_id, step)) is not None:
                        self.acknowledged[run_id].append(step)
                    del self.unsure[run_id]
        except httpx.TransportError:
            pass  # the server is gone; `unsure` says what was under way
        finally:
            self._http.close()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        response = self._http.post(path, json=body)
        if response.status_code != 200:
            self.refused.append(response.status_code)
            return None
        return response.json()


def batch(run_id: str, step: int) -> dict[str, Any]:
    """The batch of a step."""
    return {
        "run_id": run_id,
        "metrics": [point(f"m{i}", step + i / 10, step, 1000 + step) for i in range(BATCH_POINTS)],
        "params": pairs(**{f"p{step}": str(step)}),
        "tags": pairs(**{f"t{step}": str(step)}),
    }


class Load:
    """Several writers on one experiment."""

    def __init__(self, url: str, writers: int = 8) -> None:
        response = httpx.post(
            f"{url}/api/2.0/mlflow/experiments/create", json={"name": unique("load")}, timeout=30
        )
        self.experiment_id: str = response.raise_for_status().json()["experiment_id"]
        self._stop = threading.Event()
        self.writers = [Writer(url, self.experiment_id, self._stop) for _ in range(writers)]
        for writer in self.writers:
            writer.start()

    def wait(self, least: int, seconds: float = 60) -> None:
        """Until so many batches were acknowledged."""
        pause = threading.Event()
        for _ in range(int(seconds / 0.01)):
            if self.count() >= least:
                return
            pause.wait(0.01)
        raise AssertionError(f"only {self.count()} batches in {seconds} s")

    def count(self) -> int:
        """Batches acknowledged so far."""
        return sum(len(steps) for one in self.writers for steps in list(one.acknowledged.values()))

    def stop(self) -> None:
        """Let every writer finish what it has sent, and end."""
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Until every writer has ended, by itself because the server is gone."""
        for writer in self.writers:
            writer.join(60)
            assert not writer.is_alive()

    def verify(self, url: str) -> int:
        """Check that what was acknowledged is there, whole, and nothing is there by halves.

        Returns:
            Number of batches acknowledged.
        """
        with httpx.Client(base_url=f"{url}/api/2.0/mlflow/", timeout=60) as http:
            for writer in self.writers:
                for run_id, steps in writer.acknowledged.items():
                    self._verify(http, run_id, steps, writer.unsure.get(run_id))
        return self.count()

    def _verify(
        self, http: httpx.Client, run_id: str, steps: list[int], unsure: int | None
    ) -> None:
        data = _get(http, "runs/get", run_id=run_id)["run"].get("data", {})
        params = {one["key"] for one in data.get("params", []) if one["key"].startswith("p")}
        tags = {one["key"] for one in data.get("tags", []) if one["key"].startswith("t")}
        there = sorted(int(key[1:]) for key in params)
        assert there in (steps, [*steps, unsure]), f"run {run_id}: {there}, acknowledged {steps}"
        assert tags == {f"t{step}" for step in there}, f"run {run_id}: half a batch in tags"
        some = random.sample(range(BATCH_POINTS), 2)
        for key in some if there else ():
            history = _get(http, "metrics/get-history", run_id=run_id, metric_key=f"m{key}")
            found = [(one["step"], one["value"]) for one in history.get("metrics", [])]
            assert found == [(step, step + key / 10) for step in there], f"run {run_id}, m{key}"


def _get(http: httpx.Client, path: str, **query: str) -> Any:
    return http.get(path, params=query).raise_for_status().json()
