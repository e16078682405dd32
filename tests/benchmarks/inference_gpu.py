"""Learned resolvents on a GPU, 512 x 512, batches of 1 and 16: pixels a second, and the share of the card's own speed.

The layers are in float32, in TF32 (float32 with the products rounded to ten binary digits, torch's own switch) and in
bfloat16. The share is the arithmetic of the convolutions over the time, relative to a product of two large matrices in
the same precision on the same card; of a ridge potential it counts one gradient, of a prox no arithmetic is counted.
``error`` is ||x - exact|| / ||exact||, against float32.
"""

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from inference import FAMILIES, image, network_of
from torch import Tensor

from recon.errors import UsageError
from recon.priors.networks import Config, ConvexRidge, DnCNN, LipschitzNetwork, Network, resolvent

SIDE, BATCHES, ROUNDS, PRODUCT = 512, (1, 16), 20, 8192
PRECISIONS = ("float32", "tf32", "bfloat16")


def run(device: str = "cuda") -> dict[str, dict]:
    peaks = {precision: product_rate(precision, device) for precision in PRECISIONS}
    cases: dict[str, dict] = {"product of matrices": {name: {"tflop_s": rate / 1e12} for name, rate in peaks.items()}}
    for name, config in FAMILIES.items():
        for batch in BATCHES:
            cases[f"{name}, batch {batch}"] = case(config, batch, peaks, device)
    return cases


def case(config: Config, batch: int, peaks: dict[str, float], device: str) -> dict:
    network, x = network_of(config), image(config, SIDE).repeat(batch, 1, 1, 1).to(device)
    with switched("float32"):
        exact = resolvent(network)(x)
    found = {}
    for precision in PRECISIONS:
        try:
            seconds, made = timed(network, precision, x)
        except UsageError as refusal:
            found[precision] = {"refused": str(refusal)}
            continue
        found[precision] = {
            "pixels_s": batch * SIDE**2 / seconds,
            "share": operations(network) * batch * SIDE**2 / seconds / peaks[precision],
            "error": float((made - exact).norm() / exact.norm()),
        }
    return found


def timed(network: Network, precision: str, x: Tensor) -> tuple[float, Tensor]:
    known = resolvent(network, precision="bfloat16" if precision == "bfloat16" else "float32")
    with switched(precision):
        return seconds_of(functools.partial(known, x)), known(x)


def operations(network: Network) -> float:
    """Multiplications and additions of the convolutions, for each pixel."""
    if isinstance(network, DnCNN):
        return 2 * sum(kernel.numel() for kernel in network.kernels)
    if isinstance(network, LipschitzNetwork):
        twice = 2 if network.config.layers == "sll" else 1
        inner = sum(layer.kernel.numel() for layer in network.layers)
        return 2 * (network.lift.kernel.numel() + network.lower.kernel.numel() + twice * inner)
    assert isinstance(network, ConvexRidge)
    return 4 * network.filters.derive()[0].numel() if network.config.one_shot else 0.0


def product_rate(precision: str, device: str) -> float:
    """Multiplications and additions a second of two square matrices."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a = torch.randn(PRODUCT, PRODUCT, device=device, dtype=dtype)
    with switched(precision):
        return 2 * PRODUCT**3 / seconds_of(lambda: a @ a)


@contextmanager
def switched(precision: str) -> Iterator[None]:
    """Whether float32 is rounded to TF32 in products and convolutions."""
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    matrices.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before


@torch.inference_mode()
def seconds_of(call: Callable[[], object]) -> float:
    """The median of a call's times, after three that warm up."""
    times = []
    for _ in range(3 + ROUNDS):
        started = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


def show(cases: dict[str, dict]) -> None:
    for name, found in cases.items():
        print(name)
        for precision, figures in found.items():
            numbers = [f"{key} {value:.3g}" if key != "refused" else value for key, value in figures.items()]
            print(f"  {precision:<9} {'   '.join(numbers)}")


if __name__ == "__main__":
    if not torch.cuda.is_available():
        print("There is no CUDA device; expected one, because this benchmark times networks on it.", file=sys.stderr)
        sys.exit()
    measured = run()
    print(json.dumps(measured, indent=2)) if "--json" in sys.argv[1:] else show(measured)
