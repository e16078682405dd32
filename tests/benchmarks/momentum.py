"""A training step of a residual network of 40 branches in momentum form, b = 0.9: batch 2 of 64 x 64, one thread.

Each branch has two convolutions of 16 features. The peers are the same network whose autograd keeps everything, of
which a step may take at most 1.6 times the time, and torch.utils.checkpoint with segments of sqrt(40) branches. Beside
each are the bytes that are kept for the backward pass, measured with saved-tensor hooks, without the weights, and in
double precision the relative distance of the gradients from those of the plain network, at most 1e-10.
"""

import copy
import sys
from collections.abc import Callable

import torch
from timing import compare, report
from torch import Tensor, nn

from recon.training import MomentumForm, momentum_form

LAYERS, FEATURES, SIDE, BATCH, ROUNDS = 40, 16, 64, 2, 5
SLOWER = 1.6
CLOSE = 1e-10


def run() -> dict[str, dict]:
    torch.set_num_threads(1)
    forms = {memory: made(LAYERS, memory) for memory in ("momentum", "checkpoint", "plain")}
    x = torch.randn(BATCH, FEATURES, SIDE, SIDE)
    names = {"ours": "momentum", "plain": "plain", "checkpoint": "checkpoint"}
    steps = {name: step(forms[memory], x) for name, memory in names.items()}
    case = compare(steps, ROUNDS, warm_up=1, targets={"plain": SLOWER})
    bytes_kept = {memory: kept(form, x) for memory, form in forms.items()}
    half = kept(made(LAYERS // 2, "momentum"), x)
    apart = distance(x.double())
    for memory, count in bytes_kept.items():
        print(f"kept for the backward pass, {memory}: {count / 2**20:.1f} MiB", file=sys.stderr)
    print(f"kept of {LAYERS // 2} branches, momentum: {half / 2**20:.1f} MiB", file=sys.stderr)
    print(f"gradients in double precision: {apart:.2g} from those of the plain network", file=sys.stderr)
    if half != bytes_kept["momentum"]:
        raise SystemExit("the bytes that are kept grow with the branches")
    if not apart <= CLOSE:
        raise SystemExit(f"the gradients differ by {apart:.2g}; expected at most {CLOSE:g}")
    return {f"a step of {LAYERS} branches": {**case, "kept_bytes": bytes_kept, "gradients": apart}}


def made(layers: int, memory: str) -> MomentumForm:
    torch.manual_seed(0)
    branches = [Branch() for _ in range(layers)]
    return momentum_form(branches, 0.9, memory=memory)


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(FEATURES, FEATURES, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return 0.1 * self.last(torch.relu(self.first(x)))


def step(form: MomentumForm, x: Tensor) -> Callable[[], None]:
    def once() -> None:
        form.zero_grad(set_to_none=True)
        form(x).square().mean().backward()

    return once


def kept(form: MomentumForm, x: Tensor) -> int:
    weights = {weight.untyped_storage().data_ptr() for weight in form.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = form(x)
    assert found.requires_grad
    return sum(seen.values())


def distance(x: Tensor) -> float:
    ours = made(LAYERS, "momentum").double()
    plain = copy.deepcopy(ours)
    plain.memory = "plain"
    for form in (ours, plain):
        step(form, x)()
    pairs = zip(ours.parameters(), plain.parameters(), strict=True)
    return max(float((a.grad - b.grad).norm() / b.grad.norm()) for a, b in pairs)


if __name__ == "__main__":
    torch.manual_seed(0)
    report(run, __doc__)
