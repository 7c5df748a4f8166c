"""Public formats -> the record of this package, one module each."""

from collections.abc import Callable
from pathlib import Path

from vlfuse.data.convert.arrow import convert_arrow
from vlfuse.data.convert.coco import convert_coco
from vlfuse.data.convert.easy_vqa import convert_easy_vqa
from vlfuse.data.convert.flickr30k import convert_flickr30k
from vlfuse.data.convert.gqa import convert_gqa
from vlfuse.data.convert.karpathy import convert_karpathy
from vlfuse.data.convert.lvis import convert_lvis
from vlfuse.data.convert.mdetr import convert_mdetr
from vlfuse.data.convert.nlvr1 import convert_nlvr1
from vlfuse.data.convert.nlvr2 import convert_nlvr2
from vlfuse.data.convert.objects365 import convert_objects365
from vlfuse.data.convert.odvg import convert_odvg
from vlfuse.data.convert.open_images import convert_open_images
from vlfuse.data.convert.refcoco import convert_refcoco
from vlfuse.data.convert.report import Report
from vlfuse.data.convert.snli_ve import convert_snli_ve
from vlfuse.data.convert.visual_genome import convert_visual_genome
from vlfuse.data.convert.visual_genome_texts import convert_vg_captions, convert_vg_qa, convert_vg_qa_for_vqa
from vlfuse.data.convert.vqa_rad import convert_vqa_rad
from vlfuse.data.convert.vqa_v2 import convert_vqa_v2
from vlfuse.data.convert.web_captions import convert_conceptual, convert_sbu
from vlfuse.types import DataError

CONVERTERS: dict[str, Callable[[Path, Path], Report]] = {
    "arrow": convert_arrow,
    "coco": convert_coco,
    "conceptual-captions": convert_conceptual,
    "easy-vqa": convert_easy_vqa,
    "flickr30k": convert_flickr30k,
    "gqa": convert_gqa,
    "karpathy": convert_karpathy,
    "lvis": convert_lvis,
    "mdetr": convert_mdetr,
    "nlvr1": convert_nlvr1,
    "nlvr2": convert_nlvr2,
    "objects365": convert_objects365,
    "odvg": convert_odvg,
    "open-images": convert_open_images,
    "refcoco": convert_refcoco,
    "sbu": convert_sbu,
    "snli-ve": convert_snli_ve,
    "vg-captions": convert_vg_captions,
    "vg-qa": convert_vg_qa,
    "vg-qa-for-vqa": convert_vg_qa_for_vqa,
    "visual-genome": convert_visual_genome,
    "vqa-rad": convert_vqa_rad,
    "vqa-v2": convert_vqa_v2,
}


def convert(name: str, source: Path, out: Path) -> Report:
    """Run the converter of that name. Raises DataError also where a file is readable but not laid out
    as its format says."""
    try:
        return CONVERTERS[name](source, out)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise DataError(
            f"{source} is not laid out as {name} ({type(error).__name__}: {error}); see the format's converter in vlfuse/data/convert"
        ) from error
