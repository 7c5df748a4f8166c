"""What a run reports: `log.jsonl` always, a line on the console, TensorBoard when asked."""

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from vlfuse.types import ConfigError

LOG = "log.jsonl"
HEADLINES = ("/accuracy", "/majority", "/consistency", "_r1")  # scores for the console; the log has all


class Log:
    """One JSON line per logged step ({"step", "loss", "<head>/<metric>", "lr", ...}) or evaluation ({"step",
    "scores"}).

    A process that does not write passes `active=False`. `step`: lines beyond it, of a run that went further before it
    was resumed, are removed, so that the curve has every step once.
    """

    def __init__(self, out: Path, steps: int, step: int = 0, tensorboard: bool = False, active: bool = True):
        self.steps, self.active = steps, active
        self._since, self._since_step, self._images = time.perf_counter(), step, 0
        self._board: Any = None
        if not active:
            return
        out.mkdir(parents=True, exist_ok=True)
        truncate(out / LOG, step)
        self._file = open(out / LOG, "a", encoding="utf-8")  # noqa: SIM115  (lives as long as the run)
        if tensorboard:
            self._board = _board(out, step)

    def train(self, step: int, values: dict[str, float], images: int, show: bool = True) -> None:
        """Count a step's pictures and, where `show`, log it. The speed is that since the last step shown."""
        self._images += images
        if not show:
            return
        now = time.perf_counter()
        seconds, done = max(now - self._since, 1e-9), step - self._since_step
        rate, eta = self._images / seconds, (self.steps - step) * seconds / max(done, 1)
        self._since, self._since_step, self._images = now, step, 0
        if not self.active:
            return
        self._write({"step": step, **values, "images_per_second": round(rate, 1)})
        parts = ", ".join(f"{k.removesuffix('/loss')} {v:.3f}" for k, v in values.items() if k.endswith("/loss"))
        line = (
            f"step {step:>{len(str(self.steps))}}/{self.steps}  loss {values['loss']:.4f} ({parts})  "
            f"lr {values['lr']:.2e}  {rate:.0f} images/s  {clock(eta)} left"
        )
        # On a terminal the line is renewed in place; in a file every line stays.
        print(f"\r\033[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Log an evaluation. The time it took does not count as training."""
        self._since, self._since_step, self._images = time.perf_counter(), step, 0
        if self.active and scores:
            self._write({"step": step, "scores": scores})
            shown = {name: value for name, value in scores.items() if name.endswith(HEADLINES)} or scores
            self.say(f"step {step}: " + "  ".join(f"{name} {value:.4g}" for name, value in shown.items()))

    def say(self, text: str) -> None:
        if self.active:
            print(f"\r\033[K{text}" if sys.stdout.isatty() else text, flush=True)

    def close(self) -> None:
        if self.active:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(finite(record)) + "\n")
        self._file.flush()  # a killed process loses nothing that was logged
        if self._board is not None:
            for name, value in {**record, **record.get("scores", {})}.items():
                if isinstance(value, (int, float)) and name != "step":
                    self._board.add_scalar(name, value, record["step"])


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a log; a last line cut short by a crash is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def finite(record: Any) -> Any:
    """The same with null for infinities and NaN, which JSON has no words for (a gradient that fp16 could not hold)."""
    if isinstance(record, dict):
        return {name: finite(value) for name, value in record.items()}
    return None if isinstance(record, float) and not math.isfinite(record) else record


def truncate(path: Path, step: int) -> None:
    """Keep the records up to `step`."""
    kept = [record for record in read(path) if record["step"] <= step]
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    os.replace(part, path)


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _board(out: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("tensorboard is not installed; `pip install vlfuse[tensorboard]`, or leave it off") from error
    return SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)
