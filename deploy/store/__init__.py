"""The record of a station: every part, view, fault and kept picture. It is never in the inspection's way."""

from deploy.store.policy import Policy
from deploy.store.recorder import Store
from deploy.store.rows import Place, Session

__all__ = ["Place", "Policy", "Session", "Store"]
