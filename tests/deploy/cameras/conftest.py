"""PyGObject comes with the system: tests borrow it from there where this Python can load it."""

import importlib.util
import sys
import sysconfig
from pathlib import Path

import pytest

SYSTEM_GI = Path("/usr/lib/python3/dist-packages/gi")


@pytest.fixture(scope="session")
def system_gi(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Makes `gi` importable; skips where the system has none for this version of Python."""
    if importlib.util.find_spec("gi") is None:
        if not (SYSTEM_GI / f"_gi{sysconfig.get_config_var('EXT_SUFFIX')}").is_file():
            pytest.skip(
                "needs PyGObject for this Python: apt install python3-gi, and the system's own Python or one of its version"
            )
        borrowed = tmp_path_factory.mktemp("system")
        (borrowed / "gi").symlink_to(SYSTEM_GI)
        sys.path.append(str(borrowed))
        importlib.invalidate_caches()
