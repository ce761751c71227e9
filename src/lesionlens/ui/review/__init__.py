"""The dock *Review*: a reader judges the findings of a session, case by case, by keys.

``dock`` puts the parts together; ``keys`` is the table of keys; ``loading`` reads cases, ``drawing`` is the layer that
is drawn on, ``looking`` where the viewer looks; what is decided goes through :mod:`lesionlens.review.reading`.
"""
