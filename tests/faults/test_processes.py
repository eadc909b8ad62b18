"""Training processes are killed, come in hundreds, and share runs; what was accepted is counted."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from headrace.client import Client
from support.server import Server
from support.training import PRELUDE, Training, check, left, points, sync

Start = Callable[..., Server]
#: On each of two databases.
KILLS = 100
WRITERS = 500

#: Forks children that log, every other one offline, and kills each at a random point.
_KILLED = """
count, seed = int(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
accounts = []
for number in range(count):
    run_id = uuid.UUID(int=chance.getrandbits(128)).hex
    def work(returned):
        if number % 2:
            os.environ["HEADRACE_OFFLINE"] = "1"
        with headrace.start_run(run_id=run_id, shared=True):
            returned()
            for n in range(10_000_000):
                call(n)
                returned()
    done = kill_one(work, chance.choice([1, 1, 5, 20, 100]), chance.random() * 0.003)
    accounts.append([run_id, done - 1])
print(json.dumps(accounts))
"""


def test_two_hundred_killed_processes_lose_nothing_that_they_were_told(
    database_url: str, server: Start, journals: Path, chance: random.Random
) -> None:
    running = server(database_url)
    training = Training(
        _KILLED, journals, str(KILLS), str(chance.getrandbits(32)), TRACKING_URI=running.url
    )
    accounts = training.wait()
    sync(journals)
    with Client(database_url) as client:
        for run_id, calls in accounts:
            check(client, run_id, calls, files=False)
    for run_id, calls in accounts[::10]:
        check(Client(running.url), run_id, calls)
    assert len({run_id for run_id, _ in accounts}) == KILLS
    assert left([journals]) == []


#: Forks children that log to runs of their own and to one for all.
_MANY = """
count, shared = int(sys.argv[1]), sys.argv[2]
def work(number):
    with headrace.start_run(run_id=f"{number:032x}", shared=True):
        for n in range(5):
            call(n)
    with headrace.start_run(run_id=shared, shared=True):
        for n in range(5):
            headrace.log_metric("all", float(number), step=number * 5 + n)
        headrace.set_tag(f"t{number}", number)
    headrace.flush()
    from headrace.client.journal.journals import _journals
    _journals.finish_all()
spawned(count, work)
"""
_SHARED = "f" * 32


def _check_many(client: Client, count: int) -> None:
    every = [(n, float(n // 5)) for n in range(count * 5)]
    assert points(client, _SHARED, "all") == every
    tags = client.get_run(_SHARED).data.tags
    assert {int(key[1:]): int(value) for key, value in tags.items() if key[0] == "t"} == {
        number: number for number in range(count)
    }
    for number in range(0, count, 10):
        check(client, f"{number:032x}", 5, unsure=0, files=False)
    runs = client.search_runs(["0"], max_results=count + 1)
    assert len(runs) == count + 1
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_five_hundred_journals_in_one_directory_are_synced_exactly(
    database_url: str, server: Start, journals: Path
) -> None:
    writers = WRITERS if database_url.startswith("sqlite") else WRITERS // 5
    running = server(database_url)
    code = Training(_MANY, journals, str(writers), _SHARED, OFFLINE="1", TRACKING_URI=running.url)
    code.wait(300)
    assert len(list(journals.iterdir())) == writers
    answer = sync(journals)
    assert (answer["journals"], len(answer["runs"])) == (writers, writers + 1)
    with Client(database_url) as client:
        _check_many(client, writers)
    assert left([journals]) == []


@pytest.mark.parametrize("where", ["server", "local"])
def test_many_processes_share_one_run_at_once(
    where: str, server: Start, journals: Path, tmp_path: Path
) -> None:
    store = server(tmp_path / "store").url if where == "server" else str(tmp_path / "store")
    Training(_MANY, journals, "16", _SHARED, TRACKING_URI=store).wait()
    _check_many(Client(store), 16)
    assert left([journals]) == []


#: Logs from workers that a pool makes, while threads of the parent log.
_WORKERS = """
import multiprocessing
def work(number):
    for step in range(50):
        headrace.log_metric(f"worker", float(number), step=number * 50 + step, run_id=RUN)
    return number
def main():
    with headrace.start_run() as run:
        global RUN
        RUN = run.info.run_id
        context = multiprocessing.get_context(sys.argv[1])
        over = threading.Event()
        steps = [0]
        def log():
            while not over.is_set():
                headrace.log_metric("parent", float(steps[0]), step=steps[0], run_id=RUN)
                steps[0] += 1
        thread = threading.Thread(target=log)
        thread.start()
        with context.Pool(3, initializer=begin, initargs=(RUN,)) as pool:
            assert sorted(pool.map(work, range(12))) == list(range(12))
            pool.close()
            pool.join()
        over.set()
        thread.join()
    print(json.dumps([RUN, steps[0]]))
def begin(run_id):
    global RUN
    RUN = run_id
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_pool_log_to_the_run_of_their_parent(
    method: str, server: Start, journals: Path, tmp_path: Path
) -> None:
    running = server(tmp_path / "store")
    script = tmp_path / "train.py"
    script.write_text(PRELUDE + _WORKERS, encoding="utf-8")
    training = Training(script, journals, method, TRACKING_URI=running.url)
    run_id, steps = training.wait()
    client = Client(running.url)
    assert points(client, run_id, "worker") == [(n, float(n // 50)) for n in range(600)]
    assert points(client, run_id, "parent") == [(n, float(n)) for n in range(steps)]
    assert left([journals]) == []


#: Data sets whose workers log each sample that they load.
_LOADER = """
import torch
class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 200
    def __getitem__(self, number):
        headrace.log_metric("loaded", float(number), step=number, run_id=self.run_id)
        return number
def main():
    with headrace.start_run() as run:
        samples = Samples()
        samples.run_id = run.info.run_id
        loader = torch.utils.data.DataLoader(
            samples, batch_size=10, num_workers=2, multiprocessing_context=sys.argv[1]
        )
        for step, batch in enumerate(loader):
            headrace.log({"sum": batch.sum()}, step=step)
    print(json.dumps(run.info.run_id))
if __name__ == "__main__":
    main()
"""


# PyTorch is no dependency, not even of the tests: with what it brings for GPUs it has gigabytes.
if find_spec("torch"):

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_workers_of_a_torch_data_loader_log_to_the_run(
        method: str, server: Start, journals: Path, tmp_path: Path
    ) -> None:
        running = server(tmp_path / "store")
        script = tmp_path / "train.py"
        script.write_text(PRELUDE + _LOADER, encoding="utf-8")
        run_id = Training(script, journals, method, TRACKING_URI=running.url).wait()
        with Client(running.url) as client:
            assert points(client, run_id, "loaded") == [(n, float(n)) for n in range(200)]
            sums = [(step, float(sum(range(step * 10, step * 10 + 10)))) for step in range(20)]
            assert points(client, run_id, "sum") == sums
        assert left([journals]) == []
