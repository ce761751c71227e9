"""Judges the config of a bundle from outside before anything of it is executed.

``analysis`` follows what a config would make and judges it, ``names`` knows what may be called, ``expressions`` which
small subset of Python may be evaluated. What is not known to be harmless needs a person's trust.
"""

from lesionlens.model.safety.analysis import STAND_IN, Concern, Judged, judge, read_config
from lesionlens.model.safety.names import READER, locator, resolved

__all__ = ["READER", "STAND_IN", "Concern", "Judged", "judge", "locator", "read_config", "resolved"]
