"""A small signed bundle, the one that the tests of the edge wing use."""

from tests.deploy.conftest import bundle_path, draw_part

__all__ = ["bundle_path", "draw_part"]
