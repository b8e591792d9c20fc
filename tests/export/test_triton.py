"""The Triton model repository: by Triton's published schema, and by what its documentation says.

Triton itself does not run here. What it would read is parsed with the schema that its own client
package carries, and what it would feed to onnxruntime is fed to onnxruntime.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2 as schema

from fungi_onnx import FungiClassifier, ModelFormatError, ModelNotFoundError
from fungi_onnx.model_file import ModelFile
from fungi_onnx_export import cli, describe, triton, variants
from fungi_onnx_export.errors import ExportError

DATA = Path(__file__).parents[1] / "data"
TINY = DATA / "tiny.onnx"
HTTP_LIMIT = 1 << 26  # tritonserver --help: --http-max-input-size, 64 MB by default


def read(folder: Path) -> schema.ModelConfig:
    """The configuration; an unknown field, a wrong type or a bad quote is a ParseError."""
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, schema.ModelConfig())


def description_of(model: Path) -> ModelFile:
    return FungiClassifier(model, device="cpu").model


def changed(path: Path, **changes: object) -> Path:
    """The tiny model with another description."""
    description = dataclasses.replace(description_of(TINY), **changes)  # type: ignore[arg-type]
    describe.write(onnx.load(TINY), description, path)
    return path


@pytest.fixture(scope="module", params=["float32", "int8", "float16"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of each kind."""
    path = tmp_path_factory.mktemp("models") / f"{request.param}.onnx"
    if request.param == "int8":
        variants.quantize(TINY, path, None, say=lambda _: None)
    elif request.param == "float16":
        shutil.copy(TINY.with_name("tiny.fp16.onnx"), path)
    else:
        path.write_bytes(TINY.read_bytes())
    return path


@pytest.fixture(scope="module")
def folder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It in a repository."""
    return triton.add_model(model, tmp_path_factory.mktemp("triton") / "model_repository")


def as_triton(folder: Path) -> ort.InferenceSession:
    return ort.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def below(folder: Path) -> dict[str, bytes]:
    """All files, hidden ones too, and the folders, which are empty here."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


