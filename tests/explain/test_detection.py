"""Detection networks: boxes and scores against MONAI's detector and formulas by hand, and one box as a target."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.utils.anchor_utils import AnchorGenerator, AnchorGeneratorWithAnchorShape
from torch import Tensor, nn

from detection_networks import SHAPES, CubeNetwork, retinanet
from lesionlens.errors import ExplainError
from lesionlens.explain import (
    BoxRules,
    BoxScore,
    ClassLogit,
    DetectionNetwork,
    Inference,
    Score,
    Suits,
    apply_method,
    apply_to_targets,
    box_layer,
)
from lesionlens.explain.detection_network import dictionary_heads
from tiny_networks import state_of

RULES = BoxRules(least_score=0.02, overlap=0.05)


def anchors_of(generator: AnchorGenerator) -> object:
    """Return a generator of MONAI's as a function."""
    return lambda image, maps: generator(image, maps)[0]


def cubes(classes: int = 1, *, rules: BoxRules = RULES, offsets: tuple[float, ...] = (0.0,) * 12) -> DetectionNetwork:
    """Return the network of cubes."""
    return DetectionNetwork(
        CubeNetwork(classes, offsets).eval(),
        anchors_of(AnchorGeneratorWithAnchorShape((1, 2), SHAPES)),  # type: ignore[arg-type]  # untyped
        classes,
        rules=rules,
        divisible=(8, 8, 4),
        heads=dictionary_heads("classes", "offsets"),
    )


def image(*places: tuple[int, int, int], value: float = 1.0, shape: tuple[int, int, int] = (32, 24, 16)) -> Tensor:
    """Return an image whose cells of level 1 at these places are bright."""
    found = torch.zeros(1, 1, *shape)
    for i, j, k in places:
        found[0, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 2 * k : 2 * k + 2] = value
    return found


def sigmoid(logit: float) -> float:
    """Return the probability of a logit, in double precision."""
    return 1 / (1 + exp(-logit))


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("shape", [(20, 24, 12), (19, 22, 13)])
def test_boxes_are_those_of_monais_detector(shape: tuple[int, int, int], as_list: bool) -> None:
    """MONAI's RetinaNet and detector, with padding, weights, two classes and three limits at work, decide."""
    network, generator = retinanet(as_list=as_list), AnchorGeneratorWithAnchorShape((1, 2), ((6, 8, 4), (5, 5, 5)))
    weights = (1.0, 2.0, 1.5, 1.0, 1.5, 2.0)
    detector = RetinaNetDetector(network, generator).eval()
    detector.set_box_coder_weights(weights)  # type: ignore[arg-type]  # wrongly typed as one number
    detector.set_box_selector_parameters(0.5, topk_candidates_per_level=150, nms_thresh=0.3, detections_per_img=40)
    rules = BoxRules(weights, least_score=0.5, candidates=150, overlap=0.3, most=40)
    ours = DetectionNetwork(network, anchors_of(generator), 2, rules=rules, divisible=(4, 4, 2))  # type: ignore[arg-type]
    picture = torch.randn(1, 1, *shape)

    with torch.no_grad():
        expected = detector(picture)[0]
        found = ours.boxes(ours(picture), shape)

    assert len(found) == len(expected["boxes"]) == 40
    assert len({one.index for one in found}) == 2
    edges = torch.tensor([[*one.low, *one.high] for one in found]) + 0.5
    assert torch.allclose(edges, expected["boxes"], rtol=0, atol=1e-5)  # half a voxel in float32 and back
    assert torch.equal(torch.tensor([one.confidence for one in found]), expected["labels_scores"])
    assert torch.equal(torch.tensor([one.index for one in found]), expected["labels"])


