"""The report of an evaluation: `report.html` for people, `report.json` for machines."""

from pipeline.evaluation.report.page import write_report

__all__ = ["write_report"]
