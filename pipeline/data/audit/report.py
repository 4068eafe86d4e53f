"""`audit.html`: one file that opens anywhere, offline, with thumbnails of every finding."""

import base64
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import jinja2
import numpy as np

from deploy.errors import DatasetError
from deploy.files import write_whole
from deploy.preprocess import read_picture
from pipeline.data.audit.finding import EXIT_CODES, Checked, Material, Severity

THUMBNAIL = 150
"""Longest side in pixels."""


def write_audit(material: Material, checks: Mapping[str, Checked], worst: Severity, file: Path) -> None:
    """Write the report of all checks."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["thumbnail"] = thumbnail
    template = environment.from_string(resources.files("pipeline.data.audit").joinpath("audit.html.jinja").read_text())
    findings = [(name, finding) for name, checked in checks.items() for finding in checked.findings]
    figures = {key: value for checked in checks.values() for key, value in checked.figures.items()}
    write_whole(
        file,
        template.render(
            material=material,
            worst=worst,
            counts={severity: sum(one.severity == severity for _, one in findings) for severity in EXIT_CODES},
            findings=sorted(findings, key=lambda one: -EXIT_CODES[one[1].severity]),
            figures=figures,
            groups=len({sample.group for sample in material.samples}),
        ),
    )


@lru_cache(maxsize=512)
def thumbnail(file: Path) -> str:
    """A picture as a data: URL."""
    try:
        picture = read_picture(file)
    except DatasetError:
        return ""
    scale = min(1.0, THUMBNAIL / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    encoded = cv2.imencode(".jpg", np.asarray(small, np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()
