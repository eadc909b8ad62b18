"""What the logging functions record."""

from __future__ import annotations

import importlib
import io
import math
from pathlib import Path

import numpy as np
import pytest

import headrace
from headrace.entities import Metric, Param, RunTag
from headrace.errors import InvalidParameter, NotFound


def test_params_tags_and_metrics_arrive(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run() as run:
        assert headrace.log_param("lr", 0.1) == 0.1
        headrace.log_params({"layers": [1, 2], "none": None, "flag": True})
        headrace.log_metric("loss", 0.5)
        headrace.log_metric("loss", 0.25, step=3)
        headrace.log_metrics({"a": 1, "b": True}, step=2)
        headrace.set_tag("one", 1)
        headrace.set_tags({"two": 2, "gone": "x"})
        headrace.delete_tag("gone")
    data = headrace.get_run(run.info.run_id).data
    assert data.params == {"lr": "0.1", "layers": "[1, 2]", "none": "None", "flag": "True"}
    assert data.metrics == {"loss": 0.25, "a": 1.0, "b": 1.0}
    assert data.tags["one"] == "1"
    assert data.tags["two"] == "2"
    assert "gone" not in data.tags
    history = headrace.Client(tracking_uri).get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (3, 0.25)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.array(2.5), 2.5),
        (np.array([[3.0]]), 3.0),
        (np.True_, 1.0),
        ("0.125", 0.125),
        (float("inf"), math.inf),
        (float("-inf"), -math.inf),
        (10**30, 1e30),
    ],
    ids=repr,
)
def test_a_metric_is_whatever_is_a_number(value: object, expected: float) -> None:
    with headrace.start_run() as run:
        headrace.log_metric("m", value)
        headrace.log({"n": value}, step=1)
    metrics = headrace.get_run(run.info.run_id).data.metrics
    assert metrics == {"m": expected, "n": expected}


