"""Gaps that T steps of ISTA, FISTA, oracle ISTA and learned steps leave on held-out problems, and LISTA beside them.

    python tests/benchmarks/learned_steps.py [--json] [--data DIR] [--held-out DIR]

Step sizes are learned on patches of --data, a mild blur with wavelets, and judged on patches of --held-out: the
energy above its least value (that of a long run of FISTA) over itself, in the mean, for each weight of the penalty; the
largest of the ratios to ISTA; and the duality gap, which needs no long run. Beside it, with no law behind it: where the
learned steps lie to 2/L_S, and how near the last layers of a convolutional LISTA, learned on the same problems, are to
the form of ISTA. Where celer is installed (pip install celer), the least energies of small problems with a dense matrix
are compared: its Lasso against l1, and its elastic net against the coefficients of a small dictionary, with seconds.
Then the objective of the packaged dictionary on held-out patches after ten steps in a learned diagonal metric, and
after ten and twenty-five of ISTA.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from recon import priors, solvers
from recon.catalogue import folders
from recon.operators import Blur, LeastSquares, compose, gaussian_psf
from recon.operators.composition import CharacterisedOperator
from recon.priors.networks import (
    ConvolutionalDictionary,
    ConvolutionalSparseCoding,
    ConvolutionalSparseCodingConfig,
    dictionary_prior,
    load,
    make,
)
from recon.training.data import read_patches, read_validation
from recon.training.lista import ConvolutionalLista, learn_lista
from recon.training.metric import in_steps, learn_metric
from recon.training.run import Images
from recon.training.steps import Problems, figure_of, prepare_steps, start_of, train_steps
from recon.training.steps_recipe import StepsConfig, StepsRecipe, StepsTraining
from recon.training.tables import DataConfig

BUNDLED = Path(__file__).resolve().parents[2] / "data" / "photographs"
COUNTS = (10, 20)
WEIGHTS = (0.02, 0.1)
PATCH, POOL, BATCH, STEPS, HELD_OUT = 64, 32, 8, 240, 6
LAYERS, SIDE, LISTA_STEPS = 20, 9, 150
CELER = (10, 12)
METRIC, METRIC_PATCH, METRIC_LEARNING = (10, 25), 40, 60
LONG_RUN = 2000
"""The steps of FISTA that stand for the minimiser."""


def recipe_of(count: int) -> StepsRecipe:
    """The recipe of so many steps."""
    return StepsRecipe(
        StepsConfig("blur:gaussian=0.8", "wavelet", WEIGHTS, count),
        DataConfig(patch=PATCH),
        StepsTraining(noise=(0.01, 0.05), batch=BATCH, pool=POOL, steps=STEPS),
    )


def files_in(folder: Path | None, others: list[Path] | None = None) -> list[Path]:
    """The images in a folder, or the bundled ones."""
    found = sorted(path for path in (folder or BUNDLED).glob("*") if path.suffix in (".png", ".jpg", ".tif"))
    return [path for path in found if path not in (others or [])]


def run(data: Path | None = None, held_out: Path | None = None) -> dict[str, Any]:
    """Gaps for each number of steps and each weight; what LISTA and celer say."""
    training = files_in(data) if data else files_in(None)[:-1]
    kept = files_in(held_out, training)[:HELD_OUT]
    found: dict[str, Any] = {}
    for count in COUNTS:
        found[f"T = {count}"] = _steps(recipe_of(count), Images(training, kept))
    found["lista"] = _lista(recipe_of(LAYERS), training)
    found["celer"] = _celer()
    found["metric"] = _metric(training, kept)
    return found


def _metric(training: list[Path], kept: list[Path]) -> dict[str, float]:
    """The objective of the packaged dictionary on held-out patches, by ISTA and in a diagonal metric."""
    network, (few, many) = load(folders()["csc-gray"]), METRIC
    level, generator = network.config.noise_range[1], torch.Generator().manual_seed(0)

    def noisy(files: list[Path]) -> torch.Tensor:
        shown = read_validation(files, DataConfig(), 1, HELD_OUT, METRIC_PATCH, print_nothing)
        clean = torch.cat([each[:1] for each in shown])
        return clean + level * torch.randn(clean.shape, generator=generator)

    ista, diagonal, y = in_steps(network, few), in_steps(network, few, "diagonal"), noisy(kept)
    learn_metric(diagonal, noisy(training), level, iterations=METRIC_LEARNING, rate=0.15)
    (code,) = ista.codes(level)

    @torch.no_grad()
    def objective(of: ConvolutionalSparseCoding, steps: int) -> float:
        return float(code.objective(y, of.stepped(code, y, steps)).mean())

    return {
        f"ISTA, {few}": objective(ista, few),
        f"ISTA, {many}": objective(ista, many),
        f"diagonal, {few}": objective(diagonal, few),
    }


def _steps(recipe: StepsRecipe, images: Images) -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name) / "run"
        outcome = train_steps(prepare_steps(folder, recipe, False), images, folder, torch.device("cpu"))
    low, high = WEIGHTS
    rows = {}
    problems = Problems(recipe, read_patches(images.training, recipe.data, 1, 0, print_nothing), torch.device("cpu"))
    shown = read_validation(images.validation, recipe.data, 1, HELD_OUT, PATCH, print_nothing)
    y = problems.measure(torch.cat([each[:1] for each in shown]), torch.Generator().manual_seed(0))
    for weight in (low, (low * high) ** 0.5, high):
        figure = figure_of(problems.operator, recipe.steps.prior_spec, weight, outcome.factors, y)
        rows[f"{weight:.3g}"] = {
            "ista": figure.ista, "fista": figure.fista, "slista": figure.learned,
            "oista": _oracle(problems, weight, len(outcome.factors), y),
            "ratio": figure.ratio, "duality_gap_slista": figure.duality_gap, "limit": 2 / figure.curvature,
        }  # fmt: skip
    return {
        "factors": list(outcome.factors),
        "beyond_the_limit": sum(factor > rows[f"{low:.3g}"]["limit"] for factor in outcome.factors),
        "worst_ratio": max(row["ratio"] for row in rows.values()),
        "ratio_of_means": sum(row["slista"] for row in rows.values()) / sum(row["ista"] for row in rows.values()),
        "weights": rows,
    }


def print_nothing(line: str) -> None:
    """Take a remark, and say nothing."""


def _oracle(problems: Problems, weight: float, count: int, y: torch.Tensor) -> float:
    """The gap that oracle ISTA leaves."""
    prior = problems.prior(weight)
    data, start, s = LeastSquares(problems.operator, y.double()), None, 1 / problems.squared_norm
    start = start_of(problems.operator, y.double())
    assert prior.sparse is not None
    assert prior.value is not None
    x = solvers.solve(solvers.oracle_ista(data, prior.sparse, s), start, tolerance=0, max_steps=count).x
    least = solvers.solve(solvers.fista(data, prior.resolvent(s), s), start, tolerance=0, max_steps=LONG_RUN).x
    energy, lowest = data.value(x) + prior.value(x), data.value(least) + prior.value(least)
    return float(((energy - lowest) / energy).mean())


def _lista(recipe: StepsRecipe, training: list[Path]) -> dict[str, Any]:
    """How far the layers of a LISTA are from the form of ISTA, after learning on one weight."""
    one = replace(recipe, steps=replace(recipe.steps, weights=(WEIGHTS[1], WEIGHTS[1])))
    problems = Problems(one, read_patches(training, recipe.data, 1, 0, print_nothing), torch.device("cpu"))
    batches = [problems.batch(number) for number in range(max(1, POOL // BATCH // 2))]
    lista = ConvolutionalLista(problems.operator, (PATCH, PATCH), LAYERS, SIDE, 1 / problems.squared_norm)
    losses = learn_lista(
        lista,
        [(each.y, each.start, each.term, each.least, each.left) for each in batches],
        LISTA_STEPS,
        learning_rate=3e-3,
    )
    layers = lista.departures()
    return {
        "loss_begin": losses[0],
        "loss_end": losses[-1],
        "layers": [{"step": each.step, "kernel": each.kernel, "threshold": each.threshold} for each in layers],
    }


def _celer() -> dict[str, Any] | None:
    """Least energies of small problems, ours and celer's, with their seconds; ``None`` where it is not installed."""
    try:
        from celer import ElasticNet, Lasso  # noqa: PLC0415
    except ImportError:
        return None
    operator, weight = Blur(gaussian_psf(0.8), CELER), 0.05
    x = torch.zeros(1, 1, *CELER, dtype=torch.float64)
    x[..., 3:6, 4:9] = 1
    y = operator.A(x) + 0.02 * torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    count = y.numel()
    lasso = Lasso(alpha=weight / count, fit_intercept=False, tol=1e-12)
    dictionary, net = _of_atoms()
    # the elastic net of celer has one threshold and one weight of the square: sum = alpha count, ratio = t / (t + r)
    t, r = 0.05, 1.0
    elastic = ElasticNet(alpha=(t + r) / count, l1_ratio=t / (t + r), fit_intercept=False, tol=1e-12)
    return {
        "lasso": _compared(operator, priors.l1_prior(weight), lasso, y, x),
        "elastic net of a dictionary": _compared(compose(operator, dictionary), net(t, r), elastic, y, None),
    }


