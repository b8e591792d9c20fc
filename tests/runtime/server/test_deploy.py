"""The deployment files, as far as they can be checked without a cluster and without images."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .servers import serving

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


def check(*command: object) -> None:
    result = subprocess.run(
        [str(Path(sys.executable).with_name(str(command[0]))), *map(str, command[1:])],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_dockerfile_has_no_lint() -> None:
    check("hadolint", DEPLOY / "Dockerfile")


def test_the_compose_file_fits_its_schema() -> None:
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_the_manifests_fit_kubernetes_schemas() -> None:
    check("kubernetes-validate", "--strict", DEPLOY / "kubernetes.yaml")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "fungi-onnx.service"
    command = shutil.which("true")
    text = (DEPLOY / "fungi-onnx.service").read_text()
    unit.write_text(text.replace("/opt/fungi-onnx/bin/fungi-onnx", f"{command}"))
    verdict = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (verdict.returncode, verdict.stderr) == (0, "")


def test_they_install_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    text = "".join(file.read_text() for file in DEPLOY.iterdir())
    for used in ("[cpu,serve,heif]", "[gpu,serve,heif]"):
        assert used in text
        assert set(used.strip("[]").split(",")) <= set(extras)


def test_the_image_gets_what_the_wheel_is_built_from() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert f"!{source}" in ignored, source
                assert (ROOT / source).exists()


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_no_root_and_nothing_to_write_on(tiny: Path, sample: Path) -> None:
    """As the containers run it: another user, and no file system that can be written."""
    sandbox = ("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
    user = ("--unshare-user", "--uid", "10001", "--gid", "10001", "--chdir", "/")
    probe = subprocess.run(
        [*sandbox, *user, "touch", "/tmp/x"], capture_output=True, text=True, check=False
    )
    assert "Read-only file system" in probe.stderr
    with serving(tiny, prefix=(*sandbox, *user, "--die-with-parent")) as server:
        data = sample.read_bytes()
        assert server.client.post("/v1/classify", content=data).json()["top"][0]["id"] == 3
        large = data + bytes(3_000_000)  # a form's file that would be written to a disk
        response = server.client.post("/v1/classify", files={"f": ("a.jpg", large)})
        assert response.status_code == 200
        assert server.client.get("/").status_code == 200
        assert not [line for line in server.log if " ERROR " in line]
