"""The encoders by name, and the one function that loads them."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxflow.encoders.cait import CaiTBlock
from jaxflow.encoders.deit import DeiTBlock
from jaxflow.encoders.dinov2 import DINOv2Block
from jaxflow.encoders.dinov3 import DINOv3Block
from jaxflow.encoders.efficientnet import efficientnet
from jaxflow.encoders.encoder import Encoder
from jaxflow.encoders.layout import build_params, torch_shapes
from jaxflow.encoders.mobilenetv3 import MobileNetV3
from jaxflow.encoders.module import FeatureModule
from jaxflow.encoders.random_weights import random_variables
from jaxflow.encoders.resnet import BasicBlock, Bottleneck, ResNet
from jaxflow.encoders.transformer import VisionTransformer
from jaxflow.encoders.weights import find_weights, read_tensors
from jaxflow.errors import InputError, suggest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """One of timm's encoders: how it is built and where its weights are; calling it loads it.

    Attributes:
      name: timm's.
      build: the module, except `stages` and `dtype`.
      stages: all that exist.
      default_stages: those read unless others are asked for.
      tags: timm's training recipes that fit (mean and std with them), the default first.
      input_size: default side of the input, pixels.
      size_multiple: what both sides of the input must be divisible by.
      head_keys: keys, or prefixes ending in a dot, of parts that are never built.
      mean: per color, in units of the intensity range [0, 1].
      std: per color, in the same units.
    """

    name: str
    build: Callable[..., FeatureModule]
    stages: tuple[int, ...]
    default_stages: tuple[int, ...]
    tags: tuple[str, ...]
    input_size: int
    size_multiple: int = 1
    head_keys: tuple[str, ...] = ()
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(
        self,
        *,
        stages: tuple[int, ...] | None = None,
        weights: str = "hub",
        tag: str | None = None,
        revision: str | None = None,
        seed: int = 0,
        dtype: Any = jnp.float32,
    ) -> Encoder:
        """Load it: only what the asked maps need is built and read.

        Args:
          stages: which maps, in increasing order (see `FeatureModule`); None: the default.
          weights: "hub" (timm's repository on the Hugging Face hub, cached), the path of a
            .safetensors file in timm's key names, or "random".
          tag: timm's training recipe; None: with "hub" the first of `tags`, else unknown.
          revision: branch, tag or commit of the hub's repository, read only with "hub"; None: main.
          seed: of "random" weights.
          dtype: of the computation; weights are kept, and maps returned, in float32.

        Raises:
          WeightsUnavailable: "hub", neither cached nor reachable.
          InputError: no such stage or tag; weights that are not this encoder's.
        """
        stages = self.default_stages if stages is None else tuple(stages)
        _check_stages(self, stages)
        _check_tag(self, tag)
        module = self.build(stages=stages, dtype=dtype)
        sha256 = commit = None
        if weights == "random":
            tag = None  # Of no recipe.
            variables = random_variables(module, seed, min(128, self.input_size))
        else:
            tag = self.tags[0] if weights == "hub" and tag is None else tag
            file = find_weights(weights, f"timm/{self.name}.{tag or self.tags[0]}", revision)
            expected = torch_shapes(module.layout(), parameter_shapes(module, self.input_size))
            layout = self.build(stages=self.stages).layout()
            known = [key for source in layout.values() for key in source.keys()]
            tensors = read_tensors(file.path, expected, {*known, *self.head_keys})
            variables, sha256 = {"params": build_params(module.layout(), tensors)}, file.sha256
            commit = file.commit
        return Encoder(
            name=self.name,
            tag=tag,
            weights=weights,
            sha256=sha256,
            stages=stages,
            module=module,
            variables=variables,
            mean=self.mean,
            std=self.std,
            input_size=self.input_size,
            size_multiple=self.size_multiple,
            commit=commit,
        )


_RESNET = functools.partial(
    EncoderSpec, stages=(1, 2, 3, 4), default_stages=(1, 2, 3), input_size=256, head_keys=("fc.",)
)


def _deit(name: str, *, input_size: int, dim: int, heads: int) -> EncoderSpec:
    return EncoderSpec(
        name,
        build=functools.partial(
            VisionTransformer,
            block=DeiTBlock,
            grid=input_size // 16,
            prefix_tokens=(("cls_token", 1), ("dist_token", 1)),
            dim=dim,
            heads=heads,
        ),
        stages=tuple(range(12)),
        default_stages=(7,),
        tags=("fb_in1k",),
        input_size=input_size,
        size_multiple=16,
        head_keys=("head.", "head_dist."),
    )


def _cait(
    name: str, *, input_size: int, dim: int, heads: int, depth: int, block: int
) -> EncoderSpec:
    return EncoderSpec(
        name,
        build=functools.partial(
            VisionTransformer,
            block=CaiTBlock,
            grid=input_size // 16,
            dim=dim,
            heads=heads,
        ),
        stages=tuple(range(depth)),
        default_stages=(block,),
        tags=("fb_dist_in1k",),
        input_size=input_size,
        size_multiple=16,
        # The class token meets the patches only in blocks of its own, after all of these.
        head_keys=("cls_token", "blocks_token_only.", "head."),
    )


# Width, heads and depth by the size in timm's names.
_DINO_SIZES = {"small": (384, 6, 12), "base": (768, 12, 12), "large": (1024, 16, 24)}


def _dinov2(size: str, *, registers: int = 0) -> EncoderSpec:
    dim, heads, depth = _DINO_SIZES[size]
    infix = f"_reg{registers}" if registers else ""
    return EncoderSpec(
        f"vit_{size}_patch14{infix}_dinov2",
        build=functools.partial(
            VisionTransformer,
            block=DINOv2Block,
            patch=14,
            grid=518 // 14,
            prefix_tokens=(("cls_token", 1), *([("reg_token", registers)] if registers else [])),
            prefix_positions=not registers,
            dim=dim,
            heads=heads,
        ),
        stages=tuple(range(depth)),
        # The last, whose final norm it is; AnomalyDINO (arXiv 2405.14529) reads it too.
        default_stages=(depth - 1,),
        tags=("lvd142m",),
        input_size=518,
        size_multiple=14,
        head_keys=("mask_token",),
    )


def _dinov3(size: str) -> EncoderSpec:
    dim, heads, depth = _DINO_SIZES[size]
    return EncoderSpec(
        f"vit_{size}_patch16_dinov3",
        build=functools.partial(
            VisionTransformer,
            block=DINOv3Block,
            grid=None,
            prefix_tokens=(("cls_token", 1), ("reg_token", 4)),
            dim=dim,
            heads=heads,
        ),
        stages=tuple(range(depth)),
        default_stages=(depth - 1,),
        tags=("lvd1689m",),
        input_size=256,
        size_multiple=16,
        head_keys=("mask_token",),
    )


# Factors of width and depth.
_EFFICIENTNETS = {"b4": (1.4, 1.8), "b5": (1.6, 2.2)}


def _efficientnet(
    size: str, tags: tuple[str, ...], input_size: int, *, tensorflow: bool = False
) -> EncoderSpec:
    width, depth = _EFFICIENTNETS[size]
    return EncoderSpec(
        f"{'tf_' if tensorflow else ''}efficientnet_{size}",
        build=functools.partial(efficientnet, width=width, depth=depth, tensorflow=tensorflow),
        stages=(1, 2, 3, 4, 5, 6, 7),
        default_stages=(2, 3, 5),
        tags=tags,
        input_size=input_size,
        head_keys=("conv_head.", "bn2.", "classifier."),
    )


_TIMM = (
    _RESNET(
        "resnet18",
        build=functools.partial(ResNet, block=BasicBlock, stage_sizes=(2, 2, 2, 2)),
        tags=("tv_in1k", "a1_in1k"),
    ),
    _RESNET(
        "wide_resnet50_2",
        build=functools.partial(ResNet, block=Bottleneck, stage_sizes=(3, 4, 6, 3), width_factor=2),
        tags=("tv_in1k", "racm_in1k", "tv2_in1k"),
    ),
    _deit("deit_base_distilled_patch16_384", input_size=384, dim=768, heads=12),
    _deit("deit_tiny_distilled_patch16_224", input_size=224, dim=192, heads=3),
    _cait("cait_m48_448", input_size=448, depth=48, block=40, dim=768, heads=16),
    _cait("cait_xxs24_224", input_size=224, depth=24, block=20, dim=192, heads=4),
    *(_dinov2(size) for size in _DINO_SIZES),
    *(_dinov2(size, registers=4) for size in _DINO_SIZES),
    *(_dinov3(size) for size in _DINO_SIZES),
    EncoderSpec(
        "mobilenetv3_large_100",
        build=MobileNetV3,
        stages=(1, 2, 3, 4, 5, 6, 7),
        default_stages=(3, 5, 6),
        tags=("ra_in1k",),
        input_size=256,
        head_keys=("conv_head.", "classifier."),
    ),
    _efficientnet("b4", ("ra2_in1k",), 320),
    _efficientnet("b5", ("sw_in12k_ft_in1k", "sw_in12k"), 448),
    # Not ap_in1k, trained with another mean and std.
    _efficientnet("b4", ("ns_jft_in1k", "aa_in1k", "in1k"), 380, tensorflow=True),
    _efficientnet("b5", ("ns_jft_in1k", "ra_in1k", "aa_in1k", "in1k"), 456, tensorflow=True),
)
# Name -> what makes the encoder; what can be chosen are its parameters.
ENCODERS: dict[str, Callable[..., Encoder]] = {spec.name: spec for spec in _TIMM}


# Options that every encoder takes.
_OF_ALL = ("neighbourhood", "input_scales", "pooled")


def options_of(name: str) -> set[str]:
    """Give the names of what `load_encoder` takes for an encoder: its own, and those of all."""
    return {*inspect.signature(ENCODERS[name]).parameters, *_OF_ALL}


def load_encoder(
    name: str,
    *,
    neighbourhood: int = 1,
    input_scales: Sequence[int] = (1,),
    pooled: bool = False,
    **options: Any,
) -> Encoder:
    """Load a frozen encoder.

    Args:
      name: a key of `ENCODERS`.
      neighbourhood: see `Encoder`; every encoder takes these three (PatchCore: 3).
      input_scales: see `Encoder` (CS-Flow and DifferNet: 1, 2, 4).
      pooled: see `Encoder` (DifferNet: True).
      **options: what it takes: timm's encoders `stages`, `weights`, `tag`, `revision`, `seed` and
        `dtype` (see `EncoderSpec.__call__`), one from outside its own.

    Returns:
      The encoder, its variables in host memory.

    Raises:
      WeightsUnavailable: the hub's weights are neither cached nor reachable.
      InputError: no such encoder, option, stage or tag; as `Encoder`; weights that are not this
        encoder's.

    Example:
      >>> encoder = load_encoder("resnet18", weights="random")
      >>> encoder.channels, encoder.map_sizes((256, 256))
      ((64, 128, 256), ((64, 64), (32, 32), (16, 16)))
    """
    if name not in ENCODERS:
        raise InputError(f"encoder {name!r}: does not exist, expected one of {', '.join(ENCODERS)}")
    for option in _OF_ALL:
        if option in inspect.signature(ENCODERS[name]).parameters:
            raise InputError(f"encoder {name}: every encoder takes {option}; rename its own")
    known = options_of(name)
    for option in options:
        if option not in known:
            raise InputError(f"encoder {name}: no option {option!r}; {suggest(option, known)}")
    encoder = ENCODERS[name](**options)
    if not isinstance(encoder, Encoder):
        raise InputError(f"encoder {name}: its entry must return an Encoder, got {encoder!r}")
    scales = tuple(input_scales) if isinstance(input_scales, Sequence) else input_scales
    return dataclasses.replace(
        encoder, neighbourhood=neighbourhood, input_scales=scales, pooled=pooled
    )


def parameter_shapes(module: FeatureModule, input_size: int) -> Any:
    """Give the shapes of a module's parameters without allocating them."""
    image = jax.ShapeDtypeStruct((1, input_size, input_size, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)["params"]


def _check_stages(spec: EncoderSpec, stages: tuple[int, ...]) -> None:
    if not stages or any(s not in spec.stages for s in stages):
        raise InputError(
            f"encoder {spec.name}: stages {list(stages)} do not all exist, "
            f"expected some of {spec.stages[0]} to {spec.stages[-1]}"
        )
    if any(a >= b for a, b in zip(stages, stages[1:], strict=False)):
        raise InputError(f"encoder {spec.name}: stages {list(stages)} must be in increasing order")


def _check_tag(spec: EncoderSpec, tag: str | None) -> None:
    if tag is not None and tag not in spec.tags:
        raise InputError(
            f"encoder {spec.name}: no tag {tag!r}, expected one of {', '.join(spec.tags)}"
        )