def test_nan_is_kept(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run() as run:
        headrace.log_metric("m", float("nan"))
        headrace.log_metrics({"n": np.nan, "i": -np.inf})
    metrics = headrace.get_run(run.info.run_id).data.metrics
    assert math.isnan(metrics["m"])
    assert math.isnan(metrics["n"])
    assert metrics["i"] == -math.inf


@pytest.mark.parametrize(
    "value", ["high", None, [1, 2], np.array([1.0, 2.0]), object(), 1j, 10**400]
)
def test_what_is_no_number_is_refused_by_name(value: object) -> None:
    with headrace.start_run() as run:
        with pytest.raises(InvalidParameter, match="metric 'm'"):
            headrace.log_metric("m", value)
        with pytest.raises(InvalidParameter, match="metric 'm'"):
            headrace.log_metrics({"ok": 1, "m": value})
    assert headrace.get_run(run.info.run_id).data.metrics == {}


def test_steps_are_whole_numbers() -> None:
    with headrace.start_run() as run:
        headrace.log_metric("m", 1, step=np.int64(4))  # type: ignore[arg-type]
        headrace.log_metric("m", 1, step=5.0)  # type: ignore[arg-type]
        headrace.log_metric("m", 1, step=-6)
        with pytest.raises(InvalidParameter, match=r"step.*1\.5"):
            headrace.log_metric("m", 1, step=1.5)  # type: ignore[arg-type]
    history = headrace.Client().get_metric_history(run.info.run_id, "m")
    assert sorted(point.step for point in history) == [-6, 4, 5]


def test_log_flattens_dictionaries() -> None:
    with headrace.start_run() as run:
        headrace.log({"loss": 1, "val": {"loss": 2, "deep": {"er": 3}}}, step=9)
    data = headrace.get_run(run.info.run_id).data
    assert data.metrics == {"loss": 1.0, "val/loss": 2.0, "val/deep/er": 3.0}
    assert {metric.step for metric in data.metric_list} == {9}


def test_more_than_a_request_holds_is_sent_in_several(tracking_uri: str) -> None:
    headrace.set_tracking_uri(tracking_uri)
    points = [Metric("m", float(step), 1_000 + step, step) for step in range(2300)]
    with headrace.start_run() as run:
        headrace.log_params({f"p{number}": number for number in range(250)})
        headrace.log_batch(
            points,
            [Param("a", "1"), Param("b", 2)],  # type: ignore[arg-type]
            [RunTag(f"t{number}", "x") for number in range(120)],
        )
    data = headrace.get_run(run.info.run_id).data
    assert len(data.params) == 252
    assert data.metrics == {"m": 2299.0}
    assert sum(key.startswith("t") for key in data.tags) == 120
    assert headrace.Client(tracking_uri).get_metric_history(run.info.run_id, "m") == points


def test_asking_not_to_wait_returns_something_to_wait_for() -> None:
    with headrace.start_run() as run:
        for operation in (
            headrace.log_metric("m", 1, synchronous=False),
            headrace.log_metrics({"n": 1}, synchronous=False),
            headrace.log_param("p", 1, synchronous=False),
            headrace.log_params({"q": 1}, synchronous=False),
            headrace.set_tag("t", 1, synchronous=False),
            headrace.set_tags({"u": 1}, synchronous=False),
        ):
            operation.wait()
        headrace.flush_async_logging()
        headrace.flush_artifact_async_logging()
    assert headrace.get_run(run.info.run_id).data.metrics == {"m": 1.0, "n": 1.0}


def test_a_run_may_be_named_instead_of_the_active_one() -> None:
    with headrace.start_run() as other:
        pass
    with headrace.start_run() as active:
        headrace.log_metric("m", 1, run_id=other.info.run_id)
        headrace.log_params({"p": 1}, run_id=other.info.run_id)
        headrace.log_text("x", "x.txt", run_id=other.info.run_id)
    assert headrace.get_run(active.info.run_id).data.metrics == {}
    assert headrace.get_run(other.info.run_id).data.metrics == {"m": 1.0}
    assert headrace.Client().list_artifacts(other.info.run_id)[0].path == "x.txt"


def test_files_and_documents_become_artifacts(tracking_uri: str, tmp_path: Path) -> None:
    headrace.set_tracking_uri(tracking_uri)
    folder = tmp_path / "outputs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"\x00\xff" * 1000)
    (folder / "deep" / "b.txt").write_text("b")
    with headrace.start_run() as run:
        headrace.log_artifact(folder / "a.bin")
        headrace.log_artifact(str(folder / "a.bin"), "models")
        headrace.log_artifact(folder)
        headrace.log_artifacts(folder, "all")
        headrace.log_text("grüße", "text/hello.txt")
        headrace.log_dict({"a": [1, 2], "p": Path("x")}, "d.json")
        headrace.log_dict({"a": {"ü": 2}}, "d.yaml")
        headrace.log_stream(io.BytesIO(b"streamed"), "s.bin")
        assert headrace.get_artifact_uri("x/y").endswith("/x/y")
        with pytest.raises(FileNotFoundError):
            headrace.log_artifact(tmp_path / "missing")
        with pytest.raises(NotADirectoryError):
            headrace.log_artifacts(folder / "a.bin")
    run_id = run.info.run_id
    listing = headrace.artifacts.list_artifacts(run_id=run_id)
    assert [file.path for file in listing] == [
        "a.bin", "all", "d.json", "d.yaml", "models", "outputs", "s.bin", "text",
    ]  # fmt: skip
    assert listing[0].file_size == 2000
    assert listing[1].is_dir
    deep = headrace.artifacts.list_artifacts(f"runs:/{run_id}/all/deep")
    assert [file.path for file in deep] == ["all/deep/b.txt"]
    assert headrace.artifacts.load_text(f"runs:/{run_id}/text/hello.txt") == "grüße"
    assert headrace.artifacts.load_dict(f"runs:/{run_id}/d.json") == {"a": [1, 2], "p": "x"}
    assert headrace.artifacts.load_dict(f"runs:/{run_id}/d.yaml") == {"a": {"ü": 2}}
    uri = headrace.get_run(run_id).info.artifact_uri
    assert headrace.artifacts.load_text(f"{uri}/s.bin") == "streamed"
    with pytest.raises(InvalidParameter, match="UTF-8"):
        headrace.artifacts.load_text(f"runs:/{run_id}/a.bin")
    with pytest.raises(InvalidParameter, match="JSON"):
        headrace.artifacts.load_dict(f"runs:/{run_id}/text/hello.txt")


def test_artifacts_come_back_as_files_and_folders(tracking_uri: str, tmp_path: Path) -> None:
    headrace.set_tracking_uri(tracking_uri)
    with headrace.start_run() as run:
        headrace.log_text("one", "a/one.txt")
        headrace.log_text("two", "a/b/two.txt")
    run_id = run.info.run_id
    target = tmp_path / "target"
    path = headrace.artifacts.download_artifacts(run_id=run_id, artifact_path="a", dst_path=target)
    assert path == str(target / "a")
    assert (target / "a/one.txt").read_text() == "one"
    assert (target / "a/b/two.txt").read_text() == "two"
    one = headrace.artifacts.download_artifacts(f"runs:/{run_id}/a/one.txt")
    assert Path(one).read_text() == "one"
    everything = headrace.Client(tracking_uri).download_artifacts(run_id, "")
    assert Path(everything, "a", "b", "two.txt").read_text() == "two"
    with pytest.raises(NotFound, match="missing"):
        headrace.artifacts.download_artifacts(f"runs:/{run_id}/missing")
    with pytest.raises(NotFound, match="missing"):
        headrace.artifacts.download_artifacts(f"runs:/{run_id}/missing", dst_path=target)
    with pytest.raises(InvalidParameter):
        headrace.artifacts.download_artifacts()


def test_figures_are_drawn_in_the_format_of_their_file() -> None:
    matplotlib = importlib.import_module("matplotlib.figure")
    figure = matplotlib.Figure()
    figure.subplots().plot([1, 2, 3])
    with headrace.start_run() as run:
        headrace.log_figure(figure, "plots/line.png", save_kwargs={"dpi": 40})
        headrace.log_figure(figure, "plots/line.svg")
        with pytest.raises(InvalidParameter, match="extension"):
            headrace.log_figure(figure, "plots/line")
        with pytest.raises(InvalidParameter, match="Cannot log a str"):
            headrace.log_figure("no figure", "x.png")
    folder = Path(headrace.artifacts.download_artifacts(f"runs:/{run.info.run_id}/plots"))
    assert (folder / "line.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (folder / "line.svg").read_bytes()


def test_images_are_logged_alone_or_by_step(tracking_uri: str) -> None:
    pillow = importlib.import_module("PIL.Image")
    headrace.set_tracking_uri(tracking_uri)
    pixels = np.zeros((300, 600, 3), dtype=np.uint8)
    pixels[:, :, 0] = 255
    with headrace.start_run() as run:
        headrace.log_image(pixels, "red.png")
        headrace.log_image(np.full((4, 4), 0.5), "grey.png")
        headrace.log_image(headrace.Image(pillow.new("RGB", (3, 3))), "black.png")
        headrace.log_image(pixels, key="val/red dogs", step=3, timestamp=5)
        with pytest.raises(TypeError):
            headrace.log_image(pixels)
        with pytest.raises(TypeError):
            headrace.log_image(pixels, "x.png", key="k")
        with pytest.raises(InvalidParameter, match="shape"):
            headrace.log_image(np.zeros((2, 2, 7)), "x.png")
        with pytest.raises(InvalidParameter, match="0 to 255"):
            headrace.log_image(np.array([[300]]), "x.png")
    run_id = run.info.run_id
    assert headrace.artifacts.load_image(f"runs:/{run_id}/red.png").getpixel((0, 0)) == (255, 0, 0)
    assert headrace.artifacts.load_image(f"runs:/{run_id}/grey.png").getpixel((0, 0)) == 127
    names = [file.path for file in headrace.artifacts.list_artifacts(f"runs:/{run_id}/images")]
    assert len(names) == 2
    assert all(name.startswith("images/val~red dogs+step+3+timestamp+5+") for name in names)
    [preview] = [name for name in names if name.endswith("+compressed.webp")]
    small = headrace.artifacts.load_image(f"runs:/{run_id}/{preview}")
    assert small.size == (256, 128)
    assert headrace.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"


def test_tables_grow_and_are_gathered_over_runs(tracking_uri: str) -> None:
    pd = importlib.import_module("pandas")
    headrace.set_tracking_uri(tracking_uri)
    headrace.set_experiment("tables")
    runs = []
    for number in range(2):
        with headrace.start_run() as run:
            headrace.log_param("number", number)
            headrace.log_table({"q": ["a", "b"], "score": [0.1, float("nan")]}, "eval/t.json")
            headrace.log_table(pd.DataFrame({"q": ["c"], "more": [np.int64(3)]}), "eval/t.json")
            runs.append(run.info.run_id)
    frame = headrace.load_table("eval/t.json", extra_columns=["run_id", "params.number"])
    assert list(frame.columns) == ["q", "score", "more", "run_id", "params.number"]
    assert sorted(frame["q"]) == list("aabbcc")
    assert set(frame["run_id"]) == set(runs)
    only = headrace.load_table("eval/t.json", run_ids=runs[:1])
    assert list(only["q"]) == ["a", "b", "c"]
    assert list(only["score"].isna()) == [False, True, True]
    with pytest.raises(NotFound, match=r"other\.json"):
        headrace.load_table("other.json")
    with pytest.raises(InvalidParameter, match="has a column 'colour'"):
        headrace.load_table("eval/t.json", extra_columns=["colour"])


def test_a_table_is_found_by_its_name_and_no_similar_one() -> None:
    for name in ("a_b.json", "axb.json"):
        with headrace.start_run():
            headrace.log_table({"name": [name]}, name)
    assert list(headrace.load_table("a_b.json")["name"]) == ["a_b.json"]


@pytest.mark.parametrize(
    ("data", "file", "message"),
    [
        ({"a": [1]}, "t.csv", "json or .parquet"),
        ({"a": [1]}, "t[0].json", "must not hold"),
        ({"a": [1], "b": [1, 2]}, "t.json", "same length"),
        ([1, 2], "t.json", "Cannot log a list"),
    ],
)
def test_a_bad_table_is_refused(data: object, file: str, message: str) -> None:
    with headrace.start_run(), pytest.raises(InvalidParameter, match=message):
        headrace.log_table(data, file)


def test_tables_may_hold_images_and_single_values() -> None:
    importlib.import_module("PIL.Image")
    picture = headrace.Image([[0, 255], [255, 0]])
    with headrace.start_run() as run:
        headrace.log_table({"name": "dog", "image": picture}, "t.json")
    table = headrace.artifacts.load_dict(f"runs:/{run.info.run_id}/t.json")
    assert table["columns"] == ["name", "image"]
    [[name, cell]] = table["data"]
    assert (name, cell["type"]) == ("dog", "image")
    image = headrace.artifacts.load_image(f"runs:/{run.info.run_id}/{cell['filepath']}")
    assert image.getpixel((1, 0)) == 255
