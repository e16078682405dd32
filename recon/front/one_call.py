"""The call that makes an image with a certificate of an array."""

import base64
import html
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recon.certificates import Certificate
from recon.errors import GuaranteeError, UsageError
from recon.front.arguments import check_arguments, check_measurement, check_seed_and_device, errors_in_python, in_python
from recon.front.arrays import as_image, pixels_of, same_kind
from recon.front.gradient import require_tensor, with_gradient
from recon.front.operators import as_factory
from recon.io import Array, Image, Projections
from recon.operators.tomography import Geometry
from recon.priors import GuidedPrior, Prior
from recon.reconstruction.ct_input import checked_scan
from recon.reconstruction.plan import make_plan
from recon.reconstruction.problem import Objects
from recon.reconstruction.run import Result, execute, write_figure
from recon.solvers import Distance, Status
from recon.specs.grammar import parse_spec
from recon.specs.operators import OperatorFactory
from recon.specs.solve_config import Noise, SolveConfig, parse_noise
from recon.types import LinearOperator


@dataclass(frozen=True)
class Picture:
    """A drawn figure, which notebooks show."""

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image and what is known of it.

    It pickles without ``result``: what another process made has its image and verdict, and draws no figure.

    Attributes:
        image: The result, of the kind of the measurement (NumPy or torch), in its units and with its axes.
        status: How the run ended; of several frames the worst.
        steps: How many steps it took.
        distance: How far the image is from the limit of the run.
        certificate: What is guaranteed of the run, known before its first step.
        noise: The noise level that was used, on the scale where the range of grey values is [0, 1].
        remarks: What the command line would have said on the way, a sentence each.
        result: The run with its plan, for whoever wants more.
    """

    image: Array | Tensor = field(repr=False)
    status: Status
    steps: int
    distance: Distance = field(repr=False)
    certificate: Certificate = field(repr=False)
    noise: float | None
    remarks: tuple[str, ...]
    verdict: str = field(repr=False)
    result: Result | None = field(repr=False, compare=False)

    def figure(self, path: str | Path | None = None, overwrite: bool = False) -> Picture:
        """Draw measurement, result, residual and convergence.

        Args:
            path: A PNG, PDF or SVG to write; ``None``: none is written.
            overwrite: Whether it may exist.

        Returns:
            The picture, which a notebook shows.

        Raises:
            UsageError: The run was in another process.
            OutputError: It cannot be written there.
        """
        if self.result is None:
            raise UsageError("figure: the run was in another process; expected to be drawn where it ran.")
        if path is not None:
            write_figure(self.result, Path(path), overwrite)
        with TemporaryDirectory() as folder:
            drawn = Path(folder) / "figure.png"
            write_figure(self.result, drawn, overwrite=False)
            return Picture(drawn.read_bytes())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "result": None}

    def __str__(self) -> str:
        return f"{self.verdict} {self.certificate.sentence}\ndistance to the limit: {self.distance}"

    def _repr_html_(self) -> str:
        lines = [*str(self).splitlines(), *self.remarks]
        text = "<br>".join(html.escape(line) for line in lines)
        if self.result is None:
            return f"<p>{text}</p>"
        picture = base64.b64encode(self.figure().png).decode()
        return f'<img src="data:image/png;base64,{picture}" style="max-width:100%"><p>{text}</p>'


def _reconstruction(image: Array | Tensor, remarks: list[str], result: Result) -> Reconstruction:
    method = result.plan.method
    return Reconstruction(
        image, result.status, result.steps, result.distance, method.certificate, result.plan.problem.noise,
        tuple(remarks), f"{method.name}: {result.outcome}.", result,
    )  # fmt: skip


@errors_in_python
def reconstruct(  # noqa: PLR0913  each is an independent choice of the caller
    measurement: Array | Tensor,
    operator: OperatorFactory | LinearOperator | str = "identity",
    prior: Prior | GuidedPrior | str | None = None,
    *,
    guide: Array | Tensor | str | Path | None = None,
    noise: float | str | None = None,
    method: str | None = None,
    range: tuple[float, float] | None = None,
    axes: str | None = None,
    water: float | None = None,
    photons: float | None = None,
    surrogate: OperatorFactory | LinearOperator | str | None = None,
    shift: float | Literal["auto"] | None = None,
    stepsize: float | None = None,
    iterations: int | None = None,
    tolerance: float | None = None,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    require_certificate: bool = False,
    differentiable: bool = False,
    notify: Callable[[str], None] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Reconstruction:
    """Reconstruct an image, as ``recon solve`` does of an NPY file: the result has the same bits.

    It is computed in single precision, whatever the measurement has, and comes back in the type of the measurement.

    Args:
        measurement: An array (height, width), (height, width, channels) or with ``axes``; a tensor (batch, channels,
            height, width); of a scan (views, pixels), (slices, views, pixels), or (views, rows, columns) of a cone: the
            result has as many axes.
        operator: What the instrument does: :func:`recon.blur`, :func:`recon.ct`, :func:`recon.inpaint`,
            :func:`recon.mri`, :func:`recon.operator`, an operator of :mod:`recon.operators`, or a specification.
        prior: A prior of :mod:`recon.priors`, or a specification; ``None``: the packaged potential where there is one
            for such images, else total variation.
        guide: An image of the size and in the units of the result, or its file, that decides where the prior smooths,
            of total variation and guided priors; ``None``: of a guided prior the reconstruction without a guide.
        noise: The standard deviation of the noise where ``range`` is [0, 1], or with a unit; ``None``: estimated.
        method: As ``--method``; ``None``: what operator and prior allow.
        range: The values that become 0 and 1; ``None``: from the type, or the percentiles of floating point.
        axes: A letter of FCHW (frames, channels, height, width) for each axis.
        water: Of a scan, the attenuation of water in 1/mm: the result is then in HU.
        photons: Of a scan, how many a ray brings where nothing is in its way: rays count by their statistics.
        surrogate: An operator, or its specification, whose adjoint is used in place of the true one.
        shift: Added to the map of a surrogate, to make it monotone.
        stepsize: ``None``: inside the theorem's interval.
        iterations: The budget of steps; ``None``: 1000.
        tolerance: The distance to the limit at which to stop, as a fraction of the image; ``None``: 0.002.
        shape: (height, width) of the image, where the operator does not know it.
        seed: Of whatever is random.
        device: Where to compute: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        require_certificate: Whether to refuse to run without a guarantee.
        differentiable: Whether the image, a tensor, carries the gradient with respect to the measurement, to a PSF in
            :func:`recon.blur`, to the weight of a prior object and to a trainable network; see
            :func:`recon.front.gradient.with_gradient`. It is as exact as the image: ask for a small ``tolerance``,
            such as 1e-6, the least in single precision. What follows from the measurement (an estimated noise level, a
            weight that is not stated, the range) counts as a constant, and that is remarked on; so does a guide.
        notify: Called with each remark as it comes; all are in the result as well.
        progress: Called with the step, the budget and the estimated distance to the limit.

    Raises:
        UsageError, ConsistencyError, DeviceError: What does not fit, by name.
        GuaranteeError: The adjoint is none, a certificate is required and absent, or the run diverged.
    """
    remarks: list[str] = []

    def say(remark: str) -> None:
        line = in_python(remark)
        remarks.append(line)
        if notify is not None:
            notify(line)

    check_measurement(measurement)
    check_arguments(
        {
            "guide": guide, "noise": noise, "method": method, "range": range, "axes": axes, "water": water,
            "photons": photons, "shift": shift, "stepsize": stepsize, "iterations": iterations, "tolerance": tolerance,
            "shape": shape, "notify": notify, "progress": progress,
        }
    )  # fmt: skip
    seed, device = check_seed_and_device(seed, device)
    factory = as_factory(operator, say)
    replacement = None if surrogate is None or isinstance(surrogate, str) else as_factory(surrogate, say)
    replaced = None if replacement is None else replacement.spec
    config = SolveConfig(
        factory.spec,
        parse_spec(prior, "prior") if isinstance(prior, str) else None,
        method,
        parse_noise(noise) if isinstance(noise, str) else None if noise is None else Noise(float(noise)),
        surrogate=parse_spec(surrogate, "surrogate") if isinstance(surrogate, str) else replaced,
        shift=shift,
        stepsize=stepsize,
        iterations=iterations,
        tolerance=tolerance,
        range=None if range is None else (float(range[0]), float(range[1])),
        shape=None if shape is None else (int(shape[0]), int(shape[1])),
        seed=seed,
        device=device,
        require_certificate=require_certificate,
        water=water,
        photons=photons,
        guide=str(guide) if isinstance(guide, str | Path) else None,
    )
    if differentiable:
        require_tensor(measurement)
    own = _prior_object(prior)
    with torch.no_grad():
        image = _measured(measurement, factory, config, axes, say)
        seen = None if guide is None or isinstance(guide, str | Path) else as_image(guide, config.range, axes)
        result = execute(make_plan(config, image, say, given=Objects(factory, own, replacement, seen)), progress)
    if result.status in (Status.DIVERGED, Status.NOT_FINITE):
        raise GuaranteeError(f"{result.plan.method.name} ended as {result.outcome}. {result.status.sentence}")
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"after {result.steps} steps")
    check = result.residual_check
    for remark in () if check is None else check.remarks:
        say(remark)
    found = same_kind(measurement, result.image)
    if factory.geometry is not None and factory.geometry.kind != "cone":
        found = _of_slices(found, measurement)
    if differentiable and (noise is None or _is_matched(result)):
        say(
            "the noise level or the weight follows from the measurement, and the gradient takes it for a constant: "
            "state both, as in prior='tv:weight=0.01,smoothing=0.05', to have all of it."
        )
    if differentiable and result.plan.guide is not None:
        say("the guide of the prior counts as a constant: the gradient does not flow through it.")
    if differentiable:
        assert isinstance(measurement, Tensor)  # noqa: S101  it was checked
        found = with_gradient(result, measurement, torch.as_tensor(found))
    elif isinstance(measurement, Tensor) and measurement.requires_grad:
        say("the measurement requires a gradient and the image has none: differentiable=True gives it one.")
    return _reconstruction(found, remarks, result)


def _is_matched(result: Result) -> bool:
    """Return whether the weight or the level of the prior was matched to what was measured."""
    stated = result.plan.problem.config.prior
    found = result.plan.problem.prior.spec
    keys = {"weight", "sigma"} & found.options.keys()
    return found.name != "python" and (stated is None or not keys <= stated.options.keys())


def _of_slices(found: Array | Tensor, measurement: Array | Tensor) -> Array | Tensor:
    """Return slices with as many axes as their sinograms have."""
    if measurement.ndim == 2:
        return found[0]
    return found[:, None] if measurement.ndim == 4 else found


def _prior_object(prior: Prior | GuidedPrior | str | None) -> Prior | GuidedPrior | None:
    if prior is None or isinstance(prior, str | Prior | GuidedPrior):
        return None if isinstance(prior, str) else prior
    raise UsageError(
        f"prior is a {type(prior).__name__}; expected a specification such as 'tv', or a prior of recon.priors, such "
        "as total_variation_prior(0.01); a denoiser is named, as 'model:proved-gray' or 'folder:DIR', and a map of "
        "your own is 'python:FILE.py:CALLABLE', of a function that takes nothing and returns it."
    )


def _measured(
    measurement: Array | Tensor, factory: OperatorFactory, config: SolveConfig, axes: str | None,
    say: Callable[[str], None],
) -> Image:  # fmt: skip
    if factory.geometry is None:
        return as_image(measurement, config.range, axes)
    return checked_scan(_projections(measurement, factory.geometry), "the measurement", config, factory.geometry, say)


def _projections(measurement: Array | Tensor, geometry: Geometry) -> Projections:
    values = pixels_of(measurement)
    if values.dtype.kind != "f":
        raise UsageError(
            f"the measurement holds {values.dtype}; expected line integrals in floating point, because counts need a "
            "flat field: recon.io.line_integrals makes them of counts."
        )
    if isinstance(measurement, Tensor) and values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    values = values[None] if values.ndim == 2 else values
    expected = geometry.sinogram_shape
    if values.ndim != 3 or (geometry.kind != "cone" and values.shape[1:] != tuple(expected)):
        raise UsageError(
            f"the measurement has the shape {tuple(np.shape(measurement))}; expected {' x '.join(map(str, expected))} "
            "values, or a stack of them."
        )
    if geometry.kind == "cone":
        values = values.swapaxes(0, 1)  # the rows of a panel take the place of slices
    return Projections(np.ascontiguousarray(values))
