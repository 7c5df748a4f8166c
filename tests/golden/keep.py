"""Copy the golden vectors that travel with the repository into tests/golden/data: `python -m tests.golden.keep FOLDER`.

The whole set is large; this choice has one recording for each kind of test and stays below 12 MB. With `VLFUSE_GOLDEN`
set to a folder that holds more, every test runs on all of it.
"""

import shutil
import sys
from pathlib import Path

from tests.golden.vectors import KEPT

NAMES = (
    "fiber_coarse_fusion_nfb4",  # both backbones with four fused layers, poolers, MLM and ITM heads
    "fiber_coarse_itc",  # contrastive loss, queue in four states, gradients
    "fiber_coarse_optimizer",  # parameter groups, schedule, three updates
    "fiber_coarse_swin_fusion_block",
    "fiber_coarse_roberta_fusion_layer",
    "fiber_coarse_bias_table_adapt",
    "fiber_coarse_transforms",
    "fiber_coarse_text_utils",
    "fiber_coarse_task_configs",
    "keys_fiber_coarse_pretrain",
    "keys_fiber_coarse_vqa",
    "keys_fiber_coarse_nlvr2",
    "keys_fiber_coarse_caption",
    "keys_fiber_coarse_irtr",
    "metrics_caption",
    "fiber_fine_deform_conv",
    "fiber_fine_dyconv",
    "fiber_fine_box_losses",
    "fiber_fine_token_loss",
    "fiber_fine_losses",  # from a head's outputs to every loss, with gradients
    "fiber_fine_postprocess_detection",
    "fiber_fine_lr_schedule",
    "keys_fiber_fine_pretrain",
    "bridgetower_components",  # bridge, cross-modal layer, heads, both epsilons, gradients
    "bridgetower_hf_link_variants",
    "bridgetower_posembed",
    "bridgetower_transforms",
    "bridgetower_schedule",
    "bridgetower_vqa_answers",
    "bridgetower_param_groups_base",
    "metrics_vqa",
    "metrics_vqa_tables",
    "metrics_retrieval",
    "metrics_nlvr2",
    "fiber_fine_captions",
    "fiber_fine_tokenizer",
    "fiber_fine_transforms",
    "metrics_coco_eval",
    "metrics_lvis_fixed_ap",
    "metrics_flickr30k",
    "metrics_refexp",
)
LIMIT = 12 * 2**20


def main(source: Path) -> None:
    KEPT.mkdir(exist_ok=True)
    for old in KEPT.iterdir():
        old.unlink()
    for name in NAMES:
        for path in source.glob(f"{name}.*"):
            shutil.copyfile(path, KEPT / path.name)
    size = sum(path.stat().st_size for path in KEPT.iterdir())
    print(f"{len(list(KEPT.iterdir()))} files, {size / 2**20:.1f} MB in {KEPT}")
    if size > LIMIT:
        sys.exit(f"that is above {LIMIT / 2**20:.0f} MB: shorten NAMES")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
