"""Axial, coronal and sagittal views beside the main viewer, linked with it."""
