"""Which columns of a table are features, and which of their cells hold no value."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.data import SourceData
from training.options import Options
from training.tables import reading


def read(source: Path | pd.DataFrame, **options: Any) -> SourceData:
    return reading.read(
        {"--data": source}, Options.from_keywords({"data": "x.csv", "target_column": ("y",), **options})
    )


def written(folder: Path, content: str) -> Path:
    file = folder / "data.csv"
    file.write_text(content)
    return file


CATEGORIES = pd.DataFrame({"u": [1.5, 2, 3, 4, 5], "kind": ["none", "-", "NA", "wood", ""], "y": [*"abaab"]})


@pytest.mark.parametrize("kind", ["text", "category", "csv"])
def test_a_category_may_be_none(tmp_path: Path, kind: str) -> None:
    """In text only the empty cell and the words of --missing are missing; in numbers such a word is missing."""
    frame: Any = CATEGORIES.astype({"kind": "category"}) if kind == "category" else CATEGORIES
    if kind == "csv":
        CATEGORIES.to_csv(tmp_path / "data.csv", index=False)
        frame = tmp_path / "data.csv"
    loaded = read(frame, static_columns=("kind",))
    assert loaded.categories == {"kind": ("-", "NA", "none", "wood")}
    np.testing.assert_array_equal(loaded.x[:][:, 0, 1], [2, 0, 1, 3, np.nan])
    loaded = read(frame, static_columns=("kind",), missing=("NA",))
    assert loaded.categories == {"kind": ("-", "none", "wood")}
    np.testing.assert_array_equal(loaded.x[:][:, 0, 1], [1, 0, np.nan, 2, np.nan])


def test_a_timestep_of_a_category_may_be_none_throughout(tmp_path: Path) -> None:
    """The other timesteps show that it is a category."""
    loaded = read(written(tmp_path, "c@0,c@1,y\nnone,red,a\nnone,blue,b\nnone,red,a\n"))
    assert loaded.categories == {"c": ("blue", "none", "red")}
    assert loaded.x[:][..., 0].tolist() == [[1, 2], [1, 0], [1, 2]]
