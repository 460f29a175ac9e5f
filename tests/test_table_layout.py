"""Which columns of a table hold which values: the service, scoring and the library ask one function."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from service.api.codecs.tables import decode_csv_table
from service.artifact.card import ModelCard, TableFormat
from service.artifact.table_layout import layout_of
from service.bulk.output import Output
from service.bulk.plan import plan_of
from service.errors import InvalidInput, ScoringError, TableError
from tests.samples import card, record
from training import TrainingError
from training.in_memory import sequences_of_frame

STEPS = ("0", "1")
WIDE = "u@0,site,v@0,u@1,v@1\n1,7,2,3,4\n5,8,6,7,8\n"
LONG = "id,t,u,site,v\np,0,1,7,2\np,1,3,7,4\nq,1,7,8,8\nq,0,5,8,6\n"
SERIES = 'u,site,v\n"[1, 3]",7,"[2, 4]"\n"[5, 7]",8,"[6, 8]"\n'
X = [[[1, 7, 2], [3, 7, 4]], [[5, 8, 6], [7, 8, 8]]]


def of_pairs(**table: Any) -> ModelCard:
    """Return the card of a model with two features and a static one between them."""
    columns = {name: value for name, value in table.items() if name in {"sequence_column", "timestep_column"}}
    return card(
        timesteps=2,
        features=3,
        timestep_labels=STEPS,
        feature_labels=("u", "site", "v"),
        static_labels=("site",),
        table=TableFormat(target_columns=("y",), **table),
        training=record(data="x.csv", target_column=["y"], **columns),
    )


TRAINED = {"wide": of_pairs(), "long": of_pairs(sequence_column="id", timestep_column="t")}


@pytest.mark.parametrize(
    ("trained", "text"),
    [("wide", WIDE), ("wide", SERIES), ("long", LONG), ("long", WIDE), ("long", SERIES)],
    ids=["wide", "series for wide", "long", "wide for long", "series for long"],
)
def test_a_table_may_have_another_form_than_that_of_the_training(trained: str, text: str) -> None:
    """The service and the library find the same sequences, with features in the order of the card."""
    described = TRAINED[trained]
    np.testing.assert_array_equal(decode_csv_table(text.encode(), described, 9).array, X)
    np.testing.assert_array_equal(sequences_of_frame(pd.read_csv(io.StringIO(text)), described).x, X)


def test_a_long_table_of_a_model_without_a_key_is_one_sequence() -> None:
    """Its rows stand in the order of time; columns that the model does not know are passed over in a frame."""
    text = "u,site,v\n1,7,2\n3,,4\n"
    np.testing.assert_array_equal(decode_csv_table(text.encode(), TRAINED["wide"], 9).array, X[:1])
    frame = pd.read_csv(io.StringIO(text)).assign(note="as usual")
    np.testing.assert_array_equal(sequences_of_frame(frame, TRAINED["wide"]).x, X[:1])


def test_missing_columns_are_named_with_those_that_came() -> None:
    """A frame of a long table needs the key of the training, so that sequences keep their names."""
    frame = pd.read_csv(io.StringIO(LONG))
    with pytest.raises(
        TrainingError, match=r"^frame: expected a column 'id', got ID, t, u, site, v; 'ID' is the closest$"
    ):
        sequences_of_frame(frame.rename(columns={"id": "ID"}), TRAINED["long"])
    with pytest.raises(TrainingError, match=r"^frame: expected a column 'u', got id, t, site, v"):
        sequences_of_frame(frame.drop(columns="u"), TRAINED["long"])
    with pytest.raises(InvalidInput, match=r"^line 1: missing column 'u@1'$"):
        decode_csv_table(WIDE.replace("u@1,", "").encode(), TRAINED["wide"], 9)


def test_scoring_names_a_missing_column_of_parquet(tmp_path: Path) -> None:
    """The file is not copied into another form before."""
    file = str(tmp_path / "new.parquet")
    pd.read_csv(io.StringIO(WIDE)).drop(columns="site").to_parquet(file)
    with pytest.raises(ScoringError, match=r"new\.parquet: expected a column 'site', got u@0, v@0, u@1, v@1$"):
        plan_of([file], TRAINED["wide"], Output(tmp_path / "out"), 9)


def test_one_series_among_numbers_is_refused() -> None:
    """A list in one column is not enough: each feature that changes has one value for each timestep."""
    frame = pd.DataFrame({"u": [[1.0, 3.0]], "site": [7], "v": [2.0]})
    with pytest.raises(TrainingError, match="frame, column 'v': expected lists of numbers, as in the others"):
        sequences_of_frame(frame, TRAINED["wide"])


def test_two_values_of_one_column_are_refused() -> None:
    """A static feature may be named as a timestep is; then a wide table cannot be read, wherever it comes from."""
    described = card(
        timesteps=2,
        features=2,
        timestep_labels=("may", "june"),
        feature_labels=("v", "june"),
        static_labels=("june",),
        training=record(data="x.csv", target_column=["y"]),
    )
    message = "expected sequences, as two columns of a table would be named 'june'"
    with pytest.raises(TableError, match=message):
        layout_of(("may", "june"), described)
    with pytest.raises(InvalidInput, match=message):
        decode_csv_table(b"may,june\n1,2\n", described, 9)
    with pytest.raises(TrainingError, match=message):
        sequences_of_frame(pd.DataFrame({"may": [1], "june": [2]}), described)


def test_the_time_is_needed_where_it_is_a_feature() -> None:
    """It has no column of values: they are calculated from the times."""
    told = TableFormat(sequence_column="id", timestep_column="t", time_feature="since")
    described = card(timesteps=2, features=2, timestep_labels=STEPS, feature_labels=("v", "since"), table=told)
    layout = layout_of(("id", "v"), described)
    assert (layout.form, layout.columns, layout.labels) == ("long", ("v",), ("v",))
    assert (layout.needed, layout.key, layout.time) == (("v", "t"), "id", None)


def test_a_static_feature_has_one_column_of_a_wide_table() -> None:
    """Each timestep has its value."""
    layout = layout_of(WIDE.partition("\n")[0].split(","), TRAINED["wide"])
    assert layout.form == "wide"
    assert layout.values == ("u@0", "site", "v@0", "u@1", "site", "v@1")
    assert dict(zip(layout.columns, layout.labels, strict=True)) == {
        "u@0": "u",
        "site": "site",
        "v@0": "v",
        "u@1": "u",
        "v@1": "v",
    }