def test_a_bright_cell_is_found_where_its_anchor_lies() -> None:
    """Cell (3, 2, 5) of stride (4, 4, 2) has its centre at edge (14, 10, 11); its larger anchor is 8 x 8 x 4."""
    network, picture = cubes(), image((3, 2, 5))

    (found,) = network.boxes(network(picture), picture.shape[2:])

    assert found.low == (9.5, 5.5, 8.5)  # edges 10, 6, 9
    assert found.high == (17.5, 13.5, 12.5)
    assert found.confidence == pytest.approx(sigmoid(6), abs=1e-6)  # float32
    assert (found.index, found.level) == (0, 0)


def test_corners_may_be_voxel_indices() -> None:
    """A bundle that goes to the world by the affine itself has its boxes half a voxel further on."""
    network, picture = cubes(rules=BoxRules(least_score=0.02, overlap=0.05, first_voxel=0.0)), image((3, 2, 5))
    output = network(picture)

    assert network.boxes(output, picture.shape[2:])[0].low == (10.0, 6.0, 9.0)
    assert network.score_maps(output, picture.shape[2:], 0)[0].start == (2.0, 2.0, 1.0)


def test_offsets_are_decoded_by_the_formula() -> None:
    """Centre plus size times t / w, size times exp(u / v): in double precision, by hand, with no axis like another."""
    offsets = (0.25, -0.5, 0.125, 0.2, -0.3, 9.0)
    rules = BoxRules((2.0, 4.0, 0.5, 2.0, 3.0, 2.0), least_score=0.02, overlap=0.05)
    network, picture = cubes(rules=rules, offsets=(*offsets, *(0.0,) * 6)), image((3, 2, 5), shape=(32, 24, 80))

    found, _ = network.boxes(network(picture), picture.shape[2:])  # the second is of the other anchor

    centre = (14 + 8 * 0.25 / 2, 10 - 8 * 0.5 / 4, 11 + 4 * 0.125 / 0.5)
    size = (8 * exp(0.2 / 2), 8 * exp(-0.3 / 3), 4 * 1000 / 16)  # 9 / 2 is above log(1000 / 16)
    assert log(1000 / 16) < 9 / 2
    low = [max(c - s / 2, 0) - 0.5 for c, s in zip(centre, size, strict=True)]
    high = [min(c + s / 2, n) - 0.5 for c, s, n in zip(centre, size, (32, 24, 80), strict=True)]
    assert found.low == pytest.approx(low, abs=1e-5)  # float32 at numbers up to 100
    assert found.high == pytest.approx(high, abs=1e-5)


def test_a_box_ends_with_the_image_and_needs_a_voxel() -> None:
    """Boxes in the padding alone are no findings."""
    network, picture = cubes(), image((7, 2, 5))
    output = network(picture)

    (found,) = network.boxes(output, picture.shape[2:], within=(30, 24, 16))
    assert found.high[0] == 29.5
    assert not network.boxes(output, picture.shape[2:], within=(26, 24, 16))


def test_score_maps_have_the_best_anchor_of_each_cell_of_each_level() -> None:
    """12 m - 6 beats 8 m - 6 in bright cells; of 8 cells one is bright, so on level 2 the mean is an eighth."""
    network, picture = cubes(2), image((3, 2, 5))

    fine, coarse = network.score_maps(network(picture), picture.shape[2:], 0)
    other, _ = network.score_maps(network(picture), picture.shape[2:], 1)

    expected = np.full((8, 6, 8), sigmoid(-6))
    expected[3, 2, 5] = sigmoid(6)
    assert np.allclose(fine.values, expected, atol=1e-6)
    assert (fine.start, fine.step) == ((1.5, 1.5, 0.5), (4.0, 4.0, 2.0))
    assert coarse.values[1, 1, 2] == pytest.approx(sigmoid(-4.5), abs=1e-6)
    assert (coarse.start, coarse.step) == ((3.5, 3.5, 1.5), (8.0, 8.0, 4.0))
    assert other.values[3, 2, 5] == pytest.approx(sigmoid(-6), abs=1e-6)


