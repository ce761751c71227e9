"""Anomaly maps: how far a scan lies from what a model was shown of healthy ones, on a scale of a reference set."""
