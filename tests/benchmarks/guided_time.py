"""The time of a guided prior over that of the unguided one, and its gain, for four tasks on validation images.

    python tests/benchmarks/guided_time.py DATA [--kind gray] [--images 3] [--side 256] [--only TASK] [--reference]
        [--guide-steps K]

DATA is a folder of images on which nothing is tested. Both priors run as ``recon solve`` runs them, to the default
tolerance, one after the other in one process on one thread. An image smaller than ``--side`` is continued by its
mirror images. Each line has means over the images: PSNR without a guide and the gain in dB, the steps without a guide,
those of the run for the guide (least and most in brackets) and of the second run, and the CPU time of both runs with
the mask over that of the one.
With ``--reference``, how much the image loses against two runs to a tenth of the tolerance, the guide a limit as well.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import click
import numba
import numpy as np
import torch
from guided import KERNEL, crops, noisy, psnr
from torch import Tensor

from recon import catalogue
from recon.evaluation.evaluate import as_image
from recon.methods import condat_vu
from recon.priors.networks import load
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.run import Result, execute
from recon.solvers.driver import TOLERANCE
from recon.specs.grammar import Spec, parse_spec
from recon.specs.operators import read_operator
from recon.specs.solve_config import Noise, SolveConfig

PROBLEMS = {
    "denoising": (("identity", 5 / 255), ("identity", 15 / 255), ("identity", 25 / 255)),
    "deblurring, camera shake": ((f"blur:psf={KERNEL}", 0.005), (f"blur:psf={KERNEL}", 0.01)),
    "deblurring, Gaussian of 1.6": (("blur:gaussian=1.6", 0.01),),
    "inpainting, half": (("inpaint:mask=half.npy", 0.02),),
    "super-resolution by 2": (("downsample:factor=2", 0.01),),
}


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--kind", default="gray", show_default=True, help="gray or color; or FOLDER,FOLDER: guided, unguided.")
@click.option("--images", default=3, show_default=True, help="How many, evenly chosen.")
@click.option("--side", default=256, show_default=True, help="Of the crops.")
@click.option("--only", default="", help="The task whose name begins so, as inpainting.  [default: all]")
@click.option("--guide-steps", type=int, help="Steps of denoising that make a guide, in place of the default.")
@click.option("--reference", is_flag=True, help="Compare with the limits, too, which takes long.")
def main(  # noqa: PLR0917  the options of the command
    data: Path, kind: str, images: int, side: int, only: str, guide_steps: int | None, reference: bool
) -> None:
    if guide_steps is not None:
        condat_vu.IDENTITY_GUIDE_STEPS = condat_vu.COLOUR_GUIDE_STEPS = guide_steps
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    guided, plain = _priors(kind)
    channels = load(catalogue.folders().get(guided.value or "", Path(guided.value or ""))).config.channels
    shown = [mirrored(x, side) for x in crops(data, images, side, channels)]
    for prior in (guided, plain):  # what is compiled or read at first use
        execute(planned("identity", 0.05, shown[0][..., :32, :32], 0, prior))
    with TemporaryDirectory() as folder:
        half = Path(folder) / "half.npy"
        np.save(half, np.random.default_rng(0).random(shown[0].shape[-2:]) < 0.5)
        for name, cases in PROBLEMS.items():
            for operator, noise in cases if name.startswith(only) else ():
                stated = operator.replace("half.npy", str(half))
                print(f"{name}, noise {noise:.4f}: {line(stated, noise, shown, guided, plain, reference)}", flush=True)


def line(  # noqa: PLR0917  the options of the command
    operator: str, noise: float, shown: Sequence[Tensor], guided: Spec, plain: Spec, reference: bool
) -> str:
    """The figures of one problem."""
    rows = []
    for seed, x in enumerate(shown):
        alone, before = timed(planned(operator, noise, x, seed, plain))
        plan = planned(operator, noise, x, seed, guided)
        found, both = timed(plan)
        assert found.first is not None
        steps = (alone.steps, found.first.steps, found.steps)
        scores = [psnr(each.solution.x, x) for each in (alone, found)]
        lost = psnr(limit(plan).solution.x, x) - scores[1] if reference else 0.0
        rows.append((*scores, *steps, both / before, lost))
    alone_psnr, found_psnr, plain_steps, first, second, ratio, lost = (fmean(each) for each in zip(*rows, strict=True))
    made = f"{first:.0f} ({min(row[3] for row in rows)} to {max(row[3] for row in rows)})"
    return (
        f"{alone_psnr:.2f} dB, gain {found_psnr - alone_psnr:+.2f}, steps {plain_steps:.0f}, {made} and "
        f"{second:.0f}, CPU time {ratio:.2f}" + (f", lost {lost:.3f} dB" if reference else "")
    )


def timed(plan: Plan) -> tuple[Result, float]:
    """The result of a plan and its CPU time."""
    began = time.process_time()
    result = execute(plan)
    return result, time.process_time() - began


def limit(plan: Plan) -> Result:
    """The result of both runs to a tenth of the default tolerance, as near as a user could ask for."""
    guide = execute(_to(plan, TOLERANCE / 10, makes_guide=False))
    return execute(_to(plan, TOLERANCE / 10, guide=guide.solution.x))


def _to(plan: Plan, tolerance: float, makes_guide: bool = True, guide: Tensor | None = None) -> Plan:
    from recon.reconstruction.plan import with_guide  # noqa: PLC0415  only for the reference

    config = replace(plan.problem.config, tolerance=tolerance)
    chosen = plan.problem.prior if makes_guide else replace(plan.problem.prior, guides_itself=False)
    plan = replace(plan, problem=replace(plan.problem, config=config, prior=chosen))
    return plan if guide is None else with_guide(plan, guide)


def planned(operator: str, noise: float, x: Tensor, seed: int, prior: Spec) -> Plan:
    """The plan of ``recon solve`` for an image that is measured with noise."""
    spec, shape = parse_spec(operator), (x.shape[-2], x.shape[-1])
    measured = as_image(noisy(read_operator(spec).on(shape).A(x), noise, seed))
    size = shape if operator.startswith("downsample") else None
    return make_plan(SolveConfig(spec, prior, noise=Noise(noise), device="cpu", shape=size), measured, lambda _: None)


def mirrored(x: Tensor, side: int) -> Tensor:
    """An image of that side, continued by its mirror images where it is smaller."""
    while min(x.shape[-2:]) < side:
        x = torch.cat([x, x.flip(-1)], -1)
        x = torch.cat([x, x.flip(-2)], -2)
    return x[..., :side, :side].contiguous()


def _priors(kind: str) -> tuple[Spec, Spec]:
    """The guided prior and the one without a guide."""
    if "," in kind:
        first, second = kind.split(",")
        return Spec("folder", value=first), Spec("folder", value=second)
    return Spec("model", value=f"guided-{kind}"), Spec("model", value=f"proved-{kind}")


if __name__ == "__main__":
    main()