def test_anchors_in_another_order_are_refused() -> None:
    """MONAI can swap the first two axes of its anchors; scores would then lie in the wrong place."""
    swapped = anchors_of(AnchorGeneratorWithAnchorShape((1, 2), SHAPES, indexing="xy"))
    network = DetectionNetwork(CubeNetwork(), swapped, 1, heads=dictionary_heads("classes", "offsets"))  # type: ignore[arg-type]
    output = network(image((3, 2, 5)))

    with pytest.raises(ExplainError, match=r"level 1 do not lie on a regular grid.*'ij'"):
        network.score_maps(output, (32, 24, 16), 0)


def test_too_few_anchors_are_refused() -> None:
    """Boxes of the wrong anchors would look like any other."""
    single = anchors_of(AnchorGeneratorWithAnchorShape((1, 2), SHAPES[:1]))
    network = DetectionNetwork(CubeNetwork(), single, 1, heads=dictionary_heads("classes", "offsets"))  # type: ignore[arg-type]

    with pytest.raises(ExplainError, match=r"2 anchors at each cell.*found \(432, 6\)"):
        network.boxes(network(image()), (32, 24, 16))


def test_several_images_give_what_each_alone_gives() -> None:
    """Occlusion covers an image in batches."""
    network = cubes(2)
    both = torch.cat([image((3, 2, 5)), image((1, 1, 1), value=0.7)])

    assert torch.allclose(network(both), torch.cat([network(one[None]) for one in both]), atol=1e-6)


def test_half_precision_does_not_move_anchors() -> None:
    """A bfloat16 has 8 bits: at voxel 302 it would round places to whole multiples of 2."""
    network, picture = cubes(), image((75, 2, 5), shape=(320, 24, 16))
    half = cubes()
    exact = dictionary_heads("classes", "offsets")
    half._heads = lambda one, seen: tuple([m.bfloat16() for m in maps] for maps in exact(one, seen))  # type: ignore

    (found,) = half.boxes(half(picture), picture.shape[2:])

    assert found.centre == network.boxes(network(picture), picture.shape[2:])[0].centre == (301.5, 9.5, 10.5)


def test_the_score_of_a_box_is_the_logit_of_its_anchor() -> None:
    """The gradient reaches that anchor's class and nothing else."""
    network, picture = cubes(2), image((3, 2, 5), (6, 4, 1), value=2.0)
    output = network(picture).detach().requires_grad_()
    boxes = network.boxes(output, picture.shape[2:])

    for one in boxes:
        target = BoxScore(one.index, 2, anchor=one.anchor)
        (gradient,) = torch.autograd.grad(target(output), output)
        expected = torch.zeros_like(output)
        expected[0, one.index, one.anchor] = 1
        assert torch.equal(gradient, expected)
        assert torch.sigmoid(target(output)).item() == pytest.approx(one.confidence, abs=1e-6)


def test_without_an_anchor_the_surest_is_meant_and_stays() -> None:
    """Whoever changes the image asks about the same anchor each time."""
    network = cubes()
    first, second = network(image((3, 2, 5))), network(image((1, 1, 1)))
    target = BoxScore(0, label="nodule")

    settled = target.settled(first)

    assert target(first).item() == target(second).item() == pytest.approx(6, abs=1e-5)
    assert settled(second).item() == pytest.approx(-6, abs=1e-5)
    assert target.describe(first) == "logit of 'nodule' of the surest anchor"


def test_a_box_can_be_asked_against_another_class() -> None:
    """The logits of the classes of one anchor are 12 apart, whatever the image."""
    network = cubes(2)

    assert BoxScore(0, 2, score=Score(against=(1,)))(network(image((3, 2, 5)))).item() == pytest.approx(12, abs=1e-5)


@pytest.mark.parametrize(
    ("target", "output"),
    [
        (BoxScore(1), torch.zeros(1, 7, 4)),
        (BoxScore(0), torch.zeros(1, 2)),
        (BoxScore(0, anchor=9), torch.zeros(1, 7, 4)),
    ],
)
def test_a_box_score_of_something_else_is_refused(target: BoxScore, output: Tensor) -> None:
    """A number picked from a segmentation's output would be explained as readily."""
    with pytest.raises(ExplainError, match=r"needs a detection network's output|no anchor 9"):
        target(output)


