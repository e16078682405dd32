"""A critic of this package against one of the same shape from the layers of deel-torchlip, trained alike.

    python tests/benchmarks/critic.py [--json] [--data DIR] [--held-out DIR]

Both lift squares of 2 x 2 pixels to channels, apply one 1-Lipschitz convolution, take norms over windows, and a
maximum of minima of affine functions. Ours has filters without a mean and proved bounds; the peer's layers are
normalised by power iteration and Bjorck's iteration. They see the same pairs, with the same loss. Printed: that loss,
the hinge Kantorovich-Rubinstein one, and the AUROC on held-out patches; CPU milliseconds of a step; what is proved of
the score; the largest norm of its gradient on 10,000 points (patches, patches with artefacts, noise) and on those that
an ascent found.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recon.priors.networks import Critic, CriticConfig, make_critic
from recon.training import Recipe
from recon.training.critic import auroc, hkr, planted_as
from recon.training.data import Patches, read_patches
from recon.training.tables import ArtefactConfig, DataConfig, TrainingConfig

PEER = "deel-torchlip"
BUNDLED = Path(__file__).resolve().parents[2] / "data" / "photographs"
NETWORK = CriticConfig(features=36, depth=1, bands=0, heads=8, pieces=4, window=16, stride=16)
ARTEFACTS = ArtefactConfig(("stripes", "noise", "ripples"), (0.03, 0.1), margin=0.05)
SIDE = 72
"""Of patches: whole windows fit, because the peer's pooling leaves out what is cut."""

BATCH, STEPS, HELD_OUT, POINTS, ASCENT, RATE = 8, 300, 240, 10_000, 20, 0.01


class PeerCritic(nn.Module):
    """The same from deel-torchlip's layers, with what the loss asks of a critic."""

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        from deel import torchlip  # noqa: PLC0415  where it is installed

        channels, features, window = config.channels * config.fold**2, config.features, config.window // config.fold
        self.features = torchlip.Sequential(
            torchlip.SpectralConv2d(channels, features, config.ends),
            torchlip.SpectralConv2d(features, features, config.size),
            torchlip.GroupSort2(),
            torchlip.ScaledL2NormPool2d(window, window),
        )
        self.out = torchlip.FrobeniusLinear(features, config.heads * config.pieces, disjoint_neurons=True)
        self.config, self._ours = config, make_critic(config)

    def scores(self, x: Tensor) -> Tensor:
        """The score of each window."""
        norms = self.features(nn.functional.pixel_unshuffle(x, self.config.fold))
        values = self.out(norms.permute(0, 2, 3, 1))
        return values.unflatten(-1, (self.config.heads, -1)).amin(-1).amax(-1)

    def forward(self, x: Tensor) -> Tensor:
        """The largest of them."""
        return self.scores(x).amax((1, 2))

    def changes(self, difference: Tensor) -> Tensor:
        """The norm of a difference under each window; no weight is in it."""
        return self._ours.changes(difference)

    @contextlib.contextmanager
    def derived_once(self) -> Iterator[None]:
        """Nothing is kept between two passes."""
        yield


def run(data: Path, held_out: Path) -> dict[str, Any]:
    """Return the figures of both critics; of ours alone where the peer is not installed."""
    kinds: dict[str, Any] = {"ours": make_critic, PEER: PeerCritic}
    try:
        import deel.torchlip  # noqa: PLC0415, F401  where it is installed
    except ImportError:
        print(f"without the peer: {PEER} is not installed (pip install {PEER})", file=sys.stderr)
        del kinds[PEER]
    recipe = Recipe(NETWORK, DataConfig(patch=SIDE), TrainingConfig(noise=ARTEFACTS.strength), artefacts=ARTEFACTS)
    learnt, shown = (_patches(folder, recipe) for folder in (data, held_out))
    found = {}
    for name, kind in kinds.items():
        torch.manual_seed(0)
        network = kind(NETWORK)
        seconds = trained(network, learnt, recipe)
        found[name] = {"ms_per_step": 1e3 * seconds / STEPS, **judged(network.eval(), shown, recipe)}
    return found


