"""Segment Anything: the outline of what a click or a box points at (Kirillov et al., ICCV 2023), with weights that the user has.

micro-sam's weights for microscopy (Archit et al., Nature Methods 2025) are of the same networks. Which of them a file holds, its
tensors say. Nothing is downloaded. Tested with networks of random weights only: no published weights were at hand.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError, reading

_PACKAGE = "segment_anything"
#: What to get, and where.
WEIGHTS = (
    "the file of the weights, fetched once: sam_vit_b_01ec64.pth (375 MB; or sam_vit_l_0b3195.pth, sam_vit_h_4b8939.pth) from "
    "'Model Checkpoints' on the page of facebookresearch/segment-anything on GitHub, or micro-sam's vit_b_lm for light microscopy "
    "('Finetuned Models' in its documentation)"
)
#: What all published networks share: width of the prompts, of the decoder's layers, and its heads.
_PROMPT, _HEADS = 256, 8


class SegmentAnything:
    """A loaded network.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        Gets moved to the GPU, where there is one.
    """

    def __init__(self, sam: Any) -> None:
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.sam = sam.to(self.device).eval()

    @classmethod
    def open(cls, path: str | Path | None) -> SegmentAnything:
        """Load the weights of Segment Anything or micro-sam.

        Parameters
        ----------
        path : path or None
            ``.pth`` of segment-anything, or what micro-sam keeps or exports.

        Raises
        ------
        InputError
            No file, saying which from where; one that holds other weights; or the package is not installed.
        """
        if path is None or not Path(path).is_file():
            raise InputError("sam_weights", None if path is None else str(path), WEIGHTS)
        parts = modeling()
        import torch

        with reading(path, "weights of Segment Anything", "get it again"):
            weights = torch.load(path, map_location="cpu", weights_only=True)
            weights = _plain(weights, str(path))
            sam = _network(parts, weights)
            sam.load_state_dict(weights)
        return cls(sam)

    def embed(self, image: NDArray) -> Any:
        """Return what the network sees in an image, for any number of prompts.

        Parameters
        ----------
        image : (Y, X) ndarray of float
            0 black to 1 white.

        Returns
        -------
        (1, 256, …) tensor
        """
        import torch

        size = self.sam.image_encoder.img_size
        with torch.no_grad():
            pixels = torch.as_tensor(255 * np.clip(image, 0, 1), dtype=torch.float32, device=self.device)
            pixels = torch.nn.functional.interpolate(
                pixels[None, None], self._scaled(image.shape, size), mode="bilinear", antialias=True
            )
            return self.sam.image_encoder(self.sam.preprocess(pixels.expand(1, 3, -1, -1)))

    def outline(
        self, embedding: Any, shape: tuple[int, ...], corners: NDArray, hint: Any = None
    ) -> tuple[NDArray[np.bool_], Any]:
        """Return the mask of what a click or a box points at.

        Parameters
        ----------
        embedding : tensor
            Of `embed`.
        shape : (Y, X)
            Of the image.
        corners : (1, 2) or (2, 2) ndarray
            A click (y, x), or two corners of a box, in pixels; pixel 0 covers 0 … 1. A click may mean a part or the whole: of
            three masks the one that the network thinks best of is taken.
        hint : tensor, optional
            Second result of the slice beside it.

        Returns
        -------
        mask : (Y, X) ndarray of bool
        hint : tensor
            The same, coarse, for the next slice.
        """
        import torch

        is_click = len(corners) == 1
        scaled = self._scaled(shape, self.sam.image_encoder.img_size)
        places = (np.asarray(corners) * np.divide(scaled, shape) - 0.5)[:, ::-1]  # x, y; the network adds ½
        with torch.no_grad():
            at = torch.as_tensor(places.copy(), dtype=torch.float32, device=self.device)[None]
            sparse, dense = self.sam.prompt_encoder(
                points=(at, torch.ones(at.shape[:2], device=self.device)) if is_click else None,
                boxes=None if is_click else at.reshape(1, 4),
                masks=hint,
            )
            masks, qualities = self.sam.mask_decoder(
                image_embeddings=embedding,
                image_pe=self.sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=is_click,
            )
            best = masks[:, int(qualities[0].argmax())][:, None]
            full = self.sam.postprocess_masks(best, scaled, tuple(shape))
        return (full[0, 0] > self.sam.mask_threshold).cpu().numpy(), best

    @staticmethod
    def _scaled(shape: tuple[int, ...], size: int) -> tuple[int, int]:
        """Return the size (y, x) of an image whose longer side is what the network takes."""
        scale = size / max(shape)
        return int(shape[0] * scale + 0.5), int(shape[1] * scale + 0.5)


def modeling() -> ModuleType:
    """Return the networks of segment-anything, without what else it imports: that wants torchvision of exactly torch's build."""
    name = f"{_PACKAGE}.modeling"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or importlib.util.find_spec("torch") is None:
        raise InputError(
            "sam_weights",
            "the package segment-anything is not installed",
            "pip install segment-anything torch",
        )
    if _PACKAGE in sys.modules:
        return importlib.import_module(name)
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)  # not executed
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[_PACKAGE]


def _plain(weights: Any, path: str) -> dict[str, Any]:
    """Return the tensors by segment-anything's names: what micro-sam keeps of a training has them inside."""
    inner = weights.get("model_state", weights) if isinstance(weights, Mapping) else {}
    tensors = {str(key).removeprefix("sam."): value for key, value in inner.items()}
    if "image_encoder.pos_embed" not in tensors:
        raise InputError(
            path,
            "no weights of Segment Anything's vit_b, vit_l or vit_h",
            f"{WEIGHTS}; SAM 2 and MobileSAM (vit_t) are other networks",
        )
    return tensors


def _network(parts: Any, weights: Mapping[str, Any]) -> Any:
    """Return a network whose size is that of the weights."""
    import torch

    encoder = "image_encoder."
    position = weights[f"{encoder}pos_embed"]
    patch = weights[f"{encoder}patch_embed.proj.weight"].shape[-1]
    grid, width = position.shape[1], position.shape[-1]
    blocks = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith(f"{encoder}blocks."))
    reach = [weights[f"{encoder}blocks.{n}.attn.rel_pos_h"].shape for n in range(blocks)]
    everywhere = [n for n, (span, _) in enumerate(reach) if span == 2 * grid - 1]
    windows = [span for span, _ in reach if span != 2 * grid - 1]
    layer = partial(torch.nn.LayerNorm, eps=1e-6)
    return parts.Sam(
        image_encoder=parts.ImageEncoderViT(
            depth=blocks, embed_dim=width, img_size=grid * patch, mlp_ratio=4, norm_layer=layer,
            num_heads=width // reach[0][1], patch_size=patch, qkv_bias=True, use_rel_pos=True,
            global_attn_indexes=everywhere, window_size=(windows[0] + 1) // 2 if windows else 0, out_chans=_PROMPT,
        ),
        prompt_encoder=parts.PromptEncoder(
            embed_dim=_PROMPT, image_embedding_size=(grid, grid), input_image_size=(grid * patch, grid * patch), mask_in_chans=16,
        ),
        mask_decoder=parts.MaskDecoder(
            num_multimask_outputs=3,
            transformer=parts.TwoWayTransformer(depth=2, embedding_dim=_PROMPT, mlp_dim=2048, num_heads=_HEADS),
            transformer_dim=_PROMPT, iou_head_depth=3, iou_head_hidden_dim=_PROMPT,
        ),
    )  # fmt: skip