def _of_atoms() -> tuple[ConvolutionalDictionary, Callable[[float, float], priors.Prior]]:
    """A small dictionary, and its elastic net by threshold and weight of the square."""
    torch.manual_seed(0)
    network = make(ConvolutionalSparseCodingConfig(atoms=8, size=4, stride=2, noise_range=(0.1, 0.1)))
    synthesis = dictionary_prior(network, 0.1).synthesis
    assert synthesis is not None
    dictionary = synthesis.on(CELER)
    assert isinstance(dictionary, ConvolutionalDictionary)
    ones = torch.ones(1, synthesis.bands, 1, 1, dtype=torch.float64)
    return dictionary, lambda t, r: priors.elastic_net_prior(1.0, t * ones, r)


def _compared(
    operator: CharacterisedOperator, prior: priors.Prior, peer: Any, y: torch.Tensor, start: torch.Tensor | None
) -> dict[str, float]:
    """The least energy by FISTA and by another solver on the matrix, and their seconds."""
    bands = 1 if start is not None else len(operator.A_adjoint(y)[0])
    shape = (1, bands, *operator.domain.shape)
    unknowns = bands * operator.domain.shape[0] * operator.domain.shape[1]
    matrix = operator.A(torch.eye(unknowns, dtype=y.dtype).reshape(-1, *shape[1:])).flatten(1).T.numpy()
    matrix = np.asfortranarray(matrix)
    began = time.perf_counter()
    peer.fit(matrix, y.flatten().numpy())
    between = time.perf_counter()
    data, s = LeastSquares(operator, y), 1 / operator.properties.norm.value**2
    zero = torch.zeros(shape, dtype=y.dtype)
    ours = solvers.solve(solvers.fista(data, prior.resolvent(s), s), zero, tolerance=0, max_steps=3000).x
    ended = time.perf_counter()
    theirs = torch.from_numpy(peer.coef_).reshape(shape)
    assert prior.value is not None
    return {
        "ours": float(data.value(ours) + prior.value(ours)),
        "celer": float(data.value(theirs) + prior.value(theirs)),
        "seconds_ours": ended - between,
        "seconds_celer": between - began,
        "unknowns": unknowns,
    }