def test_methods_explain_the_score_of_a_box() -> None:
    """The logit of the first anchor is 12 times the mean of its 32 voxels, less 6: the gradient is known by hand."""
    network, picture = cubes(), image((3, 2, 5))
    inference = Inference(network, picture)

    saliency = apply_method(inference, BoxScore(0), method="saliency")
    hirescam = apply_method(inference, BoxScore(0), method="hirescam", layer="network.cells")

    expected = np.zeros((32, 24, 16))
    expected[12:16, 8:12, 10:12] = 12 / 32
    assert np.allclose(saliency.values, expected, atol=1e-6)
    assert hirescam.coarse is not None
    assert np.argwhere(hirescam.coarse).tolist() == [[3, 2, 5]]
    assert hirescam.coarse.sum() == pytest.approx(12, abs=1e-5)  # logit minus bias, as what follows is linear


def test_maps_show_what_was_found() -> None:
    """Painted by hand: a box of its confidence, and the cell's score in its voxels."""
    network, picture = cubes(), image((3, 2, 5))
    inference = Inference(network, picture)

    boxes = apply_method(inference, BoxScore(0, label="nodule"), method="boxes")
    (level,) = apply_to_targets(inference, [BoxScore(0)], method="score_map", options={"level": 1})

    expected = np.zeros((32, 24, 16))
    expected[10:18, 6:14, 9:13] = sigmoid(6)
    assert np.allclose(boxes.values, expected, atol=1e-6)
    assert (boxes.kind, boxes.signed, boxes.target) == ("detection", False, "confidence of 'nodule'")
    assert boxes.score == pytest.approx(sigmoid(6), abs=1e-6)
    assert np.allclose(level.values[12:16, 8:12, 10:12], sigmoid(6), atol=1e-6)
    assert np.count_nonzero(level.values > 0.5) == 32
    assert level.stride == (4.0, 4.0, 2.0)


def test_a_map_without_boxes_says_so() -> None:
    """Nothing found must not look like a failure, nor like something."""
    network = cubes(rules=BoxRules(least_score=0.02))

    heat = apply_method(Inference(network, image()), BoxScore(0), method="boxes")

    assert not heat.values.any()
    assert any("No box of the class has a confidence above 0.02" in note for note in heat.notes)


@pytest.mark.parametrize("method", ["boxes", "score_map"])
def test_maps_leave_network_image_and_modes_as_they_were(method: str) -> None:
    """Whatever the caller's modes, the map is the same and nothing is changed."""
    network, picture = cubes().train(), image((3, 2, 5))
    before = picture.clone()
    expected = apply_method(Inference(network, picture), BoxScore(0), method=method).values

    with torch.no_grad():
        again = apply_method(Inference(network, picture), BoxScore(0), method=method).values

    assert np.array_equal(again, expected)
    assert torch.equal(picture, before)
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@pytest.mark.parametrize("method", ["boxes", "score_map"])
def test_values_that_are_not_finite_are_refused(method: str) -> None:
    """Without an order there is no surest box."""
    with pytest.raises(ExplainError, match="not finite"):
        apply_method(Inference(cubes(), image((3, 2, 5), value=torch.nan)), BoxScore(0), method=method)


def test_a_level_that_does_not_exist_is_refused() -> None:
    """The message says which there are."""
    with pytest.raises(ExplainError, match=r"levels 1 to 2 \(0 for all of them\); found 3"):
        apply_method(Inference(cubes(), image()), BoxScore(0), method="score_map", options={"level": 3})


@pytest.mark.parametrize("method", ["boxes", "score_map"])
def test_other_networks_and_targets_are_refused(method: str) -> None:
    """A segmentation network has no boxes, and a class logit names none."""
    segmentation = nn.Conv3d(1, 2, 3, padding=1)

    with pytest.raises(ExplainError, match=r"this one \(Conv3d\) gives none"):
        apply_method(Inference(segmentation, image()), BoxScore(0), method=method)
    with pytest.raises(ExplainError, match=r"needs a BoxScore.*ClassLogit"):
        apply_method(Inference(cubes(), image()), ClassLogit(0), method=method)


