"""The `fungi-onnx-export` command as a user meets it: its words, its exit codes, what it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fungi_onnx_export import __version__, cli

COMMAND = Path(sys.executable).with_name("fungi-onnx-export")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user's environment, without the tests' own settings; its temporary folder is ``temp``."""
    (tmp_path / "temp").mkdir()
    ours = ("TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES")
    inherited = {key: value for key, value in os.environ.items() if key not in ours}
    return inherited | {"TMPDIR": str(tmp_path / "temp")}


def run(
    environment: dict[str, str], *arguments: Path | str, driver: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command, or it within a driver that first does something to it."""
    program = [str(COMMAND)] if driver is None else [sys.executable, "-c", driver]
    return subprocess.run(
        [*program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def driver(preparation: str) -> str:
    return f"import sys\nfrom fungi_onnx_export import cli\n{preparation}\nsys.exit(cli.main())"


def in_process(
    capsys: pytest.CaptureFixture[str], *arguments: Path | str
) -> tuple[int, str, list[str]]:
    """The exit code, the output and the lines on standard error, without a process of its own."""
    code = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


def left_in(tmp_path: Path) -> list[str]:
    """All files below, but for one that onnxruntime leaves in the temporary folder at import."""
    found = (path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    return sorted(path for path in found if path != "temp/.ses")


class TestHelp:
    def test_answers_without_tensorflow(self, environment: dict[str, str]) -> None:
        probe = (
            "import sys\nfrom fungi_onnx_export import cli\n"
            "try:\n    cli.main(sys.argv[1:])\nexcept SystemExit as leaving:\n"
            "    heavy = {'tensorflow', 'tensorflow_hub', 'tf2onnx', 'onnx'} & set(sys.modules)\n"
            "    print(leaving.code, sorted(heavy))"
        )
        for arguments in (["--help"], ["export", "--help"], ["--version"]):
            done = run(environment, *arguments, driver=probe)
            assert done.stdout.endswith("\n0 []\n"), arguments
            assert done.stderr == ""

    @pytest.mark.parametrize(
        "command", ["inspect", "export", "verify", "quantize", "standin", "wheel"]
    )
    def test_every_command_has_an_example(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as leaving:
            cli.main([command, "--help"])
        assert leaving.value.code == 0
        assert f"Example: fungi-onnx-export {command} " in capsys.readouterr().out

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.main(["--version"])
        assert capsys.readouterr().out == f"fungi-onnx-export {__version__}\n"


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ([], "the following arguments are required: COMMAND"),
            (["convert", "x"], "invalid choice: 'convert'"),
            (["inspect"], "the following arguments are required: source"),
            (["export", "x"], "the following arguments are required: -o/--output"),
            (["export", "x", "-o", "y.onnx", "--expect", "z"], "argument --expect: invalid choice"),
            *(
                (["inspect", "x", "--image-size", size], f"'{size}' is not HEIGHTxWIDTH, such as")
                for size in ("299", "0x299", "299x0", "axb", "1x2x3", "x")
            ),
        ],
    )
    def test_is_code_2(
        self, arguments: Sequence[str], problem: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as leaving:
            cli.main(arguments)
        assert leaving.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("usage: fungi-onnx-export")
        assert problem in said

    def test_as_a_process(self, environment: dict[str, str]) -> None:
        done = run(environment, "export", "somewhere")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: fungi-onnx-export export ")
        assert "Traceback" not in done.stderr


class TestInspect:
    def test_text(self, standin_dir: Path, environment: dict[str, str]) -> None:
        done = run(environment, "inspect", standin_dir)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            f"{standin_dir}: tf1-hub",
            "  A stand-in with random, untrained weights: it knows drawings of mushrooms, not"
            " fungi.",
            "  expected image size: 64x64 (ImageModuleInfo)",
            "  signature default",
            "    in   images: float32 [?, 64, 64, 3]",
            "    out  default: float32 [?, 16]",
            "  signature image_classifier",
            "    in   images: float32 [?, 64, 64, 3]",
            "    out  image_classifier: float32 [?, 16]",
            "  signature image_feature_vector",
            "    in   images: float32 [?, 64, 64, 3]",
            "    out  default: float32 [?, 128]",
            "  classifier: image_classifier / image_classifier, 64x64, 16 classes: its rows are"
            " never negative and sum to 1 (3 vector outputs were tried, 2 of them the same tensor)",
        ]

    def test_json(self, old_standin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = in_process(capsys, "inspect", old_standin_dir, "--json")
        assert (code, err) == (0, [])
        assert out.count("\n") == 1
        facts = json.loads(out)
        assert facts["source"] == str(old_standin_dir)
        assert (facts["format"], facts["image_size"]) == ("tf1-hub", [64, 64])
        assert (facts["quantised"], facts["fake_quantised"]) == (False, False)
        assert facts["signatures"]["image_classifier"] == {
            "inputs": [{"key": "images", "dtype": "float32", "shape": [None, None, None, 3]}],
            "outputs": [{"key": "image_classifier", "dtype": "float32", "shape": [None, 16]}],
        }
        why = facts["classifier"].pop("why")
        assert "a softmax is added" in why
        assert facts["classifier"] == {
            "signature": "image_classifier",
            "output_key": "image_classifier",
            "height": 64,
            "width": 64,
            "classes": 16,
            "behaviour": "logits",
            "softmax_added": True,
        }

    def test_overruled(self, frozen_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = in_process(
            capsys, "inspect", frozen_dir, "--signature", "default", "--output-key", "default"
        )
        assert code == 0
        assert "  classifier: default / default, 32x32, 5 classes: named by you; " in out

    def test_an_unclear_module_is_still_shown(
        self, frozen_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = in_process(capsys, "inspect", frozen_dir, "--output-key", "top", "--json")
        assert code == 3
        facts = json.loads(out)
        assert facts["classifier"] is None
        assert sorted(facts["signatures"]) == ["default", "image_classifier"]
        assert err == [
            "fungi-onnx-export: which output is the classifier is not clear: there is no output * /"
            " top; name one:",
            "  --signature default --output-key default  (5 values, probabilities)",
            "  --signature image_classifier --output-key logits  (5 values, probabilities)",
        ]

    def test_missing_source_is_code_3_at_once(
        self, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        check = "import atexit\natexit.register(lambda: print('tensorflow' in sys.modules))"
        done = run(environment, "inspect", tmp_path / "no.tgz", driver=driver(check))
        assert (done.returncode, done.stdout) == (3, "False\n")
        assert done.stderr == (
            f"fungi-onnx-export: {tmp_path}/no.tgz: no such source; give a folder, a .tar.gz or a"
            " .tflite file, or a https://tfhub.dev/ or kaggle.com/models/ one\n"
        )

    def test_the_deleted_module(self, environment: dict[str, str], tmp_path: Path) -> None:
        environment |= {"TFHUB_CACHE_DIR": str(tmp_path / "cache")}
        handle = "https://tfhub.dev/svampeatlas/vision/classifier/fungi_mobile_V1/2"
        done = run(environment, "inspect", handle)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith(
            f"fungi-onnx-export: {handle} is not in the cache {tmp_path}/cache, and the publisher"
            " deleted this module from tfhub.dev on 2024-03-18; give a copy instead: "
        )
        assert done.stderr.count("\n") == 1

    def test_damaged_weights(
        self, standin_dir: Path, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        folder = tmp_path / "module"
        (folder / "variables").mkdir(parents=True)
        for file in ("saved_model.pb", "tfhub_module.pb", "variables/variables.index"):
            (folder / file).write_bytes((standin_dir / file).read_bytes())
        done = run(environment, "inspect", folder)
        assert done.returncode == 3
        assert done.stdout.startswith(f"{folder}: tf1-hub\n")
        assert re.fullmatch(
            rf"fungi-onnx-export: {folder}: cannot be loaded: .*variables.*\n", done.stderr
        )


class TestFailedExport:
    """Whatever goes wrong, an error of a line or so, and no file that was not there before."""

    def test_labels(self, standin_dir: Path, tmp_path: Path, environment: dict[str, str]) -> None:
        labels = tmp_path / "labels.csv"
        labels.write_text("id,name\n0,A\n0,B\n")
        target = tmp_path / "out" / "model.onnx"
        target.parent.mkdir()
        before = left_in(tmp_path)
        done = run(environment, "export", standin_dir, "--labels", labels, "-o", target)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[0].startswith("classifier: image_classifier / ")
        assert done.stderr.splitlines()[1:] == [
            f"fungi-onnx-export: {labels}, line 3: id 0 is there already, in line 2"
        ]
        assert left_in(tmp_path) == before

    def test_missing_source(self, tmp_path: Path, environment: dict[str, str]) -> None:
        before = left_in(tmp_path)
        done = run(environment, "export", tmp_path / "no", "-o", tmp_path / "model.onnx")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith(f"fungi-onnx-export: {tmp_path}/no: no such source; give a ")
        assert done.stderr.count("\n") == 1
        assert left_in(tmp_path) == before

    def test_parity(self, standin_dir: Path, tmp_path: Path, environment: dict[str, str]) -> None:
        target = tmp_path / "model.onnx"
        before = left_in(tmp_path)
        stricter = driver("from fungi_onnx_export import parity\nparity.FLOAT_LIMIT = 1e-12")
        done = run(environment, "export", standin_dir, "-o", target, driver=stricter)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(
            r"fungi-onnx-export: the ONNX graph does not give the original's numbers: max \|Δp\| is"
            r" [\d.e-]+, allowed are 1e-12; nothing was written",
            done.stderr.splitlines()[-1],
        )
        self.is_quiet(done.stderr)
        assert left_in(tmp_path) == before

    def test_a_full_disk(
        self, standin_dir: Path, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        before = left_in(tmp_path)
        small = driver("import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (99999, -1))")
        done = run(environment, "export", standin_dir, "-o", tmp_path / "m.onnx", driver=small)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith("fungi-onnx-export: ")
        assert "File too large" in done.stderr.splitlines()[-1]
        self.is_quiet(done.stderr)
        assert left_in(tmp_path) == before

    def test_interrupted(
        self, standin_dir: Path, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        target = tmp_path / "model.onnx"
        target.write_bytes(b"an older file")
        before = left_in(tmp_path)
        # A shell that starts the tests in the background makes its children ignore the signal.
        heeding = driver("import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)")
        with subprocess.Popen(
            [sys.executable, "-c", heeding, "export", str(standin_dir), "-o", str(target)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("reference: "):
                    process.send_signal(signal.SIGINT)
                    break
            rest = process.stderr.read()
        assert process.returncode == 130
        self.is_quiet(rest)
        assert "parity" not in rest
        assert target.read_bytes() == b"an older file"
        assert left_in(tmp_path) == before

    def test_killed_while_the_file_is_written(
        self, standin_dir: Path, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        """Killed where the bytes of the final file are on their way to the disk."""
        target = tmp_path / "out" / "model.onnx"
        target.parent.mkdir()
        target.write_bytes(b"an older file")
        deadly = driver(
            "import os, signal\n"
            "from fungi_onnx_export import describe\n"
            "write = describe.write\n"
            "def last(model, description, path):\n"
            "    if path.name == 'model.onnx':\n"
            "        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
            "    write(model, description, path)\n"
            "describe.write = last"
        )
        done = run(environment, "export", standin_dir, "-o", target, driver=deadly)
        assert done.returncode == -signal.SIGKILL
        assert target.read_bytes() == b"an older file"
        # What was written so far lies beside it under a hidden name, and is no .onnx file.
        (unfinished,) = set(target.parent.iterdir()) - {target}
        assert unfinished.name.startswith(".model.onnx.")
        assert unfinished.suffix != ".onnx"

    def is_quiet(self, stderr: str) -> None:
        """Nothing on standard error but our own lines."""
        ours = ("classifier: ", "reference: ", "parity of the form ", "fungi-onnx-export: ")
        assert [line for line in stderr.splitlines() if not line.startswith(ours)] == []


class TestRefusedTargets:
    def test_no_such_folder(
        self, standin_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "missing" / "model.onnx"
        code, out, err = in_process(capsys, "export", standin_dir, "-o", target)
        assert (code, out) == (1, "")
        assert err == [
            f"fungi-onnx-export: {target}: there is no folder {target.parent}; name a file to"
            " write: -o MODEL.onnx"
        ]
        assert left_in(tmp_path) == []

    def test_a_folder(
        self, standin_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = in_process(capsys, "export", standin_dir, "-o", tmp_path)
        assert (code, out) == (1, "")
        assert err == [
            f"fungi-onnx-export: {tmp_path}: is a folder; name a file to write: -o MODEL.onnx"
        ]
        assert left_in(tmp_path) == []

    def test_standin_into_a_full_folder(
        self, standin_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = left_in(standin_dir)
        code, out, err = in_process(capsys, "standin", standin_dir)
        assert (code, out) == (1, "")
        assert err == [
            f"fungi-onnx-export: {standin_dir} exists and is not an empty directory; name another"
            " one"
        ]
        assert left_in(standin_dir) == before


class TestExpect:
    def test_another_number_of_classes(
        self, standin_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = in_process(
            capsys,
            "export",
            standin_dir,
            *("-o", tmp_path / "model.onnx", "--expect", "fungi_mobile_V1/2"),
        )
        assert (code, out) == (3, "")
        assert err == [
            "fungi-onnx-export: fungi_mobile_V1/2 takes 299x299 pictures and gives 4128"
            " probabilities; this module takes 64x64 and gives 16 probabilities; without --expect"
            " it is exported all the same"
        ]
        assert left_in(tmp_path) == []