def trained(network: Any, patches: Patches, recipe: Recipe) -> float:
    """The seconds of a training on pairs that are the same for every network, but for their making."""
    optimiser, total = torch.optim.Adam(network.train().parameters(), lr=RATE), 0.0
    for step in range(STEPS):
        clean, planted = pairs(patches, recipe, BATCH, step)
        began = time.process_time()
        optimiser.zero_grad()
        hkr(network, clean, planted, ARTEFACTS.margin, ARTEFACTS.weight).mean().backward()
        optimiser.step()
        total += time.process_time() - began
    return total


def pairs(patches: Patches, recipe: Recipe, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Patches, and the same with an artefact each, the kinds in turn."""
    generator = torch.Generator().manual_seed(seed)
    clean, other = patches.draw(2 * count, generator)[0].chunk(2)
    kinds = recipe.artefacts.kinds
    planted = [
        planted_as(kinds[index % len(kinds)], pair, recipe, generator)
        for index, pair in enumerate(zip(clean, other, strict=True))
    ]
    return clean, torch.stack(planted)


def judged(network: Any, patches: Patches, recipe: Recipe) -> dict[str, Any]:
    """The figures of a trained critic on patches that it never saw."""
    clean, planted = pairs(patches, recipe, HELD_OUT, 10**6)
    with torch.no_grad():
        loss = float(hkr(network, clean, planted, ARTEFACTS.margin, ARTEFACTS.weight).mean())
        without, scores = network(clean).tolist(), network(planted).tolist()
    count = len(recipe.artefacts.kinds)
    return {
        "hinge_kr_loss": loss,
        "auroc": {kind: auroc(without, scores[at::count]) for at, kind in enumerate(recipe.artefacts.kinds)},
        "proved_norm": network.lipschitz().value if isinstance(network, Critic) else None,
        "largest_gradient": largest_gradient(network, torch.cat([clean, planted])),
    }


def largest_gradient(network: Any, images: Tensor) -> float:
    """The largest norm of the gradient of the score at points of many kinds: a lower bound of what it can be."""
    generator, largest, batch = torch.Generator().manual_seed(5), 0.0, min(100, POINTS)
    steepest = images[:batch]
    for begin in range(0, POINTS, batch):
        noise = torch.randn(batch, *images.shape[1:], generator=generator)
        x = images[torch.randint(len(images), (batch,), generator=generator)]
        x = (x, x + 0.1 * noise, 10 ** float(torch.empty(()).uniform_(-4, 1, generator=generator)) * noise)[begin % 3]
        slopes = _gradient(network, x).flatten(1).norm(dim=1)
        if float(slopes.max()) > largest:
            largest, steepest = float(slopes.max()), x
    for _ in range(ASCENT):
        x = steepest.detach().requires_grad_()
        (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
        (uphill,) = torch.autograd.grad(slope.square().sum(), x)
        steepest = x + 0.05 * uphill / uphill.flatten(1).norm(dim=1)[:, None, None, None].clamp(min=1e-12)
        largest = max(largest, float(slope.detach().flatten(1).norm(dim=1).max()))
    return largest


def _gradient(network: Any, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(network(x).sum(), x)[0]


def _patches(folder: Path, recipe: Recipe) -> Patches:
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg", ".tif"))
    return read_patches(files, recipe.data, recipe.network.channels, 0, lambda line: None)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--data", type=Path, default=BUNDLED)
    parser.add_argument("--held-out", type=Path, default=BUNDLED)
    given = parser.parse_args()
    found = run(given.data, given.held_out)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, each in found.items():
        kinds = ", ".join(f"{kind} {value:.3f}" for kind, value in each["auroc"].items())
        proved = "nothing proved" if each["proved_norm"] is None else f"proved at most {each['proved_norm']:.6f}"
        print(f"{name}: {each['ms_per_step']:.1f} ms a step, loss {each['hinge_kr_loss']:.3f}, AUROC {kinds}")
        print(
            f"  gradient of the score: {proved}; largest of {POINTS} points and an ascent "
            f"{each['largest_gradient']:.6f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
