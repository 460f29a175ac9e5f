"""A model answers the table that trained it with exactly the accuracy on its card."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

import training
from service.app import create_app
from service.artifact.card import ModelCard
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect
from tests.samples import trained

pytestmark = pytest.mark.anyio

RNG = np.random.default_rng(5)


def machines() -> tuple[str, dict[str, Any], list[str]]:
    """Return a long table as a spreadsheet exports it: unsorted, with gaps, and an index that was saved along."""
    rows: list[tuple[str, ...]] = []
    labels: dict[str, str] = {}
    for machine in range(48):
        label = ("leak", "ok", "worn")[machine % 3]
        for day in range(8):
            if day == 0 or RNG.random() > 0.25:  # a missing row is a missing day
                value = f"{RNG.normal(0, 1) + 3 * (label == 'leak'):.2f}".replace(".", ",")
                shift = ("night" if label == "worn" and day > 3 else "day", "?")[int(RNG.random() < 0.1)]
                rows.append((f"M-{machine:02}", f"{day + 1:02}.03.2026", value, shift, f"site {machine % 2}", label))
    rows = [rows[index] for index in RNG.permutation(len(rows))]
    for name, *_, label in rows:
        labels.setdefault(name, label)
    head = ";machine;date;load;shift;site;state"
    text = "\n".join([head, *(f"{index};" + ";".join(row) for index, row in enumerate(rows)), ""])
    options = {"target_column": ("state",), "static_columns": ("site",)}
    return text, options, list(labels.values())


def names_of_rows() -> tuple[str, dict[str, Any], list[str]]:
    """Return a wide table as R writes it, with tabs, words for nothing, and labels that look like numbers."""
    labels = ["01" if row % 2 else "02" for row in range(40)]
    lines = ["t1\tt2\tt10\tt3\ty"]
    for row, label in enumerate(labels):
        values = [f"{RNG.normal() + 2 * (label == '01'):.3f}" for _ in range(4)]
        if row % 5 == 0:
            values[row % 4] = "NA"
        lines.append("\t".join([str(row + 100), *values, label]))
    return "\n".join([*lines, ""]), {"target_column": ("y",)}, labels


def flags() -> tuple[str, dict[str, Any], list[str]]:
    """Return a wide table of two features, one of them True or False, and a column that does not change."""
    labels = ["high" if row % 2 else "low" for row in range(40)]
    lines = ["# from the lab", "on@0,flow@0,on@1,flow@1,on@2,flow@2,age,y"]
    for label in labels:
        cells = [cell for _ in range(3) for cell in (str(bool(RNG.random() < 0.5)), f"{RNG.normal():.2f}")]
        lines.append(",".join([*cells, f"{RNG.normal(40, 5) + 25 * (label == 'high'):.0f}", label]))
    return "\n".join([*lines, ""]), {"target_column": ("y",), "static_columns": ("age",)}, labels


def published(folder: Path, path: Path, **options: Any) -> ModelCard:
    """Train on a file, hold out the same file, and return the card."""
    files = {"data": str(path), "test_data": str(path)}
    version = trained(**files, name="m", artifacts=folder / "models", architecture="minirocket", **options)
    return Artifact(version).read().card()


async def answered(folder: Path, **request: Any) -> list[str]:
    """Return the labels that the service answers to a request."""
    async with connect(create_app(Settings(artifacts=folder / "models"))) as client:
        answer: httpx.Response = await client.post("/predict", **request)
    assert answer.status_code == 200, answer.text
    return [prediction["label"] for prediction in answer.json()["predictions"]]


@pytest.mark.parametrize("table", [machines, names_of_rows, flags])
async def test_the_file_that_trained_a_model_is_answered_as_on_the_card(tmp_path: Path, table: Any) -> None:
    """The bytes of the file are posted unchanged."""
    text, options, labels = table()
    path = tmp_path / "table.csv"
    path.write_text(text)
    card = published(tmp_path, path, **options)
    answers = await answered(tmp_path, content=text.encode(), headers={"content-type": "text/csv"})
    right = np.mean([answer == label for answer, label in zip(answers, labels, strict=True)])
    assert right == card.metrics["accuracy"]
    assert right > 0.8


async def test_the_rows_of_a_parquet_file_are_answered_in_every_form(tmp_path: Path) -> None:
    """As CSV, as objects by name, and as lists in the order of the card."""
    n, days = 40, 6
    frame = pd.DataFrame({
        "id": np.repeat(np.arange(n), days),
        "time": np.tile(pd.date_range("2026-01-01", periods=days, freq="D"), n),
        "speed": RNG.normal(size=n * days),
        "mode": RNG.choice(["auto", "manual"], n * days),
        "y": np.repeat(np.arange(n) % 2 == 0, days),
    })  # fmt: skip
    frame.loc[frame["y"], "speed"] += 2
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "table.parquet")
    card = published(
        tmp_path, tmp_path / "table.parquet", target_column=("y",), sequence_column="id", timestep_column="time"
    )
    text = frame.to_csv(index=False).encode()
    features = [group[list(card.feature_labels)] for _, group in frame.groupby("id")]
    objects = [json.loads(one.to_json(orient="records")) for one in features]
    lists = [one.to_numpy().tolist() for one in features]
    truth = [str(group["y"].iloc[0]) for _, group in frame.groupby("id")]
    for request in (
        {"content": text, "headers": {"content-type": "text/csv"}},
        {"json": {"sequences": objects}},
        {"json": {"sequences": lists}},
    ):
        answers = await answered(tmp_path, **request)
        assert (
            np.mean([answer == label for answer, label in zip(answers, truth, strict=True)])
            == (card.metrics["accuracy"])
        )


async def test_a_frame_keeps_the_timeline_of_the_training(tmp_path: Path) -> None:
    """One sequence with gaps, on later days, is read as in training, by the library and by the service."""
    frame = pd.DataFrame({"id": np.repeat(np.arange(40), 6), "day": np.tile(np.arange(6), 40)})
    frame["value"] = RNG.normal(size=240) + 3 * (frame["id"] % 2) * (frame["day"] == 4)
    frame["y"] = np.where(frame["id"] % 2, "late", "never")
    frame = frame[RNG.random(240) > 0.2]
    frame.to_csv(tmp_path / "table.csv", index=False)
    columns = {"target_column": ("y",), "sequence_column": "id", "timestep_column": "day"}
    card = published(tmp_path, tmp_path / "table.csv", **columns)
    result = training.load(tmp_path / "models" / "m")
    one = pd.DataFrame({"id": [7, 7, 7], "day": [10, 12, 14], "value": [0.1, 0.2, 3.5]})
    array = np.full((1, 6, 1), np.nan)
    array[0, [0, 2, 4], 0] = one["value"]
    expected = result.predict(array[:, : card.timesteps])["label"].tolist()
    assert result.predict(one)["prediction"].tolist() == expected
    headers = {"content-type": "text/csv"}
    assert await answered(tmp_path, content=one.to_csv(index=False).encode(), headers=headers) == expected
    assert result.predict(frame)["prediction"].tolist() == (
        await answered(tmp_path, content=frame.to_csv(index=False).encode(), headers=headers)
    )


async def test_a_posted_series_is_forecast_from_its_last_window(tmp_path: Path) -> None:
    """The service and the library predict the same numbers after the last row, which training never saw."""
    hours = pd.date_range("2026-01-01", periods=160, freq="h")
    frame = pd.DataFrame({"time": hours, "load": np.sin(np.arange(160) / 4)})
    frame.to_csv(tmp_path / "table.csv", index=False)
    options = {"target_column": ("load",), "window": 24, "horizon": 2, "architecture": "minirocket"}
    trained(name="m", data=str(tmp_path / "table.csv"), artifacts=tmp_path / "models", **options)
    later = pd.DataFrame({"time": hours[-40:] + pd.Timedelta(days=90), "load": frame["load"][-40:]})
    forecast = training.load(tmp_path / "models" / "m").predict(later)
    assert list(forecast) == ["prediction load+1", "prediction load+2"]
    np.testing.assert_allclose(forecast.to_numpy(), [np.sin(np.array([160, 161]) / 4)], atol=0.2)
    async with connect(create_app(Settings(artifacts=tmp_path / "models"))) as client:
        content = later.to_csv(index=False).encode()
        answer = await client.post("/predict", content=content, headers={"content-type": "text/csv"})
    (prediction,) = answer.json()["predictions"]
    np.testing.assert_allclose([prediction["prediction"]], forecast.to_numpy(), atol=1e-6)
