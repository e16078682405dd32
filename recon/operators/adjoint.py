"""Is the adjoint the adjoint? Measured as an operator norm, because one dot product misses an 8 % mismatch."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.evidence import Evidence, Measured
from recon.operators.base import Characterised, OperatorProperties
from recon.operators.null_space import sees_constants
from recon.operators.spectral import Effort, map_norm
from recon.types import LinearOperator, Map

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""The gap up to which a pair counts as exact: rounding stays below, the mildest mismatch in use is 5e-2."""

_EFFORT = Effort(tolerance=1e-2, applications=40)
_SUBSPACE = 12
_CHECK = Effort(applications=8, seed=20)
"""Of the check that a derivative is the transpose, on other vectors than those that measure with it."""

_PAIRS, _MARGIN = 12, 3.0
"""Of the upper estimate: random vectors on each side, and the factor on what their products say."""

_ROUNDINGS = 32.0
"""Times the precision of the maps: what rounding may make of the upper estimate of an exact pair."""

_POWER_STEPS = 8


def transpose(linear: Map, example: Tensor) -> Map | None:
    """The transpose of a linear map, by automatic differentiation, checked against the map itself.

    ``None`` where the map is not differentiable, or where the derivative that it declares is not its transpose: an
    ``autograd.Function`` whose backward is an approximate adjoint.

    Args:
        linear: The map.
        example: A tensor of the shape, dtype and device that it takes.
    """
    try:
        with torch.enable_grad():
            x = torch.zeros_like(example, requires_grad=True)
            y = linear(x)
        if not y.requires_grad:
            return None

        def back(v: Tensor) -> Tensor:
            # of a number: with a vector, autograd first imports its symbolic shapes, which takes half a second
            with torch.enable_grad():
                product = (y * v.conj()).real.sum()
            return torch.autograd.grad(product, x, retain_graph=True)[0]

        gap = _gap_on_subspaces(linear, back, example, y.detach(), _CHECK)
    except Exception:  # NumPy inside, or no backward: any other fault of the map shows without gradients too
        return None
    return back if gap.value <= 0.1 * TOLERANCE[example.dtype.to_real()] else None


def exact_adjoint(operator: LinearOperator, example: Tensor) -> Map:
    """The adjoint of ``A`` by automatic differentiation where that is its transpose, else ``A_adjoint`` on its word."""
    return transpose(operator.A, example) or operator.A_adjoint


def adjoint_gap(
    operator: LinearOperator, example: Tensor | None = None, *, surrogate: Map | None = None, seed: int = 0
) -> Measured:
    """The relative distance ||K - A^T|| / ||A|| in the operator norm, as a lower bound.

    ``K`` is ``A_adjoint``, or the surrogate. Lanczos runs on D^T D, D = K - A^T, with the exact transposes had by
    automatic differentiation. Where a map is not differentiable, or declares a derivative that is not its transpose,
    the largest singular value of the bilinear form <x, K y> - <A x, y> on the subspaces that A and K span from random
    vectors is taken instead.

    Args:
        operator: The operator.
        example: A tensor that ``A`` takes; may be left out for an operator that knows its domain.
        surrogate: A map from measurements to images to compare with the adjoint, instead of ``A_adjoint``.
        seed: Of the random vectors.

    Raises:
        UsageError: ``A`` is not linear, the two maps do not fit each other's shapes, or the example is missing.
    """
    x = example_of(operator, example)
    expect_linear(operator, x, seed)
    K = operator.A_adjoint if surrogate is None else surrogate
    y = _measurement_of(operator, K, x)
    forward_transpose, back_transpose = transpose(operator.A, x), transpose(K, y)
    if forward_transpose is None or back_transpose is None:
        return _gap_on_subspaces(operator.A, K, x, y, Effort(applications=_SUBSPACE, seed=seed))
    effort = Effort(_EFFORT.tolerance, _EFFORT.applications, seed)
    size = _size(operator, forward_transpose, x, effort)
    rounding = (1e-2 * TOLERANCE[x.dtype.to_real()] * size) ** 2
    gap = map_norm(
        lambda v: K(v) - forward_transpose(v),
        lambda v: back_transpose(v) - operator.A(v),
        y,
        replace(effort, negligible=rounding),
    )
    return Measured(_ratio(gap.value, size), f"||K - A^T|| / ||A|| by {gap.how}")


