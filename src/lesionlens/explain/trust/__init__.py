"""Is a map to be believed? Checks for any network and any map, torch and numpy only.

>>> import torch
>>> from lesionlens.explain import ClassLogit, Inference
>>> network = torch.nn.Sequential(
...     torch.nn.Conv3d(1, 4, 3), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
... )
>>> inference, target = Inference(network, torch.rand(1, 1, 12, 12, 12)), ClassLogit(1)
>>> drawing = Subject(inference, target, edges, edges(inference, target))
>>> randomisation(drawing).check().verdict
'fails'
"""

from lesionlens.explain.trust.localisation import Localisation, localisation
from lesionlens.explain.trust.perturbation import Perturbation, filled, perturbation
from lesionlens.explain.trust.randomisation import Randomisation, randomisation, randomised
from lesionlens.explain.trust.seen import seen
from lesionlens.explain.trust.similarity import rank_correlation, structural_similarity
from lesionlens.explain.trust.stability import Stability, agreement, stability
from lesionlens.explain.trust.subject import MapMaker, Subject, edges, focused, map_of

__all__ = [
    "Localisation",
    "MapMaker",
    "Perturbation",
    "Randomisation",
    "Stability",
    "Subject",
    "agreement",
    "edges",
    "filled",
    "focused",
    "localisation",
    "map_of",
    "perturbation",
    "randomisation",
    "randomised",
    "rank_correlation",
    "seen",
    "stability",
    "structural_similarity",
]
