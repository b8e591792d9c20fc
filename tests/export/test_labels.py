"""labels.py: what is read, and each error with its line."""

from __future__ import annotations

import codecs
import csv
import io
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fungi_onnx_export import labels
from fungi_onnx_export.errors import LabelError

ABC = ("Amanita", "Boletus", "Cantharellus")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def read(file: Path, text: str | bytes, classes: int = 3) -> tuple[str, ...]:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return labels.read(file, classes)


def fails(file: Path, text: str | bytes, problem: str, classes: int = 3) -> None:
    """``problem`` is what follows the file's name."""
    with pytest.raises(LabelError) as caught:
        read(file, text, classes)
    assert type(caught.value) is LabelError
    assert str(caught.value) == f"{file}{problem}"


@pytest.mark.parametrize(
    "text",
    [
        "id,name\n0,Amanita\n1,Boletus\n2,Cantharellus\n",
        "id,name\n2,Cantharellus\n0,Amanita\n1,Boletus",
        "id,name\r\n1,Boletus\r\n2,Cantharellus\r\n0,Amanita\r\n",
        "id,name\r1,Boletus\r2,Cantharellus\r0,Amanita\r",
        "\ufeffid,name\n0,Amanita\n1,Boletus\n2,Cantharellus\n",
        "name,id\nAmanita,0\nBoletus,1\nCantharellus,2\n",
        " ID , Name \n 0 , Amanita \n1,Boletus\n2,Cantharellus\n",
        'rank,id,danish,NAME,"two\nlines"\n'
        "9,0,fluesvamp,Amanita,x\n9,1,rørhat,Boletus,y\n9,2,kantarel,Cantharellus,z\n",
        "id,name\n0,Amanita,more,than,the,header\n1,Boletus\n2,Cantharellus\n",
        "id,name\n\n0,Amanita\n\n1,Boletus\n2,Cantharellus\n\n\n",
        '"id","name"\n"0","Amanita"\n"1","Boletus"\n"2","Cantharellus"\n',
        "id,name\n00,Amanita\n01,Boletus\n02,Cantharellus\n",
        "Amanita\nBoletus\nCantharellus\n",
        "Amanita\nBoletus\nCantharellus",
        "Amanita\r\nBoletus\r\nCantharellus\r\n",
        "Amanita\rBoletus\rCantharellus\r",
        "\ufeffAmanita\n  Boletus\t\nCantharellus\n",
    ],
)
def test_one_map_in_many_forms(text: str, file: Path) -> None:
    assert read(file, text) == ABC


def test_quoted_names_keep_commas_quotes_and_newlines(file: Path) -> None:
    text = 'id,name\n1,"Agaric, fly"\n0,"the ""red"" one"\n2,"over\ntwo lines"\n'
    assert read(file, text) == ('the "red" one', "Agaric, fly", "over\ntwo lines")


def test_lines_may_hold_commas_and_quotes(file: Path) -> None:
    text = 'Ara macao (Scarlet Macaw)\n"quoted", and not\nbackground\n'
    assert read(file, text) == ("Ara macao (Scarlet Macaw)", '"quoted", and not', "background")


def test_other_scripts(file: Path) -> None:
    names = ("Sødgrøn mælkehat", "ベニテングタケ", "мухомор")
    assert read(file, "\n".join(names)) == names


def test_equal_names_are_allowed(file: Path) -> None:
    assert read(file, "id,name\n0,same\n1,same\n2,other\n") == ("same", "same", "other")


