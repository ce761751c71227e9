"""Results as DICOM objects on the frames of the series that they were made from: written by highdicom.

``frames`` are where everything lies and what it refers to, ``patient`` whose it is said to be, ``objects`` what all
objects share; ``masks``, ``maps``, ``report``, ``contours`` and ``pictures`` are the objects.
"""
