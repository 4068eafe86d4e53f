import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests neither read nor fill the user's cache of measurements."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["INSPECTOR_CACHE"] = str(folder)
    yield folder
    del os.environ["INSPECTOR_CACHE"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole trainings first, file by file: begun last, they would leave the other processes with nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, "integration" not in item.path.parts))
