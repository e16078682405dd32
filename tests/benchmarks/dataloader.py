"""A packaged denoiser in the spawned workers of a DataLoader: two workers against one, each with one thread.

Target: two workers denoise a folder of images in half of the time of one, on two cores.
The start of the workers is not counted.
"""

import time

import torch
from timing import report
from torch.utils.data import DataLoader, Dataset

import recon

IMAGES, SIDE, ROUNDS = 12, 128, 3
CONTEXT = "spawn"


class Denoised(Dataset):
    """Noisy images, denoised by whoever asks for them."""

    def __init__(self, count: int, side: int) -> None:
        self.denoise = recon.denoiser("proved-gray", noise=0.05)
        self.images = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.denoise(self.images[index : index + 1])[0]


def run() -> dict[str, dict]:
    images = Denoised(IMAGES, SIDE)
    found, seconds = {}, {}
    for workers in (1, 2):
        found[workers], seconds[workers] = epoch(images, workers)
    apart = float((found[1] - found[2]).abs().max())
    peers = {"one worker": seconds[1]}
    ratio = {name: seconds[2] / value for name, value in peers.items()}
    return {
        f"{IMAGES} images of {SIDE} x {SIDE}, two spawned workers": {
            "ours_s": seconds[2], "peers": peers, "ratio": ratio, "targets": {"one worker": 0.5},
            "difference": {"one worker": apart},
        }
    }  # fmt: skip


def epoch(images: Denoised, workers: int) -> tuple[torch.Tensor, float]:
    """All images, and the least time of an epoch after a first one, in which the workers start."""
    loader = DataLoader(
        images, batch_size=None, num_workers=workers, multiprocessing_context=CONTEXT, persistent_workers=True,
        worker_init_fn=one_thread,
    )  # fmt: skip
    found, least = torch.stack(list(loader)), float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        list(loader)
        least = min(least, time.perf_counter() - began)
    return found, least


def one_thread(worker: int) -> None:
    torch.set_num_threads(1)


if __name__ == "__main__":
    report(run, __doc__)
