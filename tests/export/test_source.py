"""source.py: every kind of source, and every bad one with the class and the text of its error."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import socket
import tarfile
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_hub import resolver

from fungi_onnx_export import module, source
from fungi_onnx_export.choice import choose
from fungi_onnx_export.errors import ModuleError, SourceError
from fungi_onnx_export.source import Source

HANDLE = "https://tfhub.dev/someone/vision/classifier/beetles/3"
FUNGI_HANDLES = [
    "https://tfhub.dev/svampeatlas/vision/classifier/fungi_mobile_V1/1",
    "https://tfhub.dev/svampeatlas/vision/classifier/fungi_mobile_V1/2",
    "http://tfhub.dev/svampeatlas/vision/classifier/fungi_mobile_V1/2/",
    "tfhub.dev/svampeatlas/vision/classifier/fungi_mobile_V1/2",
    "https://www.kaggle.com/models/svampeatlas/vision/frameworks/tensorFlow1/variations/"
    "classifier-fungi-mobile-v1/versions/2",
    "kaggle.com/models/svampeatlas/vision/tensorFlow1/classifier-fungi-mobile-v1",
]


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where archives are unpacked: must be empty again at the end, whatever happened."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "no-cache"))
    yield folder
    assert list(folder.iterdir()) == []


def opened(location: Path | str) -> Source:
    """The source; what it was unpacked from is gone again on return."""
    with source.opened(str(location)) as found:
        assert (found.path / "saved_model.pb").is_file()
        return found


def fails(location: Path | str, text: str) -> None:
    """The source is refused by a SourceError with exactly this text."""
    with pytest.raises(SourceError) as caught, source.opened(str(location)):
        pass
    assert type(caught.value) is SourceError
    assert str(caught.value) == text


def pack(folder: Path, archive: Path, arcname: str = ".") -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname)
    return archive


def answers(found: Source) -> np.ndarray:
    """What the chosen classifier of the source gives, [8, classes]."""
    return choose(module.open_original(found)).candidate.values


class TestFolders:
    def test_with_variables(self, standin_dir: Path) -> None:
        found = opened(standin_dir)
        assert found == Source(str(standin_dir), "tf1-hub", standin_dir)

    def test_digests_are_of_the_module_alone(self, standin_dir: Path) -> None:
        digests = opened(standin_dir).digests()
        names = ["saved_model.pb", "tfhub_module.pb"]
        names += [f"variables/variables.{end}" for end in ("data-00000-of-00001", "index")]
        assert sorted(digests) == names  # no labels.csv, no samples
        assert digests["tfhub_module.pb"] == hashlib.sha256(b"\x08\x03").hexdigest()

    def test_frozen(self, frozen_dir: Path) -> None:
        assert not (frozen_dir / "variables").exists()
        found = opened(frozen_dir)
        assert (found.format, found.path) == ("tf1-hub", frozen_dir)
        assert sorted(found.digests()) == ["saved_model.pb", "tfhub_module.pb"]
        assert answers(found).shape == (8, 5)

    def test_one_folder_down(self, frozen_dir: Path, tmp_path: Path) -> None:
        inner = shutil.copytree(frozen_dir, tmp_path / "outer" / "module")
        assert opened(tmp_path / "outer").path == inner

    def test_without_the_hubs_mark_it_is_a_saved_model(
        self, frozen_dir: Path, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(frozen_dir, tmp_path / "module")
        (folder / "tfhub_module.pb").unlink()
        found = opened(folder)
        assert found.format == "saved-model"
        with pytest.raises(ModuleError, match=r"has no graph with the tags \['serve'\], only"):
            module.open_original(found)

    def test_home_is_expanded(self, frozen_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(frozen_dir.parent))
        assert opened(f"~/{frozen_dir.name}").path == frozen_dir


class TestBadFolders:
    def test_missing(self, tmp_path: Path) -> None:
        fails(
            tmp_path / "nowhere",
            f"{tmp_path}/nowhere: no such source; give a folder, a .tar.gz or a .tflite file, or a"
            " https://tfhub.dev/ or kaggle.com/models/ one",
        )

    def test_empty(self, tmp_path: Path) -> None:
        folder = tmp_path / "empty"
        folder.mkdir()
        fails(folder, f"{folder}: holds no saved_model.pb, only nothing")

    def test_only_variables(self, standin_dir: Path, tmp_path: Path) -> None:
        folder = tmp_path / "module"
        shutil.copytree(standin_dir / "variables", folder / "variables")
        fails(folder, f"{folder}: holds no saved_model.pb, only variables")

    def test_several_modules(self, frozen_dir: Path, tmp_path: Path) -> None:
        folder = tmp_path / "both"
        for name in ("one", "two"):
            shutil.copytree(frozen_dir, folder / name)
        fails(folder, f"{folder}: holds no saved_model.pb, only one, two")

    @pytest.mark.parametrize(
        ("content", "shown"), [(b"\x08\x02", "08 02"), (b"", ""), (b"hello", "68 65 6c 6c 6f")]
    )
    def test_damaged_mark(
        self, content: bytes, shown: str, frozen_dir: Path, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(frozen_dir, tmp_path / "module")
        (folder / "tfhub_module.pb").write_bytes(content)
        fails(
            folder,
            f"{folder}: tfhub_module.pb holds {shown}, not 08 03; this hub format is unknown",
        )

    @pytest.mark.parametrize("damage", [b"no protocol buffer", b"\xff" * 200])
    def test_damaged_graph(self, damage: bytes, frozen_dir: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(frozen_dir, tmp_path / "module")
        (folder / "saved_model.pb").write_bytes(damage)
        with pytest.raises(ModuleError, match=rf"^{folder}: saved_model.pb is damaged$"):
            module.open_original(opened(folder))

    def test_graph_cut_short(self, frozen_dir: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(frozen_dir, tmp_path / "module")
        graph = folder / "saved_model.pb"
        graph.write_bytes(graph.read_bytes()[:-100])
        with pytest.raises(ModuleError, match=rf"^{folder}: saved_model.pb is damaged$"):
            module.open_original(opened(folder))

    def test_missing_variables(self, standin_dir: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(standin_dir, tmp_path / "module")
        shutil.rmtree(folder / "variables")
        with pytest.raises(ModuleError) as caught:
            module.open_original(opened(folder))
        assert str(caught.value) == (
            f"{folder}: the folder variables/ with the weights is missing, and the graph is not a"
            " frozen one"
        )

    @pytest.mark.parametrize("file", ["variables.data-00000-of-00001", "variables.index"])
    def test_weights_cut_short(self, file: str, standin_dir: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(standin_dir, tmp_path / "module")
        weights = folder / "variables" / file
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
        self._cannot_be_loaded(folder)

    def test_weights_altered(self, standin_dir: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(standin_dir, tmp_path / "module")
        weights = folder / "variables" / "variables.data-00000-of-00001"
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 64
        weights.write_bytes(content)
        self._cannot_be_loaded(folder)

    def test_graph_altered(self, standin_dir: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(standin_dir, tmp_path / "module")
        graph = folder / "saved_model.pb"
        whole = graph.read_bytes()
        # Text in a message of TensorFlow's own that only its loader parses.
        found = whole.rindex(b"MobilenetV2/Conv/weights/Initializer")
        graph.write_bytes(whole[:found] + b"\xff" + whole[found + 1 :])
        self._cannot_be_loaded(folder)

    def _cannot_be_loaded(self, folder: Path) -> None:
        original = module.open_original(opened(folder))
        with pytest.raises(ModuleError, match=rf"^{folder}: cannot be loaded: \w+") as caught:
            choose(original)
        assert "most recent call" not in str(caught.value)
        assert "\n" not in str(caught.value)


class TestArchives:
    @pytest.mark.parametrize("arcname", [".", "./", "module", "./module", ""])
    @pytest.mark.parametrize("name", ["module.tar.gz", "module.tgz", "no-suffix"])
    def test_unpacks_for_as_long_as_needed(
        self, name: str, arcname: str, frozen_dir: Path, tmp_path: Path, temp: Path
    ) -> None:
        archive = pack(frozen_dir, tmp_path / name, arcname)
        with source.opened(str(archive)) as found:
            assert (found.location, found.format) == (str(archive), "tf1-hub")
            assert temp in found.path.parents
            for file in ("saved_model.pb", "tfhub_module.pb"):
                assert (found.path / file).read_bytes() == (frozen_dir / file).read_bytes()
        assert not found.path.exists()

    def test_same_answers_and_digests_as_the_folder(
        self, standin_dir: Path, tmp_path: Path
    ) -> None:
        with source.opened(str(pack(standin_dir, tmp_path / "module.tgz"))) as found:
            folder = opened(standin_dir)
            assert found.digests() == folder.digests()
            assert np.array_equal(answers(found), answers(folder))

    def test_temporary_folder_goes_when_the_user_of_it_fails(
        self, frozen_dir: Path, tmp_path: Path, temp: Path
    ) -> None:
        archive = pack(frozen_dir, tmp_path / "module.tar.gz")

        def use() -> None:
            with source.opened(str(archive)):
                assert list(temp.iterdir()) != []
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            use()
        assert list(temp.iterdir()) == []


A_LINK = "is a link or a device; a module has only files and folders"
OUTSIDE = "leads outside the archive"


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


class TestBadArchives:
    @pytest.mark.parametrize(
        ("entry", "what"),
        [
            (member("../evil"), OUTSIDE),
            (member("module/../../evil"), OUTSIDE),
            (member("module/..", tarfile.DIRTYPE), OUTSIDE),
            (member("link", tarfile.SYMTYPE, "/etc/passwd"), A_LINK),
            (member("link", tarfile.SYMTYPE, "saved_model.pb"), A_LINK),
            (member("hard", tarfile.LNKTYPE, "saved_model.pb"), A_LINK),
            (member("null", tarfile.CHRTYPE), A_LINK),
            (member("disk", tarfile.BLKTYPE), A_LINK),
            (member("pipe", tarfile.FIFOTYPE), A_LINK),
        ],
        ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
    )
    def test_member(
        self, entry: tarfile.TarInfo, what: str, frozen_dir: Path, tmp_path: Path
    ) -> None:
        self._refused(entry, what, frozen_dir, tmp_path)

    def test_absolute_path(self, frozen_dir: Path, tmp_path: Path) -> None:
        self._refused(member(f"{tmp_path}/evil"), OUTSIDE, frozen_dir, tmp_path)

    def _refused(self, entry: tarfile.TarInfo, what: str, module_dir: Path, tmp_path: Path) -> None:
        archive = tmp_path / "module.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(module_dir, ".")
            tar.addfile(entry)
        before = sorted(tmp_path.rglob("*"))
        fails(archive, f"{archive}: '{entry.name}' {what}")
        assert sorted(tmp_path.rglob("*")) == before

    def test_too_many_files(
        self, frozen_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = pack(frozen_dir, tmp_path / "module.tar.gz")  # a folder and two files
        monkeypatch.setattr(source, "MAX_FILES", 3)
        opened(archive)
        monkeypatch.setattr(source, "MAX_FILES", 2)
        fails(archive, f"{archive}: unpacks to more than 2 files or {source.MAX_BYTES} bytes")

    def test_too_many_bytes(
        self, frozen_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = shutil.copytree(frozen_dir, tmp_path / "module")
        (folder / "zeros").write_bytes(bytes(2**20))
        archive = pack(folder, tmp_path / "module.tar.gz")
        assert archive.stat().st_size < 2**19
        monkeypatch.setattr(source, "MAX_BYTES", 2**20)
        fails(archive, f"{archive}: unpacks to more than 10000 files or 1048576 bytes")

    def test_endless_rest_behind_the_last_file(
        self, frozen_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = gzip.decompress(pack(frozen_dir, tmp_path / "one.tar.gz").read_bytes())
        archive = tmp_path / "module.tar.gz"
        archive.write_bytes(gzip.compress(plain + bytes(2**21)))
        opened(archive)
        monkeypatch.setattr(source, "MAX_BYTES", 2**20)
        fails(archive, f"{archive}: unpacks to more than 10000 files or 1048576 bytes")

    @pytest.mark.parametrize("kept", [2, 100, 0.3, 0.9, -1])
    def test_gzip_cut_short(self, kept: float, standin_dir: Path, tmp_path: Path) -> None:
        whole = pack(standin_dir, tmp_path / "whole.tar.gz").read_bytes()
        archive = tmp_path / "module.tar.gz"
        archive.write_bytes(whole[: int(kept * len(whole)) if 0 < kept < 1 else int(kept)])
        with pytest.raises(SourceError, match=rf"^{archive}: cannot be unpacked: \w"):
            opened(archive)

    def test_no_altered_bit_goes_unnoticed(self, standin_dir: Path, tmp_path: Path) -> None:
        """A tar has no checksum, so an altered weight would show nowhere else."""
        archive = pack(standin_dir, tmp_path / "module.tar.gz")
        whole = archive.read_bytes()
        texts = set()
        for place in range(40, len(whole), len(whole) // 30):
            archive.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            with pytest.raises(SourceError, match=rf"^{archive}: ") as caught:
                opened(archive)
            texts.add(re.sub(r"0x\w+", "", str(caught.value).removeprefix(f"{archive}: ")))
        assert "cannot be unpacked: CRC check failed  != " in texts

    def test_gzip_of_something_else(self, tmp_path: Path) -> None:
        archive = tmp_path / "notes.tar.gz"
        archive.write_bytes(gzip.compress(b"these are my notes\n" * 100))
        with pytest.raises(SourceError, match=rf"^{archive}: cannot be unpacked: \w"):
            opened(archive)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("module.tar.gz", b"<html>404</html>"),
            ("module.tar.gz", b""),
            ("notes.txt", b"plain text, of some length"),
            ("zeros", bytes(64)),
        ],
    )
    def test_other_files(self, name: str, content: bytes, tmp_path: Path) -> None:
        file = tmp_path / name
        file.write_bytes(content)
        fails(file, f"{file}: neither a module folder, a .tar.gz nor a .tflite file")

    def test_archive_without_a_module(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "readme.txt").write_text("no module")
        archive = pack(folder, tmp_path / "photos.tar.gz")
        fails(archive, f"{archive}: holds no saved_model.pb, only readme.txt")


def cached(cache: Path, handle: str, module_dir: Path) -> Path:
    """Puts a module into a cache as tensorflow_hub does, descriptor included."""
    folder = cache / hashlib.sha1(handle.encode()).hexdigest()
    shutil.copytree(module_dir, folder)
    resolver._write_module_descriptor_file(handle, str(folder))
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
class TestCache:
    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "cache"
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(folder))
        return folder

    @pytest.mark.parametrize("stored", [HANDLE, f"{HANDLE}/"])
    @pytest.mark.parametrize("asked", [HANDLE, f"{HANDLE}/"])
    def test_by_handle(self, stored: str, asked: str, cache: Path, frozen_dir: Path) -> None:
        folder = cached(cache, stored, frozen_dir)
        assert opened(asked) == Source(asked, "tf1-hub", folder, handle=asked)

    @pytest.mark.parametrize("handle", FUNGI_HANDLES)
    def test_a_fungi_module_that_was_kept(self, handle: str, cache: Path, frozen_dir: Path) -> None:
        full = handle if handle.startswith("http") else f"https://{handle}"
        folder = cached(cache, full, frozen_dir)
        assert opened(handle) == Source(handle, "tf1-hub", folder, handle=full)

    def test_given_itself_lists_the_handles(self, cache: Path, frozen_dir: Path) -> None:
        handles = [HANDLE, FUNGI_HANDLES[1]]
        folders = {cached(cache, handle, frozen_dir).name: handle for handle in handles}
        bare = "0" * 40
        shutil.copytree(frozen_dir, cache / bare)  # without a descriptor
        lines = [f"  {cache / bare}", *(f"  {folders[name]}" for name in sorted(folders))]
        fails(
            cache,
            f"{cache} is a cache of 3 modules; name one by its handle, with"
            f" TFHUB_CACHE_DIR={cache}, or by its folder:\n" + "\n".join(lines),
        )

    def test_one_module_in_it_is_listed_too(self, cache: Path, frozen_dir: Path) -> None:
        cached(cache, HANDLE, frozen_dir)
        with pytest.raises(SourceError, match=rf"is a cache of 1 modules; (.|\n)*\n  {HANDLE}$"):
            opened(cache)

    def test_by_its_folder(self, cache: Path, frozen_dir: Path) -> None:
        folder = cached(cache, HANDLE, frozen_dir)
        assert opened(folder).path == folder


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("handle", FUNGI_HANDLES)
def test_the_deleted_module_fails_at_once(handle: str, tmp_path: Path) -> None:
    full = handle if handle.startswith("http") else f"https://{handle}"
    start = time.perf_counter()
    fails(
        handle,
        f"{full} is not in the cache {tmp_path}/no-cache, and the publisher deleted this module"
        " from tfhub.dev on 2024-03-18; give a copy instead: a TFHUB_CACHE_DIR folder that still"
        " holds it, its .tar.gz archive, its folder or its .tflite",
    )
    assert time.perf_counter() - start < 0.5


Answer = Callable[[], tuple[int, bytes]]


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """The address of a real server that answers every request for a compressed module."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
            status, body = answer() if query == {"tf-hub-format": ["compressed"]} else (400, b"")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/someone/beetles/3"
        finally:
            server.shutdown()
            thread.join()


