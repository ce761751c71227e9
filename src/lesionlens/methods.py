"""The explanation methods: what each shows, what it costs, and what it cannot say.

Nothing heavy is imported here: lists and menus open at once. The work is done in ``lesionlens.explain``, where each
family has a module of its own with a function for each method of the same name in its ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lesionlens.errors import ExplainError, unknown_name
from lesionlens.method_info import Family, MethodInfo, Sampling, Value, method_options

__all__ = [
    "BELOW_ZERO_NOTE",
    "METHODS",
    "Family",
    "MethodInfo",
    "Sampling",
    "Value",
    "default_method",
    "method_info",
    "method_options",
    "method_title",
]

#: Of methods that are made for layers behind a ReLU, where the layer is none.
BELOW_ZERO_NOTE = (
    "The layer holds values below 0, which this method is not made for: its weights may mean nothing. Grad-CAM and"
    " HiResCAM take such layers."
)

_ALL = (
    MethodInfo(
        "gradcam",
        "Grad-CAM",
        "cam",
        summary="where a layer holds evidence for the class, one weight for each channel",
        cost="one pass over the windows, and the end of the network backwards",
        caveat="points no finer than half a stride of the layer; exact only where evidence is pooled and then linear",
        paper="Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391 (here without the ReLU)",
    ),
    MethodInfo(
        "gradcampp",
        "Grad-CAM++",
        "cam",
        summary="as Grad-CAM, with cells that raise the class counted by how strongly they do: keeps several lesions",
        cost="as Grad-CAM, and one more pass over the layer",
        caveat="made for layers behind a ReLU, counts no evidence against, and its size has no meaning",
        paper="Chattopadhay et al., WACV 2018, https://arxiv.org/abs/1710.11063 (here without the ReLU)",
    ),
    MethodInfo(
        "hirescam",
        "HiResCAM",
        "cam",
        summary="what each cell of a layer adds to the class: exact where all that follows is linear",
        cost="one pass over the windows, and the end of the network backwards",
        caveat="far from the output it is noisy, and exact no more",
        paper="Draelos and Carin, 2020, https://arxiv.org/abs/2011.08891 (here without the ReLU)",
    ),
    MethodInfo(
        "layercam",
        "LayerCAM",
        "cam",
        summary="what speaks for the class cell by cell: fit for fine, early layers and for joining layers (a+b)",
        cost="one pass over the windows, and the end of the network backwards",
        caveat="counts no evidence against the class, so even a class that is absent has a map",
        paper="Jiang et al., IEEE TIP 2021 (here without the last ReLU)",
    ),
    MethodInfo(
        "xgradcam",
        "XGrad-CAM",
        "cam",
        summary="as Grad-CAM, with the gradients of a channel's active cells counted more",
        cost="as Grad-CAM, and one more pass over the layer",
        caveat="made for layers behind a ReLU: channels whose values cancel get weights without meaning",
        paper="Fu et al., BMVC 2020, https://arxiv.org/abs/2008.02312 (here without the ReLU)",
    ),
    MethodInfo(
        "ablationcam",
        "Ablation-CAM",
        "forward_cam",
        summary="how far the class falls without each channel of a layer: no gradients, so none that vanish",
        cost="what follows the layer, once for each channel and window that matters",
        caveat="channels that stand in for each other are both taken for unimportant",
        paper="Desai and Ramaswamy, WACV 2020 (here without the ReLU, and not divided by the score)",
        options={"budget_mib": 1024},
    ),
    MethodInfo(
        "cam",
        "CAM",
        "forward_cam",
        summary="the class weights of a network that averages a layer over space and then decides linearly",
        cost="one forward pass, and two backwards through its end to prove that it is such a network",
        caveat="refused for all other networks; its mean is the logit without the bias",
        paper="Zhou et al., CVPR 2016, https://arxiv.org/abs/1512.04150",
    ),
    MethodInfo(
        "eigencam",
        "EigenCAM",
        "forward_cam",
        summary="the strongest pattern in a layer's features, with the sign that speaks for the class",
        cost="as Grad-CAM, and one more pass over the layer",
        caveat="not of a class: all classes have the same map, but for its sign",
        paper="Muhammad and Yeasin, IJCNN 2020, https://arxiv.org/abs/2008.00299 (here with a sign)",
    ),
    MethodInfo(
        "scorecam",
        "Score-CAM",
        "forward_cam",
        summary="how far the class rises when only what a channel lights up is left of the image",
        cost="one forward pass for each channel of the layer and window that matters",
        caveat="a masked image is none that the network was trained on, and 0 must mean 'nothing there'",
        paper="Wang et al., CVPR Workshops 2020, https://arxiv.org/abs/1910.01279 (here without the ReLU)",
        options={"budget_mib": 1024, "softmax": False},
    ),
    MethodInfo(
        "saliency",
        "Saliency",
        "gradients",
        summary="how fast the target rises with each voxel of the image",
        cost="one pass over the windows, forwards and backwards",
        caveat="noisy, and a slope: it says what would change the answer, not what made it; no finer than the network",
        paper="Simonyan et al., ICLR 2014 workshop, https://arxiv.org/abs/1312.6034 (here signed)",
        takes_layer=False,
        hooks=False,
    ),
    MethodInfo(
        "smoothgrad",
        "SmoothGrad",
        "gradients",
        summary="saliency, averaged over noisy copies of the image",
        cost="as many passes as samples",
        caveat="a slope like saliency; the network has never seen such noise, and the amount is a matter of taste",
        paper="Smilkov et al., 2017, https://arxiv.org/abs/1706.03825 (here noise relative to the standard deviation)",
        takes_layer=False,
        hooks=False,
        options={"samples": 25, "noise": 0.1, "seed": 0},
    ),
    MethodInfo(
        "input_x_gradient",
        "Input x gradient",
        "gradients",
        summary="each voxel's value times its slope: what it adds to the target if the network is linear",
        cost="one pass over the windows, forwards and backwards",
        caveat="dark voxels get nothing whatever they mean: 0 depends on how intensities were scaled",
        paper="Shrikumar et al., 2016, https://arxiv.org/abs/1605.01713",
        takes_layer=False,
        hooks=False,
    ),
    MethodInfo(
        "integrated_gradients",
        "Integrated gradients",
        "gradients",
        summary="what each voxel adds to the target on the way from a baseline to the image",
        cost="as many passes as steps",
        caveat="says 'compared with the baseline', which is a choice; faded images are unlike any that it learned from",
        paper="Sundararajan et al., ICML 2017, https://arxiv.org/abs/1703.01365",
        takes_layer=False,
        hooks=False,
        options={"steps": 32, "baseline": "minimum"},
    ),
    MethodInfo(
        "guided_backprop",
        "Guided backprop",
        "gradients",
        summary="saliency that lets only positive gradients through behind each ReLU: crisp edges",
        cost="one pass over the windows, forwards and backwards",
        caveat="fails sanity checks: its maps hardly change when the weights are destroyed; not evidence",
        paper="Springenberg et al., ICLR 2015 workshop, https://arxiv.org/abs/1412.6806",
        takes_layer=False,
    ),
    MethodInfo(
        "occlusion",
        "Occlusion",
        "occlusion",
        summary="how far the target falls when a box of the image is covered",
        cost="a pass over the windows that it touches for each box: minutes to hours, an eighth at twice the stride",
        caveat="no finer than a box, and of the fill as well; evidence that is in two places is found in neither",
        paper="Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901 (here filled from the surroundings)",
        takes_layer=False,
        hooks=False,
        options={"size": "32", "stride": "", "fill": "surroundings", "budget_mib": 1024},
    ),
    MethodInfo(
        "activation_mean",
        "Mean activation",
        "features",
        summary="where a layer is active: the mean of its channels",
        cost="one or two passes over the windows, up to the layer",
        caveat="says nothing about any class; points no finer than half a stride of the layer",
        paper="Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901",
        kind="feature",
        takes_target=False,
    ),
    MethodInfo(
        "activation_channel",
        "One channel",
        "features",
        summary="one channel of a layer as it is",
        cost="one or two passes over the windows, up to the layer",
        caveat="says nothing about any class, nor whether the network uses the channel",
        paper="Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901",
        kind="feature",
        takes_target=False,
        options={"channel": 0},
    ),
    MethodInfo(
        "activation_strongest",
        "Strongest channel",
        "features",
        summary="the channel of a layer with the largest norm, or the second, third, ... largest",
        cost="one or two passes over the windows, up to the layer",
        caveat="strong is not important: what follows may ignore it; says nothing about any class",
        paper="Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901",
        kind="feature",
        takes_target=False,
        options={"rank": 1},
    ),
    MethodInfo(
        "activation_components",
        "Principal component",
        "features",
        summary="the pattern in which the cells of a layer differ most from one another",
        cost="one or two passes over the windows, up to the layer",
        caveat="says nothing about any class; its sign follows the mean activation, and may mean nothing (see notes)",
        paper="Pearson 1901; of activations Muhammad and Yeasin, Eigen-CAM, 2020, https://arxiv.org/abs/2008.00299",
        kind="feature",
        takes_target=False,
        options={"component": 1},
    ),
    MethodInfo(
        "attention",
        "Attention",
        "attention",
        summary="where the tokens of one transformer block look: ViT, UNETR, SwinUNETR",
        cost="one pass over the windows, up to the block, and some dozens of lighter ones that find the tokens' places",
        caveat="looking is not deciding: what the network makes of a place is not in it",
        paper="Vaswani et al., NeurIPS 2017, https://arxiv.org/abs/1706.03762",
        kind="attention",
        signed=False,
        takes_layer=False,
        options={"block": -1, "head": "mean", "query": "auto"},
    ),
    MethodInfo(
        "attention_rollout",
        "Attention rollout",
        "attention",
        summary="where a transformer looks in the end, through all blocks: ViT, UNETR",
        cost="as attention",
        caveat="takes half of each block for the residual and all heads alike; of no class; refused for windows (Swin)",
        paper="Abnar and Zuidema, ACL 2020, https://arxiv.org/abs/2005.00928",
        kind="attention",
        signed=False,
        takes_layer=False,
        options={"block": -1, "query": "auto"},
    ),
    MethodInfo(
        "attention_relevance",
        "Gradient-weighted rollout",
        "attention",
        summary="the attention through all blocks that speaks for the class: ViT, UNETR",
        cost="one pass over the windows forwards and backwards with all matrices in memory, and the tokens' places",
        caveat="shows nothing against the class; only what goes through attention; refused for windows (Swin)",
        paper="Chefer et al., ICCV 2021, https://arxiv.org/abs/2103.15679",
        signed=False,
        takes_layer=False,
        options={"block": -1},
    ),
    MethodInfo(
        "attention_gates",
        "Attention gates",
        "attention",
        summary="where an Attention U-Net lets the features of a skip connection through",
        cost="one pass over the windows",
        caveat="of no class; an open gate lets through, and does not say that anything is there",
        paper="Oktay et al., 2018, https://arxiv.org/abs/1804.03999",
        kind="attention",
        signed=False,
        takes_layer=False,
        takes_target=False,
        options={"gate": -1},
    ),
    MethodInfo(
        "score_map",
        "Score map",
        "detection",
        summary="how sure a detection network is at each cell that a box of the class lies there: RetinaNet",
        cost="one pass over the windows",
        caveat="high around every object, and before overlapping boxes are dropped: no outline, and no count",
        paper="Lin et al., ICCV 2017, https://arxiv.org/abs/1708.02002",
        kind="detection",
        signed=False,
        takes_layer=False,
        hooks=False,
        options={"level": 0},
    ),
    MethodInfo(
        "boxes",
        "Boxes",
        "detection",
        summary="the boxes that a detection network found, with their confidence: RetinaNet",
        cost="one pass over the windows",
        caveat="a box holds more than the object; its confidence is that of the network, calibrated or not",
        paper="Lin et al., ICCV 2017, https://arxiv.org/abs/1708.02002",
        kind="detection",
        signed=False,
        takes_layer=False,
        hooks=False,
    ),
)

METHODS: Mapping[str, MethodInfo] = MappingProxyType({info.name: info for info in _ALL})


def method_info(name: str) -> MethodInfo:
    """Return a method by name.

    Raises
    ------
    ExplainError
        If there is none of that name; the message lists those that exist.
    """
    known = name.replace("++", "pp")  # "gradcam++" is how people write it, and no name for a file
    if known not in METHODS:
        raise ExplainError(unknown_name("method", name, METHODS))
    return METHODS[known]


def method_title(name: str) -> str:
    """Return how people call a method, ``"Grad-CAM"``; of one that is not known here, its name."""
    return METHODS[name].title if name in METHODS else name


def default_method(task: str) -> tuple[str, str]:
    """Choose the method of a run that names none, by what the bundle is for.

    Parameters
    ----------
    task
        ``"segmentation"``, ``"classification"`` or ``"detection"``.

    Returns
    -------
    name, reason : str
        The method, and half a sentence on why.
    """
    if task == "detection":
        return "hirescam", "no method was named, and it keeps the place of a box, which weights of channels forget"
    return "gradcam", "no method was named, and it is what readers know best"
