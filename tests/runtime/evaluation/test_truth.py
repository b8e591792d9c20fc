from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from fungi_onnx import TruthError
from fungi_onnx.evaluation import Photo, read_truth

LABELS = ("background", "Amanita muscaria", "Boletus edulis", "Craterellus", "123", "Craterellus")


def table(folder: Path, text: str | bytes, name: str = "truth.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "image,label\na.jpg,Amanita muscaria\nsub/b.jpg,2\n",
        "\ufeffLabel;Image;who\r\nAmanita muscaria;a.jpg;me\r\n2;sub/b.jpg;you\r\n",
        'label\timage\n"Amanita muscaria"\ta.jpg\n\n2\tsub/b.jpg\n\n',
    ],
    ids=["plain", "a spreadsheet's", "tabs and blank lines"],
)
def test_a_table(tmp_path: Path, text: str) -> None:
    path = table(tmp_path, text)
    truth = read_truth(path)
    assert truth.source == str(path)
    assert truth.photos == (
        Photo("a.jpg", str(tmp_path / "a.jpg"), "Amanita muscaria"),
        Photo("sub/b.jpg", str(tmp_path / "sub/b.jpg"), "2"),
    )
    assert truth.ids(LABELS).tolist() == [1, 2]


def test_an_absolute_path_stays_one(tmp_path: Path) -> None:
    truth = read_truth(table(tmp_path, "image,label\n/photos/a.jpg,2\n"))
    assert truth.photos[0].path == "/photos/a.jpg"


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name in ("Boletus edulis/b.jpg", "Boletus edulis/more/a.jpg", "1/c.png", "stray.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").touch()
    (tmp_path / "1" / ".DS_Store").touch()
    truth = read_truth(tmp_path)
    assert [(photo.image, photo.label) for photo in truth.photos] == [
        (os.path.join("1", "c.png"), "1"),
        (os.path.join("Boletus edulis", "b.jpg"), "Boletus edulis"),
        (os.path.join("Boletus edulis", "more", "a.jpg"), "Boletus edulis"),
    ]
    assert truth.photos[1].path == str(tmp_path / "Boletus edulis" / "b.jpg")
    assert truth.ids(LABELS).tolist() == [1, 2, 2]
    assert truth.strays == ("stray.txt",)


def test_names_synonyms_ids_and_what_is_none_of_them(tmp_path: Path) -> None:
    text = "image,label\n" + "".join(
        f"{n}.jpg,{label}\n"
        for n, label in enumerate(
            ["Boletus edulis", "Penny bun", "123", "0", "6", "boletus edulis", "-1", "Nothing"]
        )
    )
    synonyms = table(tmp_path, "name,synonym\nBoletus edulis,Penny bun\nGone,Nothing\n", "s.csv")
    truth = read_truth(table(tmp_path, text), synonyms)
    # A name before an id; letter by letter; no class 6, no class -1.
    assert truth.ids(LABELS).tolist() == [2, 2, 4, 0, -1, -1, -1, -1]


def test_letters_are_the_same_however_they_are_encoded(tmp_path: Path) -> None:
    """macOS decomposes the letters of folders' names."""
    name = "Hårig skål"
    assert unicodedata.normalize("NFD", name) != name
    (tmp_path / unicodedata.normalize("NFD", name)).mkdir()
    (tmp_path / unicodedata.normalize("NFD", name) / "a.jpg").touch()
    assert read_truth(tmp_path).ids(["other", name]).tolist() == [1]
    assert np.all(read_truth(tmp_path).ids([unicodedata.normalize("NFD", name)]) == 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line must name the columns image and label; image is not among them"),
        (
            "a.jpg,Boletus\n",
            "must name the columns image and label; image is not among a.jpg, b",
        ),
        ("image,name\na.jpg,x\n", "label is not among image, name"),
        ("image,label\n", "has no rows below its header"),
        ("image,label\na.jpg,x\nb.jpg\n", "line 3: needs image and label"),
        ("image,label\na.jpg, \n", "line 2: needs image and label"),
        ("image,label\na.jpg,x\nb.jpg,x\na.jpg,y\n", "line 4: a.jpg is in line 2 already"),
        ('image,label\n"a.jpg,x\n', "is not CSV: unexpected end of data"),
        (
            b"image,label\na.jpg,H\xe5r\n",
            "is not a table in UTF-8 with the columns image and l",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not a table in UTF-8 with the columns image and l"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(TruthError, match=f"^{path}.*{message}"):
        read_truth(path)


def test_what_is_no_source_at_all(tmp_path: Path) -> None:
    with pytest.raises(TruthError, match="gone.csv: no such file or folder"):
        read_truth(tmp_path / "gone.csv")
    with pytest.raises(TruthError, match="has no photos in folders: each class needs a folder"):
        read_truth(tmp_path)
    good = table(tmp_path, "image,label\na.jpg,x\n")
    with pytest.raises(TruthError, match="s.csv, line 3: a is a synonym of b already"):
        read_truth(good, table(tmp_path, "synonym,name\na,b\na,c\n", "s.csv"))
    with pytest.raises(TruthError, match="s.csv: no such file or folder"):
        read_truth(good, tmp_path / "no" / "s.csv")


def test_a_name_of_two_classes_is_no_name(tmp_path: Path) -> None:
    truth = read_truth(table(tmp_path, "image,label\na.jpg,Craterellus\n"))
    with pytest.raises(TruthError, match="calls 2 classes 'Craterellus': label these photos with"):
        truth.ids(LABELS)


def test_labels_of_another_model_are_told_with_the_nearest(tmp_path: Path) -> None:
    truth = read_truth(table(tmp_path, "image,label\na.jpg,Amanita muscari\n"))
    with pytest.raises(TruthError) as caught:
        truth.ids(LABELS)
    assert str(caught.value).endswith(
        "truth.csv: none of its labels is a class of the model, such as 'background'; the first is"
        " 'Amanita muscari' (did you mean 'Amanita muscaria'?)"
    )