def main() -> None:
    """Print the gaps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, help="images to learn on; the bundled ones are left out")
    parser.add_argument("--held-out", type=Path, help="images to judge on")
    given = parser.parse_args()
    found = run(given.data, given.held_out)
    if given.json:
        print(json.dumps(found))
        return
    for count in COUNTS:
        case = found[f"T = {count}"]
        print(f"T = {count}; steps times ||A||^2: {' '.join(f'{factor:.3g}' for factor in case['factors'])}")
        print("weight   ISTA      FISTA     OISTA     SLISTA    SLISTA/ISTA  2||A||^2/L_S")
        for weight, row in case["weights"].items():
            gaps = "  ".join(f"{row[name]:.2e}" for name in ("ista", "fista", "oista", "slista"))
            print(f"{weight:<8} {gaps}  {row['ratio']:<11.3f}  {row['limit']:.3f}")
        print(f"worst ratio {case['worst_ratio']:.3f}, of the means {case['ratio_of_means']:.3f}; "
              f"{case['beyond_the_limit']} steps beyond 2/L_S\n")  # fmt: skip
    last = found["lista"]["layers"][-1]
    print(f"LISTA, {LAYERS} layers; the last is away from ISTA's form by {last['kernel']:.3f} (kernel) and "
          f"{last['threshold']:.3f} (threshold), at a step of {last['step']:.3g} / ||A||^2")  # fmt: skip
    print(f"objective of the packaged dictionary: {found['metric']}")
    print(f"celer: {found['celer'] or 'skipped, as it is not installed'}")


if __name__ == "__main__":
    main()
