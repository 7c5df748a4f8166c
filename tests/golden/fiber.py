"""Building our FIBER from the configuration and weights of a golden file."""

from typing import Any

import torch
from torch import Tensor

from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints.fiber_coarse import rules
from vlfuse.checkpoints.mapping import Report, Target, rename, resolve
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Head, Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.tasks import TASKS
from vlfuse.types import Images, Tokens


def config_of(meta: dict[str, Any]) -> FiberConfig:
    given, swin, roberta = meta["config"], meta["config"]["swin"], meta["config"]["roberta"]
    return FiberConfig(
        swin=SwinConfig(
            embed_dim=swin["embed_dim"],
            depths=tuple(swin["depths"]),
            heads=tuple(swin["num_heads"]),
            window=swin["window_size"],
            patch=swin["patch_size"],
            mlp_ratio=swin["mlp_ratio"],
            drop_path=swin["drop_path_rate"],
        ),
        text=TextConfig(
            vocab_size=given["vocab_size"],
            width=roberta["hidden"],
            layers=roberta["layers"],
            heads=roberta["heads"],
            intermediate=roberta["intermediate"],
            positions=roberta["max_position_embeddings"],
            pad_id=roberta["pad_token_id"],
            norm_eps=roberta["layer_norm_eps"],
            dropout=given["drop_rate"],
        ),
        fuse_last=given["num_fuse_block"],
        width=given["hidden_size"],
    )


def model_of(meta: dict[str, Any], state: dict[str, Tensor]) -> Model:
    """The model with every official tensor in its place, and the heads for which there are tensors."""
    config = config_of(meta)
    report = Report()
    tensors = rename(state, rules(config), report)
    assert not report.unknown, f"keys without a rule: {report.unknown}"
    system = Fiber(config)
    have = {name.split(".")[1] for name in tensors if name.startswith("heads.")}
    heads: dict[str, Head] = {name: OBJECTIVES[name](system) for name in ("mlm", "itm") if name in have}
    heads["itc"] = OBJECTIVES["itc"](system)
    if "vqa" in have:
        heads["vqa"] = TASKS["vqa"](system, tuple(str(i) for i in range(meta["config"]["vqav2_label_size"])))
    if "nlvr2" in have:
        heads["nlvr2"] = TASKS["nlvr2"](system)
    model = Model(system, heads)
    tensors.setdefault("system.temperature", torch.tensor(0.07))  # absent where the reference has no contrastive loss
    for name in ("image", "text"):  # the reference builds these only with the contrastive loss
        for part in ("transform_itc.weight", "transform_itc.bias", "pooler_itc.dense.weight", "pooler_itc.dense.bias"):
            tensors.setdefault(f"system.{name}_{part}", model.state_dict()[f"system.{name}_{part}"])
    model.load_state_dict(tensors)
    return model


def tokens_of(ids: Tensor, mask: Tensor) -> Tokens:
    return Tokens(ids, mask.bool())


def images_of(pixels: Tensor) -> Images:
    return Images(pixels, torch.tensor(pixels.shape[-2:]).expand(len(pixels), 2))


def official_gradient(model: Model, key: str) -> Tensor:
    """The gradient of our parameter that the official key names (its rows of it, where ours is stacked)."""
    target = resolve(key, rules(model.system.config))  # type: ignore[arg-type]
    assert isinstance(target, Target), f"{key} has no place in our model"
    gradient = model.get_parameter(target.name).grad
    assert gradient is not None, f"{target.name} got no gradient"
    return target.of(gradient)
