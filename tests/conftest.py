import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.data.survey.cache import CACHE_VARIABLE


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests neither read nor fill the user's cache of measurements."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ[CACHE_VARIABLE] = str(folder)
    yield folder
    del os.environ[CACHE_VARIABLE]
