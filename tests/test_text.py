"""Numbers with commas and points in CSV files, and lines that begin with #."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.tables.dialect import Dialect
from service.tables.text import examine
from training import TrainingError
from training.data import SourceData
from training.options import Options
from training.tables import reading


def read(folder: Path, content: str, *, packed: bool = False, **options: Any) -> SourceData:
    """Write a file and read it."""
    file = folder / "data.csv"
    file.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    return reading.read(
        {"--data": file}, Options.from_keywords({"data": str(file), "target_column": ("y",), **options})
    )


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_comma_before_three_digits_may_be_either_with_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    """The person decides, as in a file with commas between the cells; numbers below a thousand have no comma."""
    content = "a;b;y\n4,327;733;p\n2,800;3,366;q\n".replace(";", delimiter)
    with pytest.raises(TrainingError, match="expected --decimal or --thousands"):
        read(tmp_path, content)
    for option, mark in (("thousands", ","), ("decimal", ".")):
        given: dict[str, Any] = {option: mark}
        assert read(tmp_path, content, **given).x[:][..., 0].tolist() == [[4327, 733], [2800, 3366]]
    assert read(tmp_path, content, decimal=",").x[:][1, 0, 0] == pytest.approx(2.8)


def test_columns_of_three_decimals_are_no_thousands_where_semicolons_divide(tmp_path: Path) -> None:
    """Each number has a comma, which a number below a thousand has not. A hint names the other reading."""
    content = "n;a;b;y\n17;62,861;1,019;p\n9;58,375;;q\n"
    loaded = read(tmp_path, content)
    np.testing.assert_allclose(loaded.x[:][0, :, 0], [17, 62.861, 1.019], rtol=1e-6)
    assert (
        "numbers such as '62,861' were read with a decimal comma; --thousands , reads them as thousands" in loaded.hints
    )
    assert read(tmp_path, content, thousands=",").x[:][0, 1, 0] == 62861
    assert not any("thousands" in hint for hint in read(tmp_path, content, decimal=",").hints)
    with pytest.raises(TrainingError, match="expected --decimal or --thousands"):
        read(tmp_path, content.replace(";", "\t"))


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        ("1.528;0,73", [1528, 0.73]),
        ("1.528;-,5", [1528, -0.5]),
        ("4,327;0.5", [4327, 0.5]),
        ("1,234,567;2", [1234567, 2]),
        ("1.234.567;2,5", [1234567, 2.5]),
        ("0,733;2", [0.733, 2]),
        ("2,010E+01;2", [20.1, 2]),
        ("1.528;2", [1.528, 2]),
    ],
)
def test_the_numbers_of_all_columns_show_what_a_mark_means(tmp_path: Path, cells: str, numbers: list[float]) -> None:
    """A file has one decimal separator, and the other mark stands between thousands."""
    loaded = read(tmp_path, f"a;b;y\n{cells};p\n7;8;q\n")
    np.testing.assert_allclose(loaded.x[:][0, :, 0], numbers, rtol=1e-6)


def test_two_decimal_separators_are_refused(tmp_path: Path) -> None:
    """The message has an example of each."""
    with pytest.raises(TrainingError, match=r"got '1,5' and '1,234,567'; --decimal"):
        read(tmp_path, "a;b;y\n1,234,567;1,5;p\n7;8;q\n")
    with pytest.raises(TrainingError, match=r"expected one decimal separator, got '0,73' and '1\.5'; --decimal"):
        read(tmp_path, "a;b;y\n1.5;0,73;p\n7;8;q\n")


def test_a_column_that_is_left_out_has_no_decimal_separator(tmp_path: Path) -> None:
    """The card records the separator of the numbers that are read."""
    rows = "".join(f"{index}.5;2;{index},5;p\n" for index in range(16))
    loaded = read(tmp_path, f"a;b;note;y\n{rows}", drop_columns=("note",))
    assert loaded.table is not None
    assert loaded.table.decimal == "."


def test_a_text_column_has_no_decimal_separator(tmp_path: Path) -> None:
    """Some of its words look like numbers."""
    rows = "".join(f"{index}.5;2;{('ok', '3,5')[index % 8 == 0]};p\n" for index in range(16))
    loaded = read(tmp_path, f"a;b;note;y\n{rows}", static_columns=("note",))
    assert loaded.table is not None
    assert loaded.table.decimal == "."


def test_numbers_of_another_form_than_the_first_ones_are_refused(tmp_path: Path) -> None:
    """A point after 300 rows with decimal commas, or between too few digits, is not guessed."""
    rows = "0,5;2;p\n" * 300
    with pytest.raises(TrainingError, match=r"column 'a', row 302: expected a number, got '1\.528'"):
        read(tmp_path, f"a;b;y\n{rows}1.528;2;q\n")
    with pytest.raises(TrainingError, match=r"column 'a', row 303: expected a number, got '1\.5'"):
        read(tmp_path, f"a;b;y\n1.528,5;2;p\n{rows}1.5;2;q\n")


@pytest.mark.parametrize("packed", [False, True])
def test_a_row_that_begins_with_a_number_sign_is_data(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    """Colours and identifiers may; a line with another number of cells is a comment, and a hint counts them."""
    content = (
        "# of the lab\ncolour,u,v,y\n#ff0000,0.12,-0.4,u\nblue,1,2,p\n# paused, again\n#00ff00,3,4,p\nblue,5,6,p\n"
    )
    loaded = read(tmp_path, content, packed=packed, static_columns=("colour",))
    assert loaded.categories["colour"] == ("#00ff00", "#ff0000", "blue")
    assert loaded.x[:][:, 0, 0].tolist() == [np.float32(0.12), 1, 3, 5]
    assert "2 lines that begin with # are left out, as comments" in loaded.hints
    assert [loaded.locate(index).rpartition(" ")[2] for index in range(4)] == ["3", "4", "6", "7"]
    every = read(tmp_path, "id,u,v,y\n#17,1.5,2,p\n#18,3,4,q\n", drop_columns=("id",))
    assert every.x[:][..., 0].tolist() == [[1.5, 2], [3, 4]]
    assert not any("begin" in hint for hint in every.hints)


def test_a_comment_far_below_is_found(tmp_path: Path) -> None:
    """The first lines need not have one."""
    loaded = read(tmp_path, "u,v,y\n" + "1.5,2,p\n" * 300 + "# paused\n3,4,q\n")
    assert len(loaded.x) == 301
    assert "1 line that begins with # is left out, as comments" in loaded.hints


def test_a_cell_of_several_lines_may_have_a_number_sign(tmp_path: Path) -> None:
    """It is no comment within quotes."""
    content = 'note,u,v,y\n"first\n# second",1.5,2,p\nx,3,4,q\n# end\n'
    loaded = read(tmp_path, content, static_columns=("note",))
    assert loaded.categories["note"] == ("first\n# second", "x")
    assert len(loaded.x) == 2


def test_a_damaged_cell_does_not_make_the_file_one_of_another_encoding(tmp_path: Path) -> None:
    """Other words keep their letters; the bytes that are not UTF-8 become marks."""
    file = tmp_path / "data.csv"
    file.write_bytes("a,y\n1,Müller\n2,Ørsted\n3,".encode() + b"Stra\xdfe\n")
    text = examine("data.csv", file, Dialect())
    assert [line for _, line in text.lines()][1:] == ["1,Müller\n", "2,Ørsted\n", "3,Stra\ufffde\n"]
    assert text.hints == ("some bytes of the file are not UTF-8; they were read as \ufffd",)


def test_a_byte_of_no_character_is_read(tmp_path: Path) -> None:
    """Windows-1252 has no character 0x81."""
    file = tmp_path / "data.csv"
    file.write_bytes("a,y\n1,Müller\n2,".encode("cp1252") + b"\x81\n")
    assert [line for _, line in examine("data.csv", file, Dialect()).lines()][1:] == ["1,Müller\n", "2,\ufffd\n"]
