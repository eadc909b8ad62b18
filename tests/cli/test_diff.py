"""``headrace runs diff``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from headrace.client import Client
from headrace.tracking import capture
from support.server import Server

from .conftest import Headrace, NewRun

PATCH = """diff --git a/train.py b/train.py
index 1..2 100644
--- a/train.py
+++ b/train.py
@@ -1 +1 @@
-lr = 1
+lr = {}
"""


def give(client: Client, run_id: str, **documents: Any) -> None:
    """Keep documents with a run, as a capture does: JSON but for texts."""
    names = {"requirements": "requirements.txt", "patch": "diff.patch", "new": "untracked/new.py"}
    for name, content in documents.items():
        text = content if isinstance(content, str) else json.dumps(content)
        client.log_text(run_id, text, f"headrace/{names.get(name, name + '.json')}")


@pytest.fixture
def two(client: Client, new_run: NewRun) -> tuple[str, str]:
    """Two runs that differ in everything."""
    ids = []
    for number, metrics in enumerate(
        ({"loss": 0.5, "same": 1.0, "nan": math.nan, "zero": 0.0, "gone": 1.0, "system/cpu": 1.0},
         {"loss": 0.4, "same": 1.0, "nan": math.nan, "zero": 2.0, "acc": 0.9, "system/cpu": 2.0})
    ):  # fmt: skip
        params = {"lr": number, "model": "cnn"}
        run_id = new_run("one", params, metrics, team=f"t{number}", **{"mlflow.user": str(number)})
        give(
            client,
            run_id,
            code={"commit": f"{number}" * 40, "branch": "main", "command": [f"/{number}/python", f"{number}"], "dirty": True},
            patch=PATCH.format(number),
            new="x = 1\n",
            environment={"python": f"3.1{number}.0", "executable": f"/{number}", "variables": {"OMP_NUM_THREADS": "4"}},
            requirements=f"# Python 3\na==1\nb=={number}\n# editable: c==1 from /x\n" + ("d @ git+u@1\n" if number else ""),
            host={"hostname": f"h{number}", "disk": {"free": number}, "gpus": {"devices": [{"name": "H200"}] * (number + 1)}},
            seeds={"seed": number},
        )  # fmt: skip
        ids.append(run_id)
    return ids[0], ids[1]


def test_only_what_differs_is_in_the_json(headrace: Headrace, two: tuple[str, str]) -> None:
    found = headrace.json("runs", "diff", *two, code=1)
    assert found["runs"] == list(two)
    assert found["differ"] is True
    values = {
        section: {one["key"]: (one["a"], one["b"]) for one in found[section]}
        for section in (
            "code",
            "place",
            "params",
            "environment",
            "packages",
            "host",
            "seeds",
            "tags",
        )
    }
    assert values == {
        "code": {"commit": ("0" * 40, "1" * 40), "command": (["python", "0"], ["python", "1"])},
        "place": {},
        "params": {"lr": ("0", "1")},
        "environment": {"python": ("3.10.0", "3.11.0")},
        "packages": {"b": ("0", "1"), "d": (None, "git+u@1")},
        "host": {"hostname": ("h0", "h1"), "gpus.devices": ("1 × H200", "2 × H200")},
        "seeds": {"seed": (0, 1)},
        "tags": {"team": ("t0", "t1")},
    }
    (change,) = found["changes"]
    assert change["path"] == "train.py"
    assert change["lines"][-2:] == ["-+lr = 0", "++lr = 1"]
    assert [(one["key"], one["a"], one["b"]) for one in found["metrics"]] == [
        ("zero", 0.0, 2.0),  # grew beyond every measure
        ("loss", 0.5, 0.4),
        ("acc", None, 0.9),
        ("gone", 1.0, None),
    ]
    assert found["metrics"][1]["relative"] == pytest.approx(-0.2)
    assert found["notes"] == []


def test_people_get_a_table_for_each_section(headrace: Headrace, two: tuple[str, str]) -> None:
    out = headrace("runs", "diff", two[0][:8], two[1][:8], code=1).stdout
    assert [line.split()[0] for line in out.splitlines() if two[0] in line] == [
        "code", "params", "environment", "packages", "host", "seeds", "tags", "metrics",
    ]  # fmt: skip
    assert "  ++lr = 1" in out.splitlines()
    assert "-20.00%" in out
    assert "model" not in out


def test_runs_that_do_not_differ_end_with_0(
    headrace: Headrace, client: Client, new_run: NewRun
) -> None:
    ids = [new_run(name, {"lr": 1}, {"loss": number}) for number, name in enumerate(("one", "two"))]
    for run_id in ids:
        give(client, run_id, code={"commit": "c", "branch": run_id}, patch=PATCH, requirements="a==1\n",
             environment={"python": "3"}, host={"hostname": run_id}, seeds={})  # fmt: skip
    out = headrace("runs", "diff", *ids).stdout
    assert "loss" in out  # a result, no cause
    assert headrace.json("runs", "diff", *ids)["differ"] is False
    assert "The runs do not differ." in headrace("runs", "diff", ids[0], ids[0]).stdout


def test_what_was_not_captured_is_said_and_no_difference(
    headrace: Headrace, client: Client, new_run: NewRun
) -> None:
    ids = [
        new_run("one", **{"mlflow.source.git.commit": "c"}),
        new_run("two", **{"mlflow.source.git.commit": "c"}),
    ]
    give(
        client,
        ids[0],
        requirements="a==1\n",
        environment={"python": "3"},
        host={"hostname": "h"},
        seeds={},
    )
    client.log_text(ids[1], "no json", "headrace/host.json")
    done = headrace("runs", "diff", *ids)
    assert "The runs do not differ." in done.stdout
    assert f"run {ids[0]}: no headrace/code.json: its code was not captured" in done.stderr
    assert f"run {ids[1]}: headrace/host.json is damaged" in done.stderr
    headrace("runs", "diff", ids[0], "0" * 32, code=3)


def test_code_of_one_run_only_is_shown_whole(
    headrace: Headrace, client: Client, new_run: NewRun
) -> None:
    ids = [new_run("one"), new_run("two")]
    give(client, ids[1], new="evil \x1b[2J\n\tline\n")
    out = headrace("runs", "diff", *ids, code=1).stdout
    assert f"new.py (only in {ids[1]})" in out
    assert "\x1b[2J" not in out


def test_captured_documents_are_compared_through_a_server(
    server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CAPTURE", "on")
    client = Client(server().url)
    ids = []
    for threads in ("3", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        run_id = client.create_run("0").info.run_id
        for document in capture.documents(
            capture.Settings(parts=frozenset(("environment",)), limit=0)
        ):
            client.log_text(run_id, document.content.decode(), document.path)
        ids.append(run_id)
    found = Headrace(client.tracking_uri).json("runs", "diff", *ids, code=1)
    assert [(one["key"], one["a"], one["b"]) for one in found["environment"]] == [
        ("variables.OMP_NUM_THREADS", "3", "4")
    ]


def test_show_says_what_was_started_and_from_which_commit(
    headrace: Headrace, new_run: NewRun
) -> None:
    tags = {
        "headrace.command": "python train.py",
        "mlflow.source.git.commit": "c0ffee",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.dirty": "True",
    }
    out = headrace("runs", "show", new_run("one", **tags)).stdout
    assert "command     python train.py" in out
    assert "commit      c0ffee on main, with changes" in out
