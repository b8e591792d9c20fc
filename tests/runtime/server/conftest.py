from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .servers import Server, serving


@pytest.fixture(scope="package")
def server(tiny: Path) -> Iterator[Server]:
    """One server for all tests that do it no harm."""
    with serving(tiny) as running:
        yield running
        assert not [line for line in running.log if " ERROR " in line]
