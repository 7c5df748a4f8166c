"""Public formats -> the record of this package, one module each."""

from collections.abc import Callable
from pathlib import Path

from vlfuse.data.convert.coco import convert_coco
from vlfuse.data.convert.easy_vqa import convert_easy_vqa
from vlfuse.data.convert.nlvr1 import convert_nlvr1
from vlfuse.data.convert.nlvr2 import convert_nlvr2
from vlfuse.data.convert.report import Report
from vlfuse.data.convert.vqa_rad import convert_vqa_rad
from vlfuse.data.convert.vqa_v2 import convert_vqa_v2

CONVERTERS: dict[str, Callable[[Path, Path], Report]] = {
    "coco": convert_coco,
    "easy-vqa": convert_easy_vqa,
    "nlvr1": convert_nlvr1,
    "nlvr2": convert_nlvr2,
    "vqa-rad": convert_vqa_rad,
    "vqa-v2": convert_vqa_v2,
}