def adjoint_gap_upper(
    operator: LinearOperator, example: Tensor | None = None, *, surrogate: Map | None = None, seed: int = 0
) -> Measured:
    """An estimate of ||K - A^T|| / ||A|| from above, which a fault confined to one pixel does not escape.

    For standard normal x and y the number <x, K y> - <A x, y> = x^T D y, D = K - A^T, has the mean square ||D||_F^2,
    which is at least ||D||^2. With 12 vectors on each side, ``3 ||X^T D Y||_F / 12`` exceeds ||D|| with more than 99 %
    probability: least for a D of rank one, where it is ||D|| times ``|a| |b| / 4`` with a, b standard normal in
    dimension 12. Nothing is assumed of a transpose, so it serves where :func:`adjoint_gap` has only a short ascent. It
    is measured, and above the truth by as much as D has many directions.

    The maps are tried in double precision where they take it. The rounding of their outputs is the floor: the radius,
    in the units of the value, and said in words; an estimate below it says no more than that.

    Args:
        operator: As for :func:`adjoint_gap`, and so are the others.
        example: A tensor that ``A`` takes.
        surrogate: A map to compare with the adjoint, instead of ``A_adjoint``.
        seed: Of the random vectors.

    Raises:
        UsageError: The two maps do not fit each other's shapes, or the example is missing.
    """
    x = example_of(operator, example)
    K = operator.A_adjoint if surrogate is None else surrogate
    y = _measurement_of(operator, K, x)
    x, y = _in_double(operator.A, K, x, y)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        images = [_normal(x, generator) for _ in range(_PAIRS)]
        measurements = [_normal(y, generator) for _ in range(_PAIRS)]
        forward, backed = [operator.A(image) for image in images], [K(measured) for measured in measurements]
        size = _size_from_below(operator.A, K, images[0])
        precision = max(_precision(operator.A, x, generator), _precision(K, y, generator))
    products = torch.tensor(
        [
            [_inner(image, b) - _inner(p, measured) for measured, b in zip(measurements, backed, strict=True)]
            for image, p in zip(images, forward, strict=True)
        ],
        dtype=torch.float64,
    )
    finite = bool(products.isfinite().all())
    found = _MARGIN * float(torch.linalg.matrix_norm(products)) / _PAIRS if finite else math.inf
    lengths = [_length(each) for each in (*forward, *backed)]
    floor = _ratio(_ROUNDINGS * precision * max(lengths), size)
    how = (
        f"||K - A^T|| / ||A|| by {_PAIRS} x {_PAIRS} random products, times {_MARGIN:g}: above it with more than 99 % "
        f"probability; rounding alone gives up to {floor:.1g}"
    )
    return Measured(_ratio(found, size), how, floor if math.isfinite(floor) else 0.0)


def is_gap(gap: Measured, upper: Measured, dtype: torch.dtype) -> bool:
    """Whether a pair is no pair, by its lower bound or by the upper estimate, which must stand out of its rounding."""
    tolerance = TOLERANCE[dtype.to_real()]
    return not (gap.value <= tolerance and upper.value <= max(tolerance, upper.error))


def refuse_gap(operator: LinearOperator, gap: Measured, upper: Measured, dtype: torch.dtype) -> None:
    """Refuse a pair that is no pair.

    Args:
        operator: Of which both were measured.
        gap: By :func:`adjoint_gap`.
        upper: By :func:`adjoint_gap_upper`.
        dtype: Of the images.

    Raises:
        GuaranteeError: ``A_adjoint`` is not the adjoint of ``A``.
    """
    if not is_gap(gap, upper, dtype):
        return
    tolerance = TOLERANCE[dtype.to_real()]
    by = f"{_percent(gap.value)} of ||A||"
    if gap.value <= tolerance or upper.value > 10 * gap.value:
        by = f"{by} or more, by an estimate from above {_percent(upper.value)}, as a fault at a few pixels would"
    raise GuaranteeError(
        f"{type(operator).__name__}: A_adjoint differs from the adjoint of A by {by}; expected at most "
        f"{100 * tolerance:.0e} %, because the solvers' guarantees rest on it: correct it, or "
        "declare it as a surrogate."
    )


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.1 else f"{100 * part:.0f} %"


def check_adjoint(operator: LinearOperator, example: Tensor | None = None, *, seed: int = 0) -> Measured:
    """The adjoint gap of a pair that is claimed to be exact, refused by its lower bound or by its upper estimate.

    Args:
        operator: With ``A`` and ``A_adjoint``.
        example: An image that ``A`` takes, (batch, channels, height, width); may be left out where the operator knows
            its domain.
        seed: Of the random images.

    Raises:
        GuaranteeError: ``A_adjoint`` is not the adjoint of ``A``.
        UsageError: As for :func:`adjoint_gap`.
    """
    gap = adjoint_gap(operator, example, seed=seed)
    upper = adjoint_gap_upper(operator, example, seed=seed)
    refuse_gap(operator, gap, upper, example_of(operator, example).dtype)
    return gap


