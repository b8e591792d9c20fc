"""Ties the exporter to the runtime of its own version, whose inner rooms it works with.

pip would leave an older runtime where it is, and the exporter's imports would fail in it.
"""

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class SameVersion(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        runtime = f"fungi-onnx[cpu]=={metadata['version']}"
        metadata["dependencies"] = [runtime, *self.config["dependencies"]]
