"""What a forward pass changes beside its output: the statistics of batch norm."""

import torch
from torch import Tensor, nn


class BufferCopy:
    """A copy of all buffers of `network`, to be put back."""

    def __init__(self, network: nn.Module) -> None:
        # By type, so that a copy of all of them is a few kernels.
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in network.buffers():
            if buffer.numel():
                by_type.setdefault(buffer.dtype, []).append(buffer)
        self._buffers = list(by_type.values())
        self._kept = [[torch.empty_like(b) for b in alike] for alike in self._buffers]

    def take(self) -> None:
        """Keeps what the buffers hold now."""
        for kept, buffers in zip(self._kept, self._buffers, strict=True):
            torch._foreach_copy_(kept, buffers)

    def put_back(self) -> None:
        """Makes the buffers what they were when it was taken."""
        for kept, buffers in zip(self._kept, self._buffers, strict=True):
            torch._foreach_copy_(buffers, kept)
