import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests neither read nor fill the user's cache of measurements."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["INSPECTOR_CACHE"] = str(folder)
    yield folder
    del os.environ["INSPECTOR_CACHE"]