class TestConfiguration:
    def test_the_layout(self, folder: Path, model: Path) -> None:
        assert sorted(name for name in below(folder)) == [
            "1",
            "1/model.onnx",
            "config.pbtxt",
            "labels.txt",
            "warmup",
            "warmup/probe.f32",
        ]
        assert (folder / "1" / "model.onnx").read_bytes() == model.read_bytes()
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        assert [path.name for path in folder.parents[1].iterdir()] == ["model_repository"]

    def test_others_may_read_it(self, folder: Path) -> None:
        """The server is another user than the one who exports."""
        mask = os.umask(0)
        os.umask(mask)
        for path in [folder, *folder.rglob("*")]:
            wanted = (0o777 if path.is_dir() else 0o666) & ~mask
            assert path.stat().st_mode & 0o777 == wanted, path

    def test_the_name_is_the_folder_and_that_of_our_own_server(self, folder: Path) -> None:
        name = read(folder).name
        assert name == folder.name == description_of(folder / "1" / "model.onnx").slug
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)

    def test_the_backend(self, folder: Path) -> None:
        config = read(folder)
        assert config.backend == "onnxruntime"
        assert config.version_policy.latest.num_versions == 1
        assert not config.default_model_filename, "then it is model.onnx"

    def test_tensors_are_those_of_the_graph(self, folder: Path) -> None:
        config, session = read(folder), as_triton(folder)
        # The backend counts: as many inputs as the graph requires, initializers not among them.
        (ours,), (theirs,) = config.input, session.get_inputs()
        (our_output,), (their_output,) = config.output, session.get_outputs()
        for tensor, actual in ((ours, theirs), (our_output, their_output)):
            assert tensor.name == actual.name
            assert tensor.data_type == schema.TYPE_FP32
            assert actual.type == "tensor(float)"
            assert list(tensor.dims) == actual.shape[1:]
            assert not isinstance(actual.shape[0], int), "the batch is open"
        assert not ours.optional, "which the backend refuses of a model that takes batches"
        assert ours.format == schema.ModelInput.FORMAT_NHWC
        assert len(ours.dims) == 3

    def test_batches(self, folder: Path) -> None:
        config = read(folder)
        batching = config.dynamic_batching
        assert list(batching.preferred_batch_size) == [16]
        assert batching.max_queue_delay_microseconds == 2000
        assert all(0 < size <= config.max_batch_size for size in batching.preferred_batch_size)
        images = np.zeros((config.max_batch_size, *config.input[0].dims), np.float32)
        (answers,) = as_triton(folder).run(["probabilities"], {"images": images})
        assert answers.shape == (config.max_batch_size, *config.output[0].dims)

    def test_the_largest_batch_fits_through_the_http_door(self, folder: Path) -> None:
        whole = read(folder).max_batch_size * 299 * 299 * 3 * 4
        assert whole + 10_000 < HTTP_LIMIT < 2 * whole

    def test_where_and_how_it_runs(self, folder: Path) -> None:
        config = read(folder)
        (group,) = config.instance_group
        assert (group.kind, group.count) == (schema.ModelInstanceGroup.KIND_AUTO, 1)
        assert config.optimization.HasField("graph")
        assert config.optimization.graph.level == 0, "2 would be: no optimisation"
        accelerators = config.optimization.execution_accelerators
        (cuda,) = accelerators.gpu_execution_accelerator
        assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})
        assert not accelerators.cpu_execution_accelerator
        backend = {k: v.string_value for k, v in config.parameters.items() if "fungi" not in k}
        assert backend == {"cudnn_conv_algo_search": "1", "intra_op_thread_count": "0"}

    def test_the_terms_travel_with_it(self, folder: Path, model: Path) -> None:
        config, description = read(folder), description_of(model)
        facts = {key: value.string_value for key, value in config.parameters.items()}
        assert facts["fungi_onnx.model"] == description.name
        assert facts["fungi_onnx.precision"] == description.precision
        assert facts["fungi_onnx.licence"] == description.terms.licence
        assert "edible from inedible" in facts["fungi_onnx.unsuitable"]
        assert facts["fungi_onnx.unsuitable"] == "; ".join(description.terms.unsuitable)
        assert facts["fungi_onnx.suitable"] == "; ".join(description.terms.suitable)
        assert facts["fungi_onnx.limits"] == "; ".join(description.terms.limits)
        assert facts["fungi_onnx.sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
        head = (folder / "config.pbtxt").read_text().split("\n\n")[0]
        assert all(line.startswith("# ") for line in head.splitlines())
        assert description.terms.licence in head
        assert "edible from inedible" in head


class TestLabels:
    def test_one_line_a_class_in_order_of_ids(self, folder: Path) -> None:
        config = read(folder)
        assert config.output[0].label_filename == "labels.txt"
        lines = (folder / "labels.txt").read_bytes().decode().split("\n")
        assert lines.pop() == ""
        assert tuple(lines) == description_of(folder / "1" / "model.onnx").labels
        assert len(lines) == config.output[0].dims[0]


class TestWarmUp:
    def test_the_file_is_one_picture(self, folder: Path) -> None:
        config = read(folder)
        samples = {sample.batch_size: sample for sample in config.model_warmup}
        assert list(samples) == [1, max(config.dynamic_batching.preferred_batch_size)]
        assert len({sample.name for sample in samples.values()}) == 2
        for sample in samples.values():
            assert list(sample.inputs) == [config.input[0].name]
            tensor = sample.inputs["images"]
            assert tensor.data_type == config.input[0].data_type
            assert list(tensor.dims) == list(config.input[0].dims)
            # Triton looks in the folder warmup, and repeats the file's content for a batch.
            file = folder / "warmup" / tensor.input_data_file
            assert file.stat().st_size == 4 * np.prod(tensor.dims)

    def test_the_model_knows_it(self, folder: Path) -> None:
        config, session = read(folder), as_triton(folder)
        description = description_of(folder / "1" / "model.onnx")
        for sample in config.model_warmup:
            answers = session.run(["probabilities"], {"images": request(folder, sample)})[0]
            assert len(answers) == sample.batch_size
            (probe,) = (p for p in description.probes.pictures if sample.name.endswith(p.name))
            assert set(answers.argmax(axis=1)) == {probe.top[0][0]}
            tolerance = description.probes.tolerance["cpu"]
            for class_id, probability in probe.top:
                assert np.abs(answers[:, class_id] - probability).max() <= tolerance


def request(folder: Path, sample: schema.ModelWarmup) -> NDArray[np.float32]:
    """What Triton makes of a sample: little-endian, row by row, one request for each of a batch."""
    tensor = sample.inputs["images"]
    raw = (folder / "warmup" / tensor.input_data_file).read_bytes()
    picture = np.frombuffer(raw, "<f4").reshape(1, *tensor.dims)
    assert 0 <= picture.min() < picture.max() <= 1
    return np.repeat(picture, sample.batch_size, axis=0)


class TestAwkwardTexts:
    NAMES = (
        *("a\nb", "a\r\nb", "a\rb", 'say "a"', "back\\new", "Rød fluesopp"),
        *("", " # no", "a\u2028b"),
    )

    def test_labels(self, tmp_path: Path) -> None:
        labels = (*self.NAMES, "10", "11", "")
        folder = triton.add_model(changed(tmp_path / "m.onnx", labels=labels), tmp_path / "r")
        assert (folder / "labels.txt").read_bytes().decode().split("\n") == [
            *("a b", "a b", "a b", 'say "a"', "back\\new", "Rød fluesopp", "", " # no", "a b"),
            *("10", "11", "", ""),
        ]

    @pytest.mark.parametrize("text", [*NAMES[:6], "$name ${name} $", "a\0b", "{ } [", "tab\there"])
    def test_terms_and_name(self, text: str, tmp_path: Path) -> None:
        terms = dataclasses.replace(
            description_of(TINY).terms, licence=text, unsuitable=(text, "foraging"), limits=()
        )
        path = changed(tmp_path / "m.onnx", name=f"Model {text}", terms=terms)
        folder = triton.add_model(path, tmp_path / "r")
        config = read(folder)
        facts = {key: value.string_value for key, value in config.parameters.items()}
        assert facts["fungi_onnx.model"] == f"Model {text}"
        assert facts["fungi_onnx.licence"] == text
        assert facts["fungi_onnx.unsuitable"] == f"{text}; foraging"
        assert facts["fungi_onnx.limits"] == "not stated"
        assert config.name == folder.name
        assert config.max_batch_size == 32, "no line of a text became one of the configuration"
        assert "\0" not in (folder / "config.pbtxt").read_text(), "where C++'s parser stops"

    @pytest.mark.parametrize(
        "name", ["..", "../../up", "/", "", "a/b", "CON.", "x" * 300, "キノコ"]
    )
    def test_no_name_leads_out_of_the_repository(self, name: str, tmp_path: Path) -> None:
        repository = tmp_path / "r"
        folder = triton.add_model(changed(tmp_path / "m.onnx", name=name), repository)
        assert folder.parent == repository
        assert re.fullmatch(r"[a-z0-9-]{1,40}", folder.name)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "r"]


