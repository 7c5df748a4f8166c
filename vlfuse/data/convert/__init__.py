"""Public formats -> the record of this package, one module each."""

from collections.abc import Callable
from pathlib import Path

from vlfuse.data.convert.arrow import convert_arrow
from vlfuse.data.convert.coco import convert_coco
from vlfuse.data.convert.easy_vqa import convert_easy_vqa
from vlfuse.data.convert.gqa import convert_gqa
from vlfuse.data.convert.karpathy import convert_karpathy
from vlfuse.data.convert.nlvr1 import convert_nlvr1
from vlfuse.data.convert.nlvr2 import convert_nlvr2
from vlfuse.data.convert.report import Report
from vlfuse.data.convert.snli_ve import convert_snli_ve
from vlfuse.data.convert.visual_genome import convert_vg_captions, convert_vg_qa
from vlfuse.data.convert.vqa_rad import convert_vqa_rad
from vlfuse.data.convert.vqa_v2 import convert_vqa_v2
from vlfuse.data.convert.web_captions import convert_conceptual, convert_sbu

CONVERTERS: dict[str, Callable[[Path, Path], Report]] = {
    "arrow": convert_arrow,
    "coco": convert_coco,
    "conceptual-captions": convert_conceptual,
    "easy-vqa": convert_easy_vqa,
    "gqa": convert_gqa,
    "karpathy": convert_karpathy,
    "nlvr1": convert_nlvr1,
    "nlvr2": convert_nlvr2,
    "sbu": convert_sbu,
    "snli-ve": convert_snli_ve,
    "vg-captions": convert_vg_captions,
    "vg-qa": convert_vg_qa,
    "vqa-rad": convert_vqa_rad,
    "vqa-v2": convert_vqa_v2,
}