def operator_properties(
    operator: LinearOperator, example: Tensor | None = None, *, seed: int = 0
) -> OperatorProperties:
    """Return the constants that an operator knows of itself, and measure the others.

    Args:
        operator: The operator.
        example: A tensor that ``A`` takes; may be left out for an operator that knows its domain; whether
            it sees constants is then not known.
        seed: Of the random vectors.
    """
    if isinstance(operator, Characterised):
        known = operator.properties
        if example is None:
            return known
        norm = known.computed_norm or (lambda: known.norm)
        return replace(known, norm=norm, sees_constants=lambda: sees_constants(operator, example))
    x = example_of(operator, example)
    gap = adjoint_gap(operator, x, seed=seed)  # first, because it refuses an A that is not linear and has no norm
    norm = map_norm(operator.A, exact_adjoint(operator, x), x, Effort(seed=seed))
    return OperatorProperties(norm=norm, adjoint_gap=gap)


def example_of(operator: LinearOperator, example: Tensor | None = None) -> Tensor:
    """A tensor that ``A`` takes: the example, else a float32 image of one channel from the operator's domain.

    Raises:
        UsageError: There is no example and the operator does not know its domain.
    """
    if not isinstance(operator, LinearOperator):
        raise UsageError(f"{operator!r} is no operator; expected an object with the methods A and A_adjoint.")
    if example is not None:
        return example[:1]
    if isinstance(operator, Characterised):
        return operator.domain.zeros(1, 1)
    raise UsageError(
        f"{type(operator).__name__} does not say what images it takes; expected an example tensor of shape "
        "(batch, channels, height, width)."
    )


def _size(operator: LinearOperator, forward_transpose: Map, x: Tensor, effort: Effort) -> float:
    """||A||: what the operator knows, else measured."""
    if isinstance(operator, Characterised) and operator.properties.norm.evidence is not Evidence.ASSUMED:
        return operator.properties.norm.value
    return map_norm(operator.A, forward_transpose, x, effort).value


def _ratio(gap: float, size: float) -> float:
    return gap / size if size else (math.inf if gap else 0.0)


def expect_linear(operator: LinearOperator, x: Tensor, seed: int = 0) -> None:
    """Refuse a map with A(u + 2 w) other than A(u) + 2 A(w), tried on noise, and on noise with an image with a mean.

    A map that depends on the mean of its image, or saturates beyond some level, may be linear on noise around zero.

    Raises:
        UsageError: ``A`` is not linear, or gives NaN or infinity.
    """
    generator = torch.Generator().manual_seed(seed)
    name = type(operator).__name__
    for kind, mean in (("images u and w", 0.0), ("images u and w with a mean", 3.0)):
        u, w = _noise(x, generator), _noise(x, generator) + mean
        with torch.no_grad():
            size, deviation = _deviation(operator.A, u, w)
        if not math.isfinite(size):
            raise UsageError(f"{name}: A gave NaN or infinity for random images; expected finite numbers.")
        if deviation > TOLERANCE[x.dtype.to_real()]:
            raise UsageError(
                f"{name}: A is not linear: A(u + 2 w) differs from A(u) + 2 A(w) by {100 * deviation:.2g} % for random "
                f"{kind}; expected a linear map, because only that has an adjoint."
            )


def _deviation(linear: Map, u: Tensor, w: Tensor) -> tuple[float, float]:
    """||A u|| + ||2 A w||, and by how much of it A(u + 2 w) is something else."""
    first, second, both = linear(u), 2 * linear(w), linear(u + 2 * w)
    size = _length(first) + _length(second)
    return size, _ratio(_length(both - first - second), size)


def _measurement_of(operator: LinearOperator, back: Map, x: Tensor) -> Tensor:
    """The zero measurement, after a look at the shape of its back-projection."""
    with torch.no_grad():
        y = torch.zeros_like(operator.A(x))
        image = back(y)
    if image.shape != x.shape:
        raise UsageError(
            f"adjoint_gap: the back-projection of a measurement has shape {tuple(image.shape)}; expected the image's, "
            f"{tuple(x.shape)}."
        )
    return y


