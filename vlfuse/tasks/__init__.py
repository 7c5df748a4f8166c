"""Downstream tasks: head, loss and decoding, each written once for every system."""

from vlfuse.tasks.captioning import Captioning
from vlfuse.tasks.statements import Entailment, Nlvr, Nlvr2
from vlfuse.tasks.vqa import Vqa

TASKS = {"vqa": Vqa, "nlvr2": Nlvr2, "nlvr": Nlvr, "entailment": Entailment, "caption": Captioning}
