"""Clicks and boxes become cells: from the files of other programs, through the slices, with Segment Anything's own networks."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import roifile
from scipy import ndimage

from helpers.data.movies import write_movie
from helpers.data.outlines import Prompt, read_prompts
from helpers.errors import InputError
from helpers.models import segment_anything
from helpers.models.segment_anything import SegmentAnything
from helpers.runs.parameters import Annotate
from helpers.runs.steps import annotation as step
from helpers.segmentation.prompted import Outliner
from helpers.view.annotation_canvas import AnnotationCanvas

SHAPE = (6, 40, 60)
installed = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment-anything is not installed"
)


class Bright:
    """In place of a network: what is bright and touches the prompt."""

    def __init__(self) -> None:
        self.n_embedded = 0

    def embed(self, image: np.ndarray) -> np.ndarray:
        self.n_embedded += 1
        return image > 0.5

    def outline(self, bright, shape, corners, hint=None):
        pieces, _ = ndimage.label(bright)  # type: ignore[misc]
        y, x = np.asarray(corners).mean(axis=0).astype(int)
        return (pieces == pieces[y, x]) & bright, hint


def stack() -> np.ndarray:
    """Two cells: one in slices 1 to 4, which drifts, one in slice 2 alone, above which lies another, further right."""
    raw = np.random.default_rng(0).uniform(0, 5, SHAPE)
    for z in range(1, 5):
        raw[z, 5:17, 5 + z : 17 + z] += 100
    raw[2, 20:30, 30:40] += 100
    raw[3, 20:30, 34:50] += 100
    raw[2, 10, 12] = 0  # a hole
    return raw


def test_a_click_is_followed_through_the_slices_until_the_cell_ends() -> None:
    network = Bright()
    outliner = Outliner(network, stack())  # type: ignore[arg-type]
    cell = outliner.outline(Prompt(2, np.array([[8.5, 9.5]])))
    assert cell.any(axis=(1, 2)).tolist() == [False, True, True, True, True, False]
    assert all(cell[z, 5:17, 5 + z : 17 + z].all() and cell[z].sum() == 144 for z in range(1, 5))
    alone = outliner.outline(Prompt(2, np.array([[22.0, 32.0], [28.0, 38.0]])))
    assert alone.any(axis=(1, 2)).tolist() == [False, False, True, False, False, False]
    assert network.n_embedded == SHAPE[0]  # each slice once, whatever is asked


def test_cells_are_drawn_beside_others_and_not_twice() -> None:
    outliner = Outliner(Bright(), stack())  # type: ignore[arg-type]
    labels = np.full(SHAPE, -1, np.int32)
    labels[2, 20:22, 30:40], labels[3, :8] = 7, 0
    prompts = [Prompt(2, np.array([[8.5, 9.5]]), "a"), Prompt(2, np.array([[25.0, 35.0]]), "b")]
    assert outliner.draw(labels, [*prompts, Prompt(0, np.array([[1.0, 1.0]]), "nothing")]) == ["nothing"]
    assert (labels == 8).sum() == 4 * 144 and (labels == 9).sum() == 80 and (labels == 7).sum() == 20
    assert (labels[3, :5] == 0).all() and (labels[0] == -1).all()
    before = labels.copy()
    assert outliner.draw(labels, prompts) == ["a", "b"] and np.array_equal(labels, before)


def test_prompts_of_imagej_qupath_and_napari_are_the_same(tmp_path: Path) -> None:
    point = roifile.ImagejRoi.frompoints([[12, 5]], name="click")
    point.roitype, point.position = roifile.ROI_TYPE.POINT, 3
    box = roifile.ImagejRoi.frompoints([[30, 20], [40, 20], [40, 30], [30, 30]], name="box")
    box.roitype, box.position = roifile.ROI_TYPE.POLYGON, 4
    nothing = roifile.ImagejRoi.frompoints([[0, 0], [5, 0], [5, 5]], name="Background")
    nothing.roitype, nothing.position = roifile.ROI_TYPE.POLYGON, 1
    roifile.roiwrite(tmp_path / "a.zip", [point, box, nothing])
    features = [
        {"geometry": {"type": kind, "coordinates": at, "plane": {"z": z}}, "properties": {}}
        for kind, at, z in (
            ("Point", [12, 5], 2), ("Polygon", [[[30, 20], [40, 20], [40, 30], [30, 20]]], 3),
        )
    ]  # fmt: skip
    (tmp_path / "b.geojson").write_text(json.dumps({"features": features}))
    for name in ("a.zip", "b.geojson"):
        click, drawn = read_prompts(tmp_path / name, SHAPE)
        assert (click.z, click.corners.tolist()) == (2, [[5.0, 12.0]])
        assert (drawn.z, drawn.corners.tolist()) == (3, [[20.0, 30.0], [30.0, 40.0]])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("index,axis-0,axis-1\n", "neither boxes nor points"),
        ("index,axis-0,axis-1,axis-2\n0,7,5,5\n", "slice 8"),
        ("index,axis-0,axis-1,axis-2\n0,1,50,5\n", "lies outside"),
        ("index,axis-0,axis-1,axis-2,axis-3\n0,0,1,5,5\n1,1,1,5,5\n", "several frames"),
        ("index,shape-type,axis-0,axis-1,axis-2\n0,path,1,5,5\n", "drawn as areas"),
        ("z,y,x\n1,2,3\n", "axis-0"),
    ],
)
def test_prompts_that_point_nowhere_are_refused(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=error):
        read_prompts(tmp_path / "p.csv", SHAPE)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small network of Segment Anything with random weights, as segment-anything saves its own."""
    import torch

    parts = segment_anything.modeling()
    torch.manual_seed(0)
    sam = parts.Sam(
        image_encoder=parts.ImageEncoderViT(
            depth=2, embed_dim=32, img_size=128, mlp_ratio=4, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), num_heads=4,
            patch_size=16, use_rel_pos=True, global_attn_indexes=[1], window_size=3, out_chans=256,
        ),
        prompt_encoder=parts.PromptEncoder(
            embed_dim=256, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=16
        ),
        mask_decoder=parts.MaskDecoder(
            transformer_dim=256,
            transformer=parts.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
        ),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("sam") / "sam.pth"
    torch.save(sam.state_dict(), path)
    return path


