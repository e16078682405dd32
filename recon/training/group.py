"""Several processes that train one network: each takes a share of every batch, and gradients are summed.

The random numbers are drawn for the whole batch by every process, so that the result does not depend on how many there
are, but for the order in which sums are rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, distributed


@final
@dataclass(frozen=True)
class Group:
    """The processes of a run; by default a single one, for which every method is the identity.

    Attributes:
        rank: Of this process, from 0.
        size: How many there are.
        device: Where messages between processes lie.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """The part of ``range(count)`` that is this process's, as begin and end."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        begin = 0
        for tensor in tensors:
            tensor.copy_(flat[begin : begin + tensor.numel()].view_as(tensor))
            begin += tensor.numel()

    def gather(self, value: float) -> list[float]:
        """The value of every process."""
        if self.size == 1:
            return [value]
        values = torch.zeros(self.size, dtype=torch.float64, device=self.device)
        values[self.rank] = value
        distributed.all_reduce(values)
        return [float(each) for each in values]

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return any(self.gather(float(flag)))


ALONE = Group()
