"""NIfTI: ``header`` says where the voxels lie and what their numbers mean, ``reader`` reads them, ``writer`` writes."""