def _in_double(forward: Map, back: Map, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """An image and a measurement in double precision, where both maps take them."""
    fine = [each.to(torch.promote_types(each.dtype, torch.float64)) for each in (x, y)]
    try:
        with torch.no_grad():
            forward(fine[0])
            back(fine[1])
    except (UsageError, RuntimeError, TypeError, ValueError):
        return x, y
    return fine[0], fine[1]


def _precision(linear: Map, x: Tensor, generator: torch.Generator) -> float:
    """The rounding of a linear map: that of its numbers, or what it seems to compute with, if that is coarser."""
    _, deviation = _deviation(linear, _normal(x, generator), _normal(x, generator))
    return max(deviation, torch.finfo(x.dtype.to_real()).eps)


def _size_from_below(forward: Map, back: Map, x: Tensor) -> float:
    """A lower bound of ||A||: the largest ||A v|| / ||v|| of a few steps of a power iteration."""
    size, v = 0.0, x
    for _ in range(_POWER_STEPS):
        length = _length(v)
        if not (0 < length < math.inf):
            break
        image = forward(v / length)
        size, v = max(size, _length(image)), back(image)
    return size


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, of a complex tensor in both of its parts."""
    if not like.is_complex():
        return _noise(like, generator)
    parts = torch.randn((*like.shape, 2), generator=generator, dtype=like.dtype.to_real())
    return torch.view_as_complex(parts).to(like.device)


def _gap_on_subspaces(forward: Map, back: Map, x: Tensor, y: Tensor, effort: Effort) -> Measured:
    images, measurements = _grow(forward, back, x, y, effort)
    with torch.no_grad():
        projected = [forward(image) for image in images]
        backed = [back(measurement) for measurement in measurements]
    form = _products(images, backed) - _products(projected, measurements)
    size = max(_length(p) for p in projected)
    gap = float(torch.linalg.matrix_norm(form, 2)) if bool(form.isfinite().all()) else math.inf
    how = f"the bilinear form on random Krylov subspaces of dimension {len(images)}: a lower bound"
    return Measured(_ratio(gap, size), f"||K - A^T|| / ||A|| by {how}")


def _grow(forward: Map, back: Map, x: Tensor, y: Tensor, effort: Effort) -> tuple[list[Tensor], list[Tensor]]:
    """Orthonormal images and measurements, alternately the image of each other and fresh noise."""
    generator = torch.Generator().manual_seed(effort.seed)
    images: list[Tensor] = []
    measurements: list[Tensor] = []
    with torch.no_grad():
        for k in range(effort.applications):
            fresh = k % 3 == 0 or not measurements
            _append(images, _noise(x, generator) if fresh else back(measurements[-1]), generator)
            _append(measurements, _noise(y, generator) if k % 3 == 2 else forward(images[-1]), generator)
    return images, measurements


def _append(basis: list[Tensor], vector: Tensor, generator: torch.Generator) -> None:
    if len(basis) >= vector.numel():
        return
    for candidate in (vector, _noise(vector, generator)):
        rest = candidate
        for _ in range(2 if basis else 0):  # Gram-Schmidt, twice
            rest = _less(rest, basis, _products([rest], basis)[0].tolist())
        length = _length(rest)
        if length > 1e-3 * _length(candidate):
            basis.append(rest / length)
            return


def _less(vector: Tensor, basis: list[Tensor], coefficients: list[float]) -> Tensor:
    """The vector less a combination of others."""
    rest = vector.clone()
    for member, coefficient in zip(basis, coefficients, strict=True):
        rest.add_(member, alpha=-coefficient)
    return rest


_BLOCK = 2**18
"""Numbers of a vector that are taken to double precision at a time, which stay in the cache."""


def _products(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """The real inner products of two lists of vectors in double precision, (left, right)."""
    rows, columns = [_real(each) for each in left], [_real(each) for each in right]
    total = torch.zeros(len(rows), len(columns), dtype=torch.float64, device=rows[0].device)
    for start in range(0, len(rows[0]), _BLOCK):
        part = slice(start, start + _BLOCK)
        a = torch.stack([row[part] for row in rows]).double()
        b = torch.stack([column[part] for column in columns]).double()
        total += a @ b.T
    return total.cpu()


def _real(u: Tensor) -> Tensor:
    return (torch.view_as_real(u) if u.is_complex() else u).reshape(-1)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def _inner(u: Tensor, v: Tensor) -> float:
    """The real inner product, in double precision: products of small numbers would vanish in single."""
    if u.is_complex():
        u, v = torch.view_as_real(u), torch.view_as_real(v.to(u.dtype))
    return float((u.double() * v.double()).sum())


def _length(u: Tensor) -> float:
    return math.sqrt(_inner(u, u))