def test_a_detection_network_suits_what_shows_its_boxes() -> None:
    """A trial that asks for something else than a box would refuse the very methods that are made for boxes."""
    network = cubes(2)
    before = state_of(network)
    suits = Suits(network, (1, 1, 32, 24, 16))

    assert [suits.problem(name) for name in ("boxes", "score_map", "gradcam", "hirescam", "saliency")] == [None] * 5
    assert "levels 1 to 2 (0 for all of them); found 3" in str(suits.problem("score_map", options={"level": 3}))
    assert "no attention matrices" in str(suits.problem("attention"))
    assert state_of(network) == before


class Failing(nn.Module):
    """A network of boxes that fails after its first answers."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.inner, self.answers = CubeNetwork(), answers

    def forward(self, picture: Tensor) -> dict[str, list[Tensor]]:
        """Return the maps of both levels, and then fail."""
        found = self.inner(picture)
        self.answers -= 1
        if self.answers < 0:
            raise ValueError("out of order")
        return found


@pytest.mark.parametrize("method", ["boxes", "score_map", "gradcam", "saliency", None])
def test_an_error_leaves_a_detection_network_as_it_was(method: str | None) -> None:
    """Of a map, and of the choice of a layer (None)."""
    network = DetectionNetwork(
        Failing(2 if method is None else 0).train(),
        anchors_of(AnchorGeneratorWithAnchorShape((1, 2), SHAPES)),  # type: ignore[arg-type]  # untyped
        1,
        divisible=(8, 8, 4),
        heads=dictionary_heads("classes", "offsets"),
    )
    picture = image((3, 2, 5))
    before, picture_before = state_of(network), picture.clone()

    def run() -> object:
        if method is None:
            return box_layer(network, (1, 1, 32, 24, 16))
        layer = "network.inner.cells" if method == "gradcam" else None
        return apply_method(Inference(network, picture), BoxScore(0), method=method, layer=layer)

    with pytest.raises(ValueError, match="out of order"):
        run()

    assert state_of(network) == before
    assert torch.equal(picture, picture_before)


def test_the_layer_of_all_boxes_is_chosen() -> None:
    """The coarser cells serve level 2 alone: a box of level 1 has no gradient there."""
    name, reason = box_layer(cubes(), (1, 1, 32, 24, 16))

    assert name == "network.cells"
    assert reason == "the coarsest features (stride 4 x 4 x 2) that all boxes depend on"
    heat = apply_method(Inference(cubes(), image((3, 2, 5))), BoxScore(0))
    assert heat.layer == "network.cells"


def test_levels_without_a_common_layer_are_refused() -> None:
    """Then the user has to say which level is meant."""

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Conv3d(1, 2, 2, stride=2), nn.Conv3d(1, 2, 4, stride=4)
            self.boxes = nn.Conv3d(2, 6, 1)

        def forward(self, picture: Tensor) -> list[Tensor]:
            levels = [self.fine(picture), self.coarse(picture)]
            return [*(level[:, :1] for level in levels), *map(self.boxes, levels)]

    generator = AnchorGeneratorWithAnchorShape((1, 2), ((4, 4, 4),))
    network = DetectionNetwork(Apart(), anchors_of(generator), 1)  # type: ignore[arg-type]  # untyped

    with pytest.raises(ExplainError, match="no layer in common"):
        box_layer(network, (1, 1, 32, 32, 32))


def test_a_network_is_left_as_it_was() -> None:
    """Choosing a layer watches modules; none of that stays."""
    network = cubes().train()
    before = {name: p.clone() for name, p in network.named_parameters()}
    state = torch.get_rng_state()

    box_layer(network, (1, 1, 32, 24, 16))

    assert network.training
    assert all(p.requires_grad and p.grad is None and torch.equal(p, before[n]) for n, p in network.named_parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)
