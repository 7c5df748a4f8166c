"""Building our FIBER from the configuration and weights of a golden file, and comparing its insides and gradients."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.golden.vectors import Tolerance, Vectors, assert_close
from vlfuse.backbones.swin import SwinConfig
from vlfuse.backbones.text import TextConfig
from vlfuse.checkpoints.fiber_coarse import rules
from vlfuse.checkpoints.mapping import Report, Target, rename, resolve
from vlfuse.objectives import OBJECTIVES
from vlfuse.systems.base import Head, Model
from vlfuse.systems.fiber import Fiber, FiberConfig
from vlfuse.tasks import TASKS
from vlfuse.types import Batch, Images, Texts, Tokens


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
    captioner = any(key.startswith("cross_modal_att_layers.") for key in state)
    tensors = rename(state, rules(config, captioner), report)
    assert not report.unknown, f"keys without a rule: {report.unknown}"
    system = Fiber(config)
    have = {name.split(".")[1] for name in tensors if name.startswith("heads.")}
    heads: dict[str, Head] = {name: OBJECTIVES[name](system) for name in ("mlm", "itm") if name in have}
    heads["itc"] = OBJECTIVES["itc"](system)
    if "vqa" in have:
        heads["vqa"] = TASKS["vqa"](system, tuple(str(i) for i in range(meta["config"]["vqav2_label_size"])))
    if "nlvr2" in have:
        heads["nlvr2"] = TASKS["nlvr2"](system)
    if captioner:
        heads["caption"] = TASKS["caption"](system, never=[meta["config"]["mask_token_id"]])
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


def rules_of(model: Model) -> list:
    return rules(model.system.config, "caption" in model.heads)  # type: ignore[arg-type]


def official_gradient(model: Model, key: str) -> Tensor:
    """The gradient of our parameter that the official key names (its rows of it, where ours is stacked)."""
    target = resolve(key, rules_of(model))
    assert isinstance(target, Target), f"{key} has no place in our model"
    gradient = model.get_parameter(target.name).grad
    assert gradient is not None, f"{target.name} got no gradient"
    return target.of(gradient)


def texts_of(golden: Vectors, owner: Tensor | None = None, ids: str = "in/text_ids", **fields: Any) -> Texts:
    """The recorded texts, the i-th about image i unless `owner` says otherwise."""
    tokens = tokens_of(golden[ids], golden[ids.replace("text_ids", "text_masks")])
    return Texts(tokens, torch.arange(len(tokens)) if owner is None else owner, **fields)


def batch_of(pixels: Tensor, **texts: Texts) -> Batch:
    return Batch(images_of(pixels), **texts)


def pairs_of(golden: Vectors, target: Tensor) -> Batch:
    """The recorded pairs of pictures, each with its statement, of which `target` says whether it is true."""
    owner = torch.arange(2 * len(target)).view(2, -1).T  # first all first pictures, then all second ones
    pixels = torch.cat([golden["in/image_0"], golden["in/image_1"]])
    return batch_of(pixels, statements=texts_of(golden, owner, target=target))


# --- intermediate values -----------------------------------------------------------------------------------


def module_of(system: Fiber, name: str) -> nn.Module:
    """The module whose output the reference recorded as `mid/name`."""
    if match := re.fullmatch(r"text_layer(\d+)", name):
        return system.text.layers[int(match[1])]
    if match := re.fullmatch(r"image_s(\d+)_block(\d+)", name):
        return system.image.stages[int(match[1])].blocks[int(match[2])]  # type: ignore[index]
    if match := re.fullmatch(r"stage(\d+)|image_s(\d+)_downsample", name):
        stage = system.image.stages[int(match[1] or match[2])]
        return stage.merge or stage.blocks[-1]  # type: ignore[index,return-value]
    return {"text_embeddings": system.text.embeddings, "final_norm": system.image.norm}[name]


@contextmanager
def recorded(system: Fiber, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of the named intermediates (`mid/name` of the file), filled while the context's body runs the system."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda _module, _inputs, output: outputs.__setitem__(name, output)

    hooks = [module_of(system, name).register_forward_hook(keep(name)) for name in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def recorded_logits(model: Model, head: str) -> Iterator[list[Tensor]]:
    """The outputs of a head's last layer, one entry for each time the context's body runs it."""
    outputs: list[Tensor] = []
    last = model.head(head).decoder if head in ("mlm", "caption") else model.head(head).classifier
    hook = last.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()


def learn(model: Model, batch: Batch, head: str) -> tuple[dict[str, Tensor], Tensor]:
    """What a head returns for a batch, and its logits; gradients are left in the parameters."""
    with recorded_logits(model, head) as logits:
        result = model(batch, (head,))[head]
    result["loss"].backward()
    return result, logits[0]


# --- gradients -----------------------------------------------------------------------------------------------


def gradient_tolerance(golden: Vectors, key: str, expected: Tensor) -> Tolerance:
    """2e-3 of the tensor's largest value, beside the file's absolute tolerance: single entries may cancel to rounding noise."""
    stated = golden.tolerance_of(key)
    return Tolerance(stated.atol + 2e-3 * float(expected.abs().max()))


def assert_gradients(golden: Vectors, model: Model, prefix: str = "grad/") -> None:
    """Every recorded gradient, and the norm of the gradient of every parameter where the file lists them.

    The bias of an attention key shifts all scores of a query alike, so its gradient is zero but for rounding noise.
    """
    for key, expected in golden.get(prefix).items():
        tolerance = gradient_tolerance(golden, prefix + key, expected)
        assert_close(official_gradient(model, key), expected, tolerance, prefix + key)
    if "mid/grad_norms" not in golden:
        return
    for key, expected in zip(golden.meta["grad_norm_names"], golden["mid/grad_norms"], strict=True):
        noise = golden.tolerance_of("mid/grad_norms").atol
        assert_close(official_gradient(model, key).norm(), expected, Tolerance(noise, 2e-3), f"norm of grad/{key}")
    for key in golden.meta["parameters_without_gradient"]:
        target = resolve(key, rules_of(model))
        if isinstance(target, Target):
            gradient = model.get_parameter(target.name).grad
            assert gradient is None or not gradient.any(), f"{key} is not part of this loss, yet learns from it"
