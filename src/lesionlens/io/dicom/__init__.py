"""The DICOM reader, one file after the other: scan, group, geometry, pixels.

Read these first, in this order; :mod:`~lesionlens.io.dicom.reader` walks them.

1. ``scan`` finds the files of a folder, and ``header`` reduces each to an ``Instance``.
2. ``group`` makes series of them, chooses the one that is meant, and says of the others what they are.
3. ``geometry`` orders the slices of a volume and gives them their places; ``verdict`` says what is wrong with these.
4. ``pixels`` takes a file apart into pictures, and ``values`` decodes them into one array.

Beside the way, each for one thing:

- of finding: ``dicomdir`` (what an index names has to be there), ``masked`` (names without the patient)
- of headers: ``elements`` (the quick way to them), ``parse`` (pydicom's way, within bounds), ``traits`` (what tells
  images at one place apart), ``enhanced`` (functional groups of multi-frame files), ``mosaic`` (slices as tiles)
- of places: ``slices`` (one image and its place), ``stacks`` (several volumes in one series), ``irregular`` (refuse,
  resample, or keep as it is)
- of pixels: ``scales`` (what is said and not applied), ``size`` (what decoding would take), ``codestream`` (what JPEG
  says of itself), ``lut`` (tables of values), ``decoders`` and ``decoder_child`` (C code in processes of its own)
- ``listing`` describes a series for a list
- of results: ``planes`` (where their frames lie), ``seg``, ``maps`` and ``findings`` (segmentations, parametric maps,
  reports), ``codes`` (what numbers are called); ``export`` writes them
"""