class TestHandles:
    @pytest.fixture(autouse=True)
    def timeout(self) -> Iterator[None]:
        """The time-out of a program that uses this one: must be the same afterwards."""
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(12.5)
        yield
        after = socket.getdefaulttimeout()
        socket.setdefaulttimeout(before)
        assert after == 12.5

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        return tmp_path / "cache"

    def test_is_fetched_once(self, frozen_dir: Path, tmp_path: Path, cache: Path) -> None:
        archive = pack(frozen_dir, tmp_path / "module.tar.gz").read_bytes()
        with served(lambda: (200, archive)) as handle:
            found = opened(handle)
            assert found == Source(
                handle, "tf1-hub", cache / hashlib.sha1(handle.encode()).hexdigest(), handle
            )
            assert answers(found).shape == (8, 5)
        assert opened(handle) == found  # the server is gone: from the cache
        with pytest.raises(SourceError, match=rf"\n  {re.escape(handle)}$"):
            opened(cache)

    def refused(self, handle: str, cache: Path, reason: str) -> None:
        with pytest.raises(SourceError) as caught:
            opened(handle)
        assert type(caught.value) is SourceError
        assert re.fullmatch(
            rf"{handle} cannot be fetched \({reason}\); give a local copy: a folder, a"
            r" \.tar\.gz, a \.tflite file, or set TFHUB_CACHE_DIR to a cache that holds it"
            rf" \(looked in {cache}\)",
            str(caught.value),
        )
        assert not (cache / hashlib.sha1(handle.encode()).hexdigest()).exists()

    def test_unknown_to_the_server(self, cache: Path) -> None:
        with served(lambda: (404, b"no such model")) as handle:
            self.refused(handle, cache, "HTTP Error 404: Not Found")

    def test_a_page_instead_of_an_archive(self, cache: Path) -> None:
        with served(lambda: (200, b"<html>sign in</html>")) as handle:
            self.refused(handle, cache, f"{handle} does not appear to be a valid module.")

    def test_cut_short_on_the_way(self, frozen_dir: Path, tmp_path: Path, cache: Path) -> None:
        archive = pack(frozen_dir, tmp_path / "module.tar.gz").read_bytes()
        with served(lambda: (200, archive[: len(archive) // 2])) as handle:
            self.refused(handle, cache, f"{handle} does not appear to be a valid module.")

    def test_no_server(self, cache: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        handle = f"http://127.0.0.1:{port}/someone/beetles/3"
        self.refused(handle, cache, r"<urlopen error \[Errno \d+\] Connection refused>")


def test_a_saved_model_of_tf2(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tf.saved_model.save(tf.Module(), str(folder))
    found = opened(pack(folder, tmp_path / "model.tar.gz"))
    assert (found.format, found.handle) == ("saved-model", None)


def test_a_tflite_file_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "whatever.bin"
    file.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(20))
    with source.opened(str(file)) as found:
        assert found == Source(str(file), "tflite", file)
        assert found.digests() == {"whatever.bin": hashlib.sha256(file.read_bytes()).hexdigest()}
    with pytest.raises(ModuleError, match=rf"^{file}: cannot be loaded: "):
        module.open_original(found)
