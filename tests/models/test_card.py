"""The card of a model says what is known of it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from headrace.client import Client
from headrace.errors import NotFound
from headrace.models import infer_signature, render_card, save_model
from headrace.models.logging import Copied, log_model

X = np.array([[0.0], [1.0]])


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(str(tmp_path / "store")) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = LinearRegression().fit(X, [0.0, 1.0])
    save_model(
        model,
        tmp_path / "saved",
        signature=infer_signature(X, model.predict(X)),
        pip_requirements=["scikit-learn==1.0"],
        metadata={"note": "a|b"},
    )
    return tmp_path / "saved"


def rows(card: str, section: str) -> dict[str, str]:
    """The table of a section."""
    part = card.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    cells = [line.strip("| ").split(" | ", 1) for line in part.splitlines() if line[:3] != "|--"]
    return dict(pair for pair in cells if len(pair) == 2)


def test_a_version_has_its_story(client: Client, folder: Path) -> None:
    run = client.create_run("0", run_name="trainer").info.run_id
    client.log_param(run, "alpha", 0.5)
    client.log_metric(run, "rmse", 0.25)
    info = log_model(
        client, Copied(folder), "line", experiment_id="0", run_id=run, registered_model_name="lines"
    )
    client.update_registered_model("lines", "Draws lines.")
    client.update_model_version("lines", "1", "The first.")
    client.set_model_version_tag("lines", "1", "headrace.check.bias", "passed")
    client.set_model_version_tag("lines", "1", "team", "risk")
    client.set_registered_model_alias("lines", "champion", "1")
    card = render_card(client, "models:/lines@champion")
    assert card.startswith("# lines, version 1\n\nDraws lines.\n\nThe first.\n\n## Model\n")
    about = rows(card, "Model")
    assert about["Aliases"] == "champion"
    assert about["Tags"] == "team=risk"
    assert about["Logged model"] == info.model_id
    assert about["Digest"] == info.digest
    assert about["Metadata"] == "{'note': 'a\\|b'}"
    assert about["Run"].startswith("trainer (")
    assert rows(card, "Checks") == {"bias": "passed"}
    assert rows(card, "Metrics") == {"rmse": "0.25"}
    assert rows(card, "Params") == {"alpha": "0.5"}
    assert "- `Tensor('float64', (-1, 1))`" in card
    assert "- `scikit-learn==1.0`" in card
    assert "Problems" not in card
    assert "\n\n\n" not in card


def test_what_a_model_measured_itself_stands_beside_what_its_run_did(
    client: Client, folder: Path
) -> None:
    run = client.create_run("0").info.run_id
    client.log_metric(run, "train", 0.5)
    client.log_metric(run, "system/cpu_utilization_percentage", 50)  # of the machine, not the model
    client.log_metric(run, "score", 0.5)
    info = log_model(client, Copied(folder), "line", experiment_id="0", run_id=run)
    client.log_metric(run, "score", 0.75, model_id=info.model_id)
    client.log_metric(run, "score", 0.1, step=9)  # of a later model, say
    assert rows(render_card(client, info.model_uri), "Metrics") == {"train": "0.5", "score": "0.75"}


def test_a_folder_has_a_card_of_what_is_in_it(client: Client, folder: Path) -> None:
    card = render_card(client, str(folder))
    assert card.startswith(f"# {folder}\n\n## Model\n")
    assert "Lineage" not in card
    assert rows(card, "Model")["Flavors"] == "python_function, sklearn"


def test_a_version_whose_files_are_gone_says_so(client: Client, folder: Path) -> None:
    client.create_registered_model("lines")
    client.create_model_version("lines", str(folder))
    (folder / "MLmodel").unlink()
    card = render_card(client, "models:/lines/1")
    assert "## Problems" in card
    assert "MLmodel" in card


def test_a_long_table_is_cut_and_says_so(client: Client, folder: Path) -> None:
    run = client.create_run("0").info.run_id
    for number in range(60):
        client.log_param(run, f"p{number:02}", number)
    info = log_model(client, Copied(folder), "line", experiment_id="0", run_id=run)
    params = rows(render_card(client, info.model_uri), "Params")
    assert params["…"] == "10 more"
    assert len(params) == 51


def test_a_bare_name_is_no_model_and_the_message_says_what_would_be(client: Client) -> None:
    client.create_registered_model("lines")
    with pytest.raises(NotFound, match="models:/lines/1, models:/lines@alias"):
        render_card(client, "lines")
