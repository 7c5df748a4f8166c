"""Pictures of generated or small data held decoded in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlfuse.data.images import load_oriented, upright_sample
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import Dataset
from vlfuse.types import ConfigError, Sample


class Cached:
    """A dataset read once, its pictures kept as [H, W, 3] uint8 arrays; forked workers share that memory.

    Pictures are upright (EXIF orientation applied), boxes in their pixels. A sample that cannot be used raises its
    error again each time it is asked for. Raises ConfigError when the pictures take more than `limit` bytes.
    """

    def __init__(self, dataset: Dataset, limit: int = 4 * 2**30):
        self.samples: list[Sample | SampleError] = []
        self.bytes = 0
        for index in range(len(dataset)):
            try:
                sample = dataset[index]
                pictures = [load_oriented(image, sample.origin) for image in sample.images]
                sample = upright_sample(sample, *pictures[0])
                arrays = tuple(np.asarray(picture) for picture, _ in pictures)
            except SampleError as error:
                self.samples.append(error)
                continue
            self.bytes += sum(array.nbytes for array in arrays)
            if self.bytes > limit:
                raise ConfigError(
                    f"the pictures of {index + 1} of {len(dataset)} samples take more than {limit / 2**30:.1f} GiB; "
                    "do not cache this dataset, or raise the limit"
                )
            self.samples.append(replace(sample, images=arrays))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        if isinstance(sample, SampleError):
            raise sample
        return sample
