"""The napari plugin: forms, overlays and tables over the core. The only place that knows napari and Qt."""
