"""BridgeTower in the layout of Hugging Face transformers: folders in, with every head they have there, and out."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from vlfuse.backbones.text import TextConfig
from vlfuse.backbones.vit import ViTConfig
from vlfuse.checkpoints import roberta, vit
from vlfuse.checkpoints.bridgetower import HEAD_WIDTH, assemble, fusion, shared_heads
from vlfuse.checkpoints.folder import (
    CLIP_MEAN,
    CLIP_STD,
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    LoadedModel,
    Preprocessing,
    describe,
)
from vlfuse.checkpoints.mapping import Drop, Report, Rule, invert, listed, rename, require_known
from vlfuse.checkpoints.safe import read_tensors
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.systems.base import Model
from vlfuse.systems.bridgetower import BridgeTower, BridgeTowerConfig
from vlfuse.types import CheckpointError

MODEL_TYPE = "bridgetower"
PROCESSOR = "preprocessor_config.json"
LINKS = ("add", "scaled_add", "interpolate")
PREFIX = "bridgetower."  # before all but the heads, in files of the classes with heads
MAX_TEXT = 50

# What transformers takes for a value that config.json leaves out.
SIDE: dict[str, Any] = {"hidden_size": 768, "num_hidden_layers": 12, "layer_norm_eps": 1e-5}
TEXT: dict[str, Any] = SIDE | {
    "vocab_size": 50265, "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 514,
    "pad_token_id": 1, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
    "type_vocab_size": 1,
}  # fmt: skip
VISION: dict[str, Any] = SIDE | {
    "patch_size": 16, "image_size": 288, "num_channels": 3, "share_layernorm": True, "remove_last_layer": False,
}  # fmt: skip
JOINT: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 6, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "link_tower_type": "add",
    "share_cross_modal_transformer_layers": True, "share_link_tower_layers": False, "contrastive_hidden_size": 512,
    "logit_scale_init_value": 2.6592,  # its class cannot be built without
}  # fmt: skip
# What this package builds in one way only.
FIXED = {
    "hidden_act": "gelu", "type_vocab_size": 1, "num_channels": 3, "share_layernorm": True, "remove_last_layer": False,
    "share_cross_modal_transformer_layers": True, "share_link_tower_layers": False,
}  # fmt: skip


def rules(prefix: str) -> list[Rule | Drop]:
    """Every key of the four classes. prefix: the pattern before what is not a head."""
    vision = prefix + r"vision_model\.visual\."
    return [
        Rule(vision + r"embeddings\.class_embedding", "system.image.class_token"),
        Rule(vision + r"embeddings\.position_embedding\.weight", "system.image.position"),
        Rule(vision + r"embeddings\.patch_embedding\.weight", "system.image.patch_embed.weight"),
        Drop(vision + r"embeddings\.position_ids", "computed when needed"),
        *vit.blocks(vision, "system.image."),
        *roberta.rules(prefix + r"text_model\.", "system.text."),
        *fusion(prefix),
        *shared_heads(),
        Rule(r"itc_(text|image)_head\.fc\.(.+)", r"system.\1_projection.\2"),
        Rule(r"itc_cross_modal_head\.fc\.(.+)", r"system.pair_projection.\1"),
        Rule("logit_scale", "system.temperature"),  # by its logarithm
    ]


def prefix_of(tensors: Mapping[str, Tensor]) -> str:
    return PREFIX if any(key.startswith(PREFIX) for key in tensors) else ""


# --- in ------------------------------------------------------------------------------------------------------------


def import_huggingface(tensors: Mapping[str, Tensor], described: Mapping[str, Any]) -> tuple[Model, Report]:
    """Our model from the tensors of a Hugging Face class and its `config.json`,
    with the heads for which there are tensors.

    Raises CheckpointError on an option that this package does not build, a key without a place, or one that is missing.
    """
    report = Report()
    given = rename(tensors, rules(prefix_of(tensors).replace(".", r"\.")), report)
    require_known(report, "the checkpoint")
    contrastive = "system.pair_projection.weight" in given
    config = read_huggingface_config(described, contrastive)
    if "system.temperature" in given:
        given["system.temperature"] = torch.exp(-given["system.temperature"].float())
    heads: dict[str, dict[str, Any]] = {}
    if "heads.mlm.dense.weight" in given:
        heads["mlm"] = {"norm_eps": config.bridge_eps}
        if "heads.mlm.decoder.weight" not in given:
            given["heads.mlm.decoder.weight"] = given["system.text.embeddings.word.weight"].clone()
            report.notes.append(
                "the decoder of masked language modelling was tied to the embeddings; here it is its own"
            )
    if contrastive:
        heads["itc"] = {}
    if "heads.itm.classifier.weight" in given:
        heads["itm"] = {"negatives": "hard" if contrastive else "random"}
    return assemble(config, given, heads, report, "the checkpoint"), report


def read_huggingface_config(described: Mapping[str, Any], contrastive: bool = False) -> BridgeTowerConfig:
    """Our configuration of a `config.json`. contrastive: of the class for contrastive learning,
    which projects in its own way."""
    if described.get("model_type", MODEL_TYPE) != MODEL_TYPE:
        raise CheckpointError(f"model_type is '{described['model_type']}'; this reads '{MODEL_TYPE}'")
    text = TEXT | dict(described.get("text_config") or {})
    vision = VISION | dict(described.get("vision_config") or {})
    joint = JOINT | dict(described)
    for part in (text, vision, joint):
        for name, only in FIXED.items():
            if name in part and part[name] != only:
                raise CheckpointError(f"config.json has {name} = {part[name]!r}; only {only!r} can be read")
    if joint["link_tower_type"] not in LINKS:
        raise CheckpointError(f"link_tower_type is '{joint['link_tower_type']}'; allowed: {', '.join(LINKS)}")
    if text["hidden_dropout_prob"] != text["attention_probs_dropout_prob"]:
        raise CheckpointError(
            "hidden_dropout_prob and attention_probs_dropout_prob differ; only equal ones can be read"
        )
    return BridgeTowerConfig(
        image=ViTConfig(
            width=vision["hidden_size"],
            layers=vision["num_hidden_layers"],
            heads=max(1, vision["hidden_size"] // HEAD_WIDTH),
            patch=vision["patch_size"],
            image_size=vision["image_size"],
            norm_eps=vision["layer_norm_eps"],
        ),
        text=TextConfig(
            vocab_size=text["vocab_size"],
            width=text["hidden_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            intermediate=text["intermediate_size"],
            positions=text["max_position_embeddings"],
            pad_id=text["pad_token_id"],
            norm_eps=text["layer_norm_eps"],
            dropout=text["hidden_dropout_prob"],
        ),
        layers=joint["num_hidden_layers"],
        width=joint["hidden_size"],
        heads=text["num_attention_heads"],
        intermediate=text["intermediate_size"],
        dropout=text["hidden_dropout_prob"],
        cross_eps=text["layer_norm_eps"],
        bridge_eps=joint["layer_norm_eps"],
        bridge=joint["link_tower_type"],
        embed_dim=joint["contrastive_hidden_size"],
        contrast="transformers" if contrastive else "published",
    )


def load_huggingface(folder: str | Path) -> LoadedModel:
    """A folder that `transformers` wrote, or a snapshot of one from the hub, ready for use.
    The tokenizer is None where it has none."""
    folder = Path(folder)
    described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model, report = import_huggingface(read_tensors(folder), described)
    has_tokenizer = (folder / TOKENIZER).is_file() or (folder / "vocab.json").is_file()
    tokenizer = Tokenizer.load(folder) if has_tokenizer else None
    preprocessing = read_preprocessing(folder, model.system.config.image.image_size, model.system.max_tokens)  # type: ignore[union-attr]
    notes = {"imported": {"file": folder.name, "format": "huggingface", "notes": report.notes}}
    return LoadedModel(model, tokenizer, preprocessing, describe(model, preprocessing, notes))


def read_preprocessing(folder: Path, size: int, max_tokens: int) -> Preprocessing:
    """The size of the model's own table of positions: the processor there rounds sides to multiples of 32 and so puts
    black borders round the pictures of a model whose side is none (fact: 294 of the large models);
    the model was not trained so."""
    path = folder / PROCESSOR
    given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    mean, std = tuple(given.get("image_mean", CLIP_MEAN)), tuple(given.get("image_std", CLIP_STD))
    return Preprocessing(size, min(MAX_TEXT, max_tokens), mean, std, crop=True)


# --- out -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exported:
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    notes: list[str]


def to_huggingface(model: Model) -> Exported:
    """The model as tensors and `config.json` that `transformers` loads: with `BridgeTowerModel`, and with the class of
    each of its heads.

    Hugging Face has one eps for RoBERTa and the cross-modal layers; where ours differ (1e-12 in the latter, as
    published) its results differ from ours by some 1e-5, and `notes` say so.
    Raises CheckpointError for a model that has no place there.
    """
    system = model.system
    if not isinstance(system, BridgeTower):
        raise CheckpointError(f"{type(system).__name__} is not BridgeTower; this format holds nothing else")
    notes: list[str] = []
    require_expressible(model, system.config)
    mapping = rules(r"bridgetower\.")
    tensors: dict[str, Tensor] = {}
    homeless = []
    for name, tensor in model.state_dict().items():
        contrastive = name.endswith(("_projection.weight", "_projection.bias")) or name == "system.temperature"
        if contrastive and system.pair_projection is None:
            continue
        if name == "system.token_types.weight":
            tensor = tensor[:2]
        elif name == "system.temperature":
            tensor = -tensor.log()
        keys = invert(name, mapping)
        if not keys:
            homeless.append(name)
        tensors |= {key: target.of(tensor).contiguous() for key, target in keys.items()}
    if homeless:
        raise CheckpointError(f"Hugging Face's BridgeTower has no place for {listed(homeless)}; leave those heads out")
    width = system.config.text.width
    tensors[PREFIX + "text_model.pooler.dense.weight"] = torch.zeros(width, width)  # there, but unused
    tensors[PREFIX + "text_model.pooler.dense.bias"] = torch.zeros(width)
    if system.config.cross_eps != system.config.text.norm_eps:
        notes.append(
            f"norms of the cross-modal layers have eps {system.config.cross_eps:g} here and {system.config.text.norm_eps:g} there: "
            "results differ by some 1e-5"
        )
    if system.pair_projection is None:
        notes.append("the contrastive projections stayed behind: Hugging Face's class projects other vectors")
    return Exported(tensors, huggingface_config(model, system.config), notes)


def require_expressible(model: Model, config: BridgeTowerConfig) -> None:
    """Raise CheckpointError that lists what Hugging Face's classes cannot build."""
    text, image = config.text, config.image
    problems = {
        f"bridge '{config.bridge}' (there: {', '.join(LINKS)})": config.bridge not in LINKS,
        "a stem of convolutions": image.stem != "patch",
        f"{image.heads} heads at an image width of {image.width} (there: width / 64)": image.heads
        != max(1, image.width // HEAD_WIDTH),
        "cross-modal layers of other width, heads, feed-forward or dropout than the text layers": (
            config.width, config.heads, config.intermediate, config.dropout
        ) != (text.width, text.heads, text.intermediate, text.dropout),
        f"heads {', '.join(sorted(model.heads.keys() - {'mlm', 'itm', 'itc'}))}": bool(
            model.heads.keys() - {"mlm", "itm", "itc"}
        ),
    }  # fmt: skip
    found = [problem for problem, there in problems.items() if there]
    if found:
        raise CheckpointError(f"Hugging Face's BridgeTower has no place for {'; '.join(found)}")


def huggingface_config(model: Model, config: BridgeTowerConfig) -> dict[str, Any]:
    text, image = config.text, config.image
    classes = {"mlm": "BridgeTowerForMaskedLM", "itm": "BridgeTowerForImageAndTextRetrieval"}
    if config.contrast == "transformers":
        classes["itc"] = "BridgeTowerForContrastiveLearning"
    return JOINT | {
        "architectures": [name for head, name in classes.items() if head in model.heads] or ["BridgeTowerModel"],
        "model_type": MODEL_TYPE,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "layer_norm_eps": config.bridge_eps,
        "link_tower_type": config.bridge,
        "contrastive_hidden_size": config.embed_dim,
        "tie_word_embeddings": False,
        "text_config": TEXT | {
            "model_type": "bridgetower_text_model",
            "hidden_size": text.width,
            "num_hidden_layers": text.layers,
            "layer_norm_eps": text.norm_eps,
            "vocab_size": text.vocab_size,
            "num_attention_heads": text.heads,
            "intermediate_size": text.intermediate,
            "max_position_embeddings": text.positions,
            "pad_token_id": text.pad_id,
            "hidden_dropout_prob": text.dropout,
            "attention_probs_dropout_prob": text.dropout,
        },
        "vision_config": VISION | {
            "model_type": "bridgetower_vision_model",
            "hidden_size": image.width,
            "num_hidden_layers": image.layers,
            "layer_norm_eps": image.norm_eps,
            "patch_size": image.patch,
            "image_size": image.image_size,
        },
    }  # fmt: skip


def export_huggingface(
    model: Model, folder: str | Path, tokenizer: Tokenizer | None = None, preprocessing: Preprocessing | None = None
) -> list[str]:
    """Write a folder that `transformers` loads (`BridgeTowerModel.from_pretrained(folder)`);
    returns notes on what differs there."""
    exported = to_huggingface(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in exported.tensors.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if tokenizer is not None:
        tokenizer.save(folder)
    if preprocessing is not None:
        size = preprocessing.size
        processor = {
            "image_processor_type": "BridgeTowerImageProcessor",
            "size": {"shortest_edge": size},
            "crop_size": {"height": size, "width": size},
            "size_divisor": math.gcd(size, 32),  # their 32 would leave a black border round a side that is no multiple
            "image_mean": list(preprocessing.mean),
            "image_std": list(preprocessing.std),
        }
        (folder / PROCESSOR).write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
    (folder / CONFIG).write_text(json.dumps(exported.config, indent=2) + "\n", encoding="utf-8")
    return exported.notes
