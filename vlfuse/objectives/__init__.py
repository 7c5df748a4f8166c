"""Pre-training losses, each written once against the three steps of any system."""

from vlfuse.objectives.grounding import Grounding
from vlfuse.objectives.itc import ImageTextContrastive
from vlfuse.objectives.itm import ImageTextMatching
from vlfuse.objectives.mlm import MaskedLanguageModeling
from vlfuse.objectives.pointing import Pointing
from vlfuse.objectives.tagging import RegionTagging

OBJECTIVES = {
    "mlm": MaskedLanguageModeling,
    "itc": ImageTextContrastive,
    "itm": ImageTextMatching,
    "tagging": RegionTagging,
    "pointing": Pointing,
    "grounding": Grounding,
}