@installed
def test_the_networks_size_is_read_from_its_weights(weights: Path, tmp_path: Path) -> None:
    import torch

    network = SegmentAnything.open(weights)
    encoder = network.sam.image_encoder
    assert (len(encoder.blocks), encoder.img_size) == (2, 128)
    assert [block.window_size for block in encoder.blocks] == [3, 0] and encoder.blocks[0].attn.num_heads == 4
    kept = torch.load(weights, weights_only=True)
    assert all(torch.equal(value, kept[name]) for name, value in network.sam.state_dict().items())
    torch.save({"model_state": {f"sam.{name}": value for name, value in kept.items()}}, tmp_path / "best.pt")
    image = np.random.default_rng(0).random((40, 60))
    boxes = np.array([[5.0, 5.0], [20.0, 30.0]])
    masks = [
        own.outline(own.embed(image), image.shape, boxes)[0]
        for own in (network, SegmentAnything.open(tmp_path / "best.pt"))
    ]
    assert masks[0].shape == image.shape and masks[0].dtype == bool and np.array_equal(*masks)


@installed
def test_our_way_through_the_network_is_its_own(weights: Path) -> None:
    import torch

    network = SegmentAnything.open(weights)
    image = np.random.default_rng(1).random((64, 128)).astype(np.float32)
    for corners, prompt in (
        ([[10.5, 20.5]], {"point_coords": torch.tensor([[[20.0, 10.0]]]), "point_labels": torch.ones(1, 1)}),
        ([[8.5, 16.5], [40.5, 90.5]], {"boxes": torch.tensor([[16.0, 8.0, 90.0, 40.0]])}),
    ):
        pixels = torch.as_tensor(255 * image).expand(3, -1, -1)
        given = {"image": pixels, "original_size": image.shape, **prompt}
        theirs = network.sam([given], multimask_output=len(corners) == 1)[0]
        best = int(theirs["iou_predictions"][0].argmax())
        ours, hint = network.outline(network.embed(image), image.shape, np.array(corners))
        assert np.array_equal(ours, theirs["masks"][0, best].numpy()) and 0 < ours.mean() < 1
        assert torch.allclose(hint[0, 0], theirs["low_res_logits"][0, best], atol=1e-4)


@installed
def test_boxes_and_clicks_become_annotations_of_notebook_01(weights: Path, tmp_path: Path, capsys) -> None:
    movie = write_movie(
        tmp_path / "m.ome.tif", stack()[None].astype(np.uint16), voxel_size=(2, 0.5, 0.5), frame_interval=60, axes="TZYX"
    )  # fmt: skip
    pd.DataFrame({"index": [0], "axis-0": [2.0], "axis-1": [10.0], "axis-2": [20.0]}).to_csv(
        tmp_path / "clicks.csv", index=False
    )
    p = Annotate.checked(
        {"run_dir": tmp_path / "run", "movie": movie, "sam_weights": weights, "prompts": tmp_path / "clicks.csv"}
    )  # fmt: skip
    drawing = step.open_drawing(p)
    canvas = AnnotationCanvas(drawing, step.open_outliner(p, drawing))
    assert "1 cells drawn from 1 clicks and boxes" in capsys.readouterr().out
    assert set(np.unique(drawing.labels)) == {-1, 1} and drawing.n_cells == 1
    assert "click or box" in canvas.widget().children[0].children[1].options
    drawn = drawing.labels.copy()
    drawing.labels[:] = -1
    canvas.tool, canvas.z = "click or box", 2
    canvas.stroke(np.array([[10.5, 20.5]]))
    assert np.array_equal(drawing.labels, drawn)
    canvas.undo()
    assert (drawing.labels == -1).all()


def test_without_weights_or_package_the_error_says_what_to_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = write_movie(tmp_path / "m.tif", stack().astype(np.uint16), voxel_size=(2, 0.5, 0.5), axes="ZYX")
    (tmp_path / "clicks.csv").write_text("index,axis-0,axis-1\n")
    p = Annotate.checked({"run_dir": tmp_path / "run", "movie": movie, "prompts": tmp_path / "clicks.csv"})
    drawing = step.open_drawing(p)
    with pytest.raises(
        InputError, match=r"sam_weights.*sam_vit_b_01ec64\.pth .*facebookresearch/segment-anything"
    ):
        step.open_outliner(p, drawing)
    assert step.open_outliner(p.model_copy(update={"prompts": None}), drawing) is None
    (tmp_path / "w.pth").write_bytes(b"nothing of the kind")
    monkeypatch.delitem(sys.modules, "segment_anything.modeling", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install segment-anything"):
        SegmentAnything.open(tmp_path / "w.pth")


@installed
def test_other_weights_are_refused(tmp_path: Path) -> None:
    import torch

    (tmp_path / "w.pth").write_bytes(b"nothing of the kind")
    torch.save({"model": torch.zeros(3)}, tmp_path / "sam2.pt")
    for name, error in (("w.pth", "cannot be read as weights"), ("sam2.pt", "SAM 2 and MobileSAM")):
        with pytest.raises(InputError, match=error):
            SegmentAnything.open(tmp_path / name)