def test_numbered() -> None:
    assert labels.numbered(3) == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,name\n0,A\n1,B\n1,C\n2,D\n", ", line 4: id 1 is there already, in line 3"),
        ("id,name\n0,A\n1,B\n3,C\n", ", line 4: id 3 is out of range, the ids are 0 to 2"),
        ("id,name\n0,A\n-1,B\n2,C\n", ", line 3: '-1' is not an id (0 to 2)"),
        ("id,name\n0,A\nx,B\n2,C\n", ", line 3: 'x' is not an id (0 to 2)"),
        ("id,name\n0,A\n1.0,B\n2,C\n", ", line 3: '1.0' is not an id (0 to 2)"),
        ("id,name\n0,A\n١,B\n2,C\n", ", line 3: '١' is not an id (0 to 2)"),
        ("id,name\n0,A\n,B\n2,C\n", ", line 3: '' is not an id (0 to 2)"),
        (f"id,name\n{'9' * 5000},A\n", f", line 2: '{'9' * 5000}' is not an id (0 to 2)"),
        ("id,name\n0,A\n1,\n2,C\n", ", line 3: the name is empty"),
        ('id,name\n0,A\n1,"  "\n2,C\n', ", line 3: the name is empty"),
        ("id,name\n0,A\n1\n2,C\n", ", line 3: has 1 columns, too few"),
        ("id,x,name\n0,y,A\n1,B\n2,z,C\n", ", line 3: has 2 columns, too few"),
        (
            "id,name\n0,A\n2,C\n",
            ": 2 names for 3 classes; the first missing id is 1 (the last line is 3)",
        ),
        ("id,name\n", ": 0 names for 3 classes; the first missing id is 0 (the last line is 1)"),
        ('id,name\n0,A\n1,"B\n2,C\n', ", line 4: unexpected end of data"),
        ('id,name\n0,A\n1,"B"x\n2,C\n', ", line 3: ',' expected after '\"'"),
        (
            'id,name\n0,"two\nlines"\n0,"and\nagain"\n',
            ", line 4: id 0 is there already, in line 2",
        ),
        (
            'id,name\n\n0,"two\n\nlines"\n7,B\n',
            ", line 6: id 7 is out of range, the ids are 0 to 2",
        ),
        ("id,name\r0,A\r1,B\r1,C\r", ", line 4: id 1 is there already, in line 3"),
        ("0,A\n1,B\n2,C\n", ", line 1: a CSV needs the header id,name above its rows"),
        ("0;A\n1;B\n2;C\n", ", line 1: a CSV needs the header id,name above its rows"),
        ("id;name\n0;A\n1;B\n2;C\n", ", line 1: the columns must be separated by commas"),
        ("name\tid\nA\t0\nB\t1\nC\t2\n", ", line 1: the columns must be separated by commas"),
        ("A\n\nC\n", ", line 2: the name is empty"),
        ("A\nB\nC\n\n", ", line 4: the name is empty"),
        ("A\nB\n", ": 2 names for 3 classes (the last line is 2)"),
        ("A\nB\nC\nD\n", ": 4 names for 3 classes (the last line is 4)"),
        ("", ": 0 names for 3 classes (the last line is 0)"),
        (b"A\nB\xe6ver\nC\n", ", line 2: is not UTF-8"),
        (b"id,name\n0,A\n1,B\n2,C\xf8\n", ", line 4: is not UTF-8"),
        (codecs.BOM_UTF16_LE + "id,name\n".encode("utf-16-le"), ", line 1: is not UTF-8"),
    ],
)
def test_errors_name_the_line(text: str | bytes, problem: str, file: Path) -> None:
    fails(file, text, problem)


def test_an_endless_field_is_an_error_too(file: Path) -> None:
    long = "x" * 200_000
    fails(file, f"id,name\n0,{long}\n", ", line 2: field larger than field limit (131072)")
    assert read(file, f"{long}\nB\nC\n") == (long, "B", "C")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    fails_to_open = {
        tmp_path / "missing.csv": "No such file or directory",
        tmp_path: "Is a directory",
    }
    for path, reason in fails_to_open.items():
        with pytest.raises(LabelError) as caught:
            labels.read(path, 3)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"


# Any text without control characters, lone surrogates and white space at its ends; U+FEFF at the
# beginning of a file is its BOM and belongs to no name.
NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)
    .map(lambda text: text.strip().lstrip("\ufeff").strip())
    .filter(bool),
    min_size=1,
    max_size=20,
)
BOMS = st.sampled_from(["utf-8", "utf-8-sig"])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def read_back(content: bytes, classes: int) -> tuple[str, ...]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return labels.read(Path(file.name), classes)


@settings(deadline=None)
@given(names=NAMES, encoding=BOMS, end=ENDS, data=st.data())
def test_any_names_survive_a_csv_in_any_order(
    names: list[str], encoding: str, end: str, data: st.DataObject
) -> None:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator=end)
    rows.writerow(["id", "note", "name"])
    for number, name in data.draw(st.permutations(list(enumerate(names)))):
        rows.writerow([number, name[::-1], name])
    assert read_back(text.getvalue().encode(encoding), len(names)) == tuple(names)


@settings(deadline=None)
@given(names=NAMES, encoding=BOMS, end=ENDS, last=st.booleans())
def test_any_names_survive_as_lines(names: list[str], encoding: str, end: str, last: bool) -> None:
    # A first name that looks like a CSV's header or row is taken for one.
    assume(not re.match(r"\d+[,;\t]", names[0]))
    assume(not re.search(r"\bid\b.*\bname\b|\bname\b.*\bid\b", names[0], re.IGNORECASE))
    text = end.join(names) + (end if last else "")
    assert read_back(text.encode(encoding), len(names)) == tuple(names)


@settings(deadline=None)
@given(names=NAMES, data=st.data())
def test_a_lost_row_is_missed(names: list[str], data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, len(names) - 1))
    text = io.StringIO(newline="")
    csv.writer(text).writerows(
        [("id", "name"), *(row for row in enumerate(names) if row[0] != lost)]
    )
    with pytest.raises(LabelError, match=rf"the first missing id is {lost} "):
        read_back(text.getvalue().encode(), len(names))