class TestARepositoryThatIsThere:
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        """A repository with another model, the tiny one, and a file."""
        repository = tmp_path / "model_repository"
        (repository / "other" / "1").mkdir(parents=True)
        (repository / "other" / "1" / "model.onnx").write_bytes(b"another")
        (repository / "NOTES").write_text("mine")
        triton.add_model(TINY, repository)
        return repository

    @pytest.fixture
    def mine(self, repository: Path) -> Path:
        """The tiny model's folder, which its operator changed."""
        folder = repository / description_of(TINY).slug
        config = folder / "config.pbtxt"
        config.write_text(config.read_text().replace("count: 1", "count: 2"))
        (folder / "configs").mkdir()
        (folder / "configs" / "h100.pbtxt").write_text("mine")
        return folder

    def test_a_model_that_is_there_stays(self, mine: Path) -> None:
        before = below(mine.parents[1])
        with pytest.raises(ExportError, match=f"{mine}: is there already; --replace writes it"):
            triton.add_model(TINY, mine.parent)
        assert below(mine.parents[1]) == before

    def test_unless_it_is_to_be_replaced(self, mine: Path, tmp_path: Path) -> None:
        before = below(tmp_path)
        new = changed(tmp_path / "new.onnx", created="2027-01-01T00:00:00+00:00")
        assert triton.add_model(new, mine.parent, replace=True) == mine
        assert (mine / "1" / "model.onnx").read_bytes() == new.read_bytes()
        fresh = triton.add_model(new, tmp_path / "fresh")
        assert below(mine) == below(fresh), "nothing of the old folder is left"
        assert {k: v for k, v in below(tmp_path).items() if k in before and mine.name not in k} == {
            key: value for key, value in before.items() if mine.name not in key
        }
        assert {path.name for path in tmp_path.iterdir()} == {
            "model_repository", "new.onnx", "fresh"
        }  # fmt: skip

    @pytest.mark.parametrize("kind", ["other's", "none", "file", "binary", "dangling"])
    def test_what_is_not_ours_is_not_replaced(self, kind: str, tmp_path: Path) -> None:
        target = tmp_path / "r" / description_of(TINY).slug
        target.parent.mkdir()
        if kind == "file":
            target.write_text("mine")
        elif kind == "dangling":
            target.symlink_to("nowhere")
        else:
            target.mkdir()
            if kind != "none":
                content = b'name: "x"' if kind == "other's" else b"\xff\xfe"
                (target / "config.pbtxt").write_bytes(content)
        before = below(tmp_path)
        with pytest.raises(ExportError, match="was not written by this command, and is not"):
            triton.add_model(TINY, target.parent, replace=True)
        assert below(tmp_path) == before
        assert os.path.lexists(target)

    def test_a_linked_repository(self, repository: Path, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(repository)
        assert triton.add_model(TINY, link, replace=True).parent == link
        assert link.is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model_repository"]

    def test_the_model_of_the_repository_itself(self, mine: Path) -> None:
        triton.add_model(mine / "1" / "model.onnx", mine.parent, replace=True)
        assert (mine / "1" / "model.onnx").read_bytes() == TINY.read_bytes()

    def test_where_only_the_repository_may_be_written(
        self, mine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where it is a volume, from beside which nothing can be moved into it."""
        rename, refused = os.rename, []

        def across(source: Path, target: Path) -> None:
            inside = [mine.parent in Path(path).parents for path in (source, target)]
            if not all(inside):
                refused.append(source)
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            rename(source, target)

        monkeypatch.setattr(os, "rename", across)
        triton.add_model(TINY, mine.parent, replace=True)
        assert len(refused) == 1
        assert not (mine / "configs").exists()
        names = sorted(path.name for path in mine.parent.iterdir())
        assert names == ["NOTES", "other", mine.name]
        assert len(list(mine.parents[1].iterdir())) == 1

    @pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), KeyboardInterrupt()])
    def test_the_old_one_comes_back_if_the_new_one_cannot_take_its_place(
        self, mine: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        rename, before = os.rename, below(mine.parents[1])

        def failing(source: Path, target: Path) -> None:
            if Path(source).name == "new":
                assert not mine.exists()
                raise error
            rename(source, target)

        monkeypatch.setattr(os, "rename", failing)
        with pytest.raises((ExportError, KeyboardInterrupt)):
            triton.add_model(TINY, mine.parent, replace=True)
        assert below(mine.parents[1]) == before


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "error", "text"),
        [
            ("missing.onnx", ModelNotFoundError, "no such model file"),
            ("bare.onnx", ModelFormatError, "not a self-describing fungi-onnx model"),
            ("sample.jpg", ModelFormatError, "sample.jpg"),
        ],
    )
    def test_not_a_model(
        self, name: str, error: type[Exception], text: str, tmp_path: Path
    ) -> None:
        with pytest.raises(error, match=text):
            triton.add_model(DATA / name, tmp_path / "r")
        assert below(tmp_path) == {}

    def test_a_model_whose_probes_fail(self, tmp_path: Path) -> None:
        """Triton would not see it: its warm-up looks at no answer."""
        probes = description_of(TINY).probes
        wrong = [dataclasses.replace(p, top=((0, 0.5), *p.top[1:])) for p in probes.pictures]
        path = changed(
            tmp_path / "m.onnx", probes=dataclasses.replace(probes, pictures=tuple(wrong))
        )
        with pytest.raises(ExportError, match=f"{path}: its golden probes do not pass here: prob"):
            triton.add_model(path, tmp_path / "r")
        assert not (tmp_path / "r").exists()

    def test_a_model_without_probes(self, tmp_path: Path) -> None:
        probes = dataclasses.replace(description_of(TINY).probes, pictures=())
        path = changed(tmp_path / "m.onnx", probes=probes)
        with pytest.raises(ExportError, match="golden probes do not pass here: there are none"):
            triton.add_model(path, tmp_path / "r")

    def test_a_file_for_a_repository(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ExportError, match="file: is a file; name a folder: -o model_repos"):
            triton.add_model(TINY, tmp_path / "file")
        with pytest.raises(ExportError, match="file/r: cannot be written: Not a directory"):
            triton.add_model(TINY, tmp_path / "file" / "r")
        assert below(tmp_path) == {"file": b"mine"}

    def test_a_place_where_nothing_can_be_written(self) -> None:
        with pytest.raises(ExportError, match="/proc/r: cannot be written: "):
            triton.add_model(TINY, Path("/proc/r"))


class TestCommand:
    def test_it_prints_the_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        repository = tmp_path / "new" / "model_repository"
        folder = repository / description_of(TINY).slug
        assert cli.main(["triton", str(TINY), "-o", str(repository)]) == 0
        assert capsys.readouterr().out == f"{folder}\n"
        assert cli.main(["triton", str(TINY), "-o", str(repository)]) == 1
        assert capsys.readouterr().err == (
            f"fungi-onnx-export: {folder}: is there already; --replace writes it anew\n"
        )
        assert cli.main(["triton", str(TINY), "-o", str(repository), "--replace"]) == 0
        assert cli.main(["triton", str(DATA / "bare.onnx"), "-o", str(repository)]) == 3

    def test_help_has_an_example(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.main(["triton", "--help"])
        assert "Example: fungi-onnx-export triton " in capsys.readouterr().out

    def drive(
        self, preparation: str, repository: Path | str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        driver = (
            "import sys\nfrom fungi_onnx_export import cli, triton\n"
            f"{preparation}\nsys.exit(cli.main())"
        )
        return subprocess.run(
            [sys.executable, "-c", driver, "triton", TINY, "-o", repository, "--replace"],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_a_full_disk(self, tmp_path: Path) -> None:
        folder = triton.add_model(TINY, tmp_path / "r")
        (folder / "mine").touch()
        before = below(tmp_path)
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
        done = self.drive(
            "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (99999, -1))", folder.parent
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == (
            f"fungi-onnx-export: {folder.parent}: cannot be written: File too large"
        )
        assert below(tmp_path) == before

    @pytest.mark.parametrize("named", ["in full", "from within"])
    def test_killed_while_it_writes(self, named: str, tmp_path: Path) -> None:
        folder = triton.add_model(TINY, tmp_path / "r")
        (folder / "mine").touch()
        before = below(tmp_path / "r")
        done = self.drive(
            "import os, signal\nos.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)",
            folder.parent if named == "in full" else ".",
            cwd=folder.parent,
        )
        assert done.returncode == -signal.SIGKILL
        assert below(tmp_path / "r") == before, "no unfinished model is in the repository"
