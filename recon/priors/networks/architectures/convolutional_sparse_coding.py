"""Denoisers that code an image with few atoms of a learned convolutional dictionary."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Proved
from recon.operators.convolution_norms import convolution_norm, peak_norm
from recon.operators.rounding import gamma
from recon.priors.networks.architectures.code_descent import descend, is_worth_it
from recon.priors.networks.architectures.network import Config, Derivative, Derived, Network, NoiseLevel, drawn
from recon.priors.networks.architectures.ridge_prox import (
    DEFAULT,
    InnerSolver,
    attached,
    prox,
    rounding_floor,
    solve_curved,
)
from recon.priors.networks.architectures.sparse_code import SparseCode
from recon.priors.networks.architectures.sparse_error import Coded
from recon.priors.networks.layers.convolution import check_padding
from recon.priors.networks.layers.nonexpansive import MARGIN
from recon.types import Map

METRICS = ("scalar", "diagonal")
_MOST_LAYERS = 3

_GAIN, _THRESHOLD, _FREE = 3.0, 2.0, 0.05
"""What training starts from: the gain, and the thresholds of an atom and of the constant one, relative to the standard
deviation of the noise in the coefficient of an atom."""

_GRID = 32
_TINY = 1e-12

_LARGE = 2**14
"""Pixels from which the shifts are solved for one after the other where no gradient is taken: less memory, and the
dual variable of one stays in the cache."""

_FINE = 1e-3
"""The accuracy from which rounding in single precision may be in the way, where ||D||^2 is far above that of a trained
dictionary."""

_DISTURBED = 0.3


@dataclass(frozen=True)
class ConvolutionalSparseCodingConfig(Config):
    """A synthesis dictionary on the lattices of a stride; see :mod:`.sparse_code`.

    Images are continued by nothing: atoms that hang over the border are cut off there (``padding = "zero"``, of what
    is left of the image once it is coded).

    Attributes:
        atoms: Their number.
        size: Their height and width in pixels.
        stride: Of the lattice.
        shifts: Along each axis, a divisor of the stride: the mean of so many codes squared, of lattices that lie evenly
            between each other, is taken; 0: of all stride^2.
        levels: Noise levels, equally spaced in the logarithm over the noise range, at which the thresholds
            are free; between them their logarithms are interpolated. 1: a network for one level.
        layers: Sparse codings one after the other, each with its own dictionary, 1 to 3; of more than one,
            ``(m + 1) / (2 m)`` of what they take away is taken away.
        steps: 0: the sparse code is solved for, and the denoiser is a proximity operator. Else as many steps of the
            iteration from 0, without a proof; another number needs another training.
        tied: Of a number of steps: whether they analyse and synthesise with the one dictionary.
        metric: Of a number of tied steps: ``"scalar"``, ISTA, or ``"diagonal"``, a learned step size for each atom.
    """

    atoms: int = 64
    size: int = 8
    stride: int = 4
    shifts: int = 0
    levels: int = 1
    layers: int = 1
    steps: int = 0
    tied: bool = True
    metric: str = "scalar"

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        name = self.family
        check_padding(self.padding, ("zero",))
        if self.atoms < 1 or not 1 <= self.stride <= self.size <= 64:
            raise UsageError(
                f"{name}: atoms={self.atoms!r}, size={self.size!r}, stride={self.stride!r}; expected at least one atom "
                "of at most 64 x 64 pixels, and a stride of at most its size, because the atoms have to cover an image."
            )
        if self.shifts < 0 or (self.shifts and self.stride % self.shifts):
            raise UsageError(
                f"{name}: shifts={self.shifts!r} for stride={self.stride!r}; expected 0, or a divisor of the stride, "
                "so that the lattices lie evenly."
            )
        if self.levels < 1 or (self.levels > 1) != (self.noise_range[0] < self.noise_range[1]):
            raise UsageError(
                f"{name}: levels={self.levels!r} for noise_range={self.noise_range!r}; expected 1 for a single noise "
                "level, and at least 2 for a range."
            )
        if not self.noise_range[0] > 0:
            raise UsageError(
                f"{name}: noise_range={self.noise_range!r}; expected positive levels, which set its thresholds."
            )
        if not 1 <= self.layers <= _MOST_LAYERS:
            raise UsageError(f"{name}: layers={self.layers!r}; expected 1 to {_MOST_LAYERS} sparse codings.")
        if self.metric not in METRICS:
            raise UsageError(f"{name}: metric={self.metric!r}; expected {' or '.join(map(repr, METRICS))}.")
        if self.steps < 0 or (not self.steps and (not self.tied or self.metric != "scalar")):
            raise UsageError(
                f"{name}: steps={self.steps!r} with tied={self.tied!r} and metric={self.metric!r}; expected a number "
                "of steps, because a code that is solved for has one dictionary and is the same in every metric."
            )
        if self.metric == "diagonal" and not self.tied:
            raise UsageError(
                f"{name}: metric='diagonal' with tied=False; expected tied=True, because steps with three dictionaries "
                "are a proximal iteration in no metric."
            )


class Dictionary(Derived):
    """Atoms, in direction and norm, and their thresholds.

    Args:
        config: The architecture.
    """

    def __init__(self, config: ConvolutionalSparseCodingConfig) -> None:
        super().__init__()
        self.config = config
        self.bounds: dict[torch.dtype, dict[str, Proved]] = {}  # of frozen atoms
        shape = (config.atoms, config.channels, config.size, config.size)
        self.atoms = drawn(shape, partial(cosines, *shape))
        self.log_gain = nn.Parameter(torch.full((config.atoms,), math.log(_GAIN)))
        self.log_threshold = nn.Parameter(torch.full((config.levels, config.atoms), math.log(_THRESHOLD)))
        if not self.log_threshold.is_meta:
            with torch.no_grad():
                self.log_threshold[:, 0] = math.log(_FREE)

    def derive(self) -> tuple[Tensor, ...]:
        norms = self.atoms.square().sum((1, 2, 3), keepdim=True).sqrt()
        return (self.atoms * (self.log_gain.exp().view(-1, 1, 1, 1) / norms.clamp(min=_TINY)),)

    def code(self, noise_level: NoiseLevel) -> SparseCode:
        """The sparse coding at a noise level."""
        (atoms,) = self.derived()
        low, high = self.config.noise_range
        levels = self.config.levels
        if levels == 1:
            level = torch.full((1, 1), low).to(self.log_gain)
            log_threshold: Tensor = self.log_threshold
        else:
            level = torch.as_tensor(noise_level).to(self.log_gain).reshape(-1, 1)
            place = ((level.log() - math.log(low)) * ((levels - 1) / math.log(high / low))).clamp(0, levels - 1)
            hats = (1 - (place - torch.arange(levels).to(place)).abs()).clamp(min=0)
            log_threshold = hats @ self.log_threshold
        threshold: Tensor = level * (self.log_gain + log_threshold).exp()
        stride = self.config.stride
        along = range(0, stride, stride // (self.config.shifts or stride))
        offsets = tuple((down, right) for down in along for right in along)
        bounds = self.bounds.setdefault(atoms.dtype, {}) if self.is_frozen else {}
        return SparseCode(atoms, threshold[..., None, None], stride, level, offsets, bounds)

    def freeze(self) -> None:
        """See :meth:`Derived.freeze`."""
        super().freeze()
        self.bounds = {}


class ConvolutionalSparseCoding(Network):
    """``J(y) = D a(y)`` with a(y) the sparse code of y, the mean over the shifts of the lattice.

    *Solved for* (``steps = 0``), J is a proximity operator for all weights. The infimal postcomposition of g by D_s,
    ``h_s(x) = min {g(a) : D_s a = x}``, is convex, as the marginal of a jointly convex function, and lower
    semicontinuous with the minimum attained, because g is strongly convex, so coercive (Bauschke, Combettes 2017,
    Corollary 15.28 and Proposition 12.36). Minimising ``1/2 ||y - x||^2 + h_s(x)`` over x is minimising P over a, so
    ``D_s a(y) = prox of h_s at y``: firmly nonexpansive (Moreau 1965). The mean over s of proximity operators is
    the proximity operator of the proximal average of the h_s (Bauschke, Goebel, Lucet, Wang 2008). *A truncated
    iteration is not*: nothing but the minimiser has this property.

    By Moreau's decomposition ``D_s a(y) = y - u``, where ``u = prox of R at y`` solves the dual: that is how it is
    computed. The bound of its error is that of :mod:`.sparse_error`; the mean over s has at most the mean error.

    Since h* = R is ||D||^2-smooth, h is 1/||D||^2-strongly convex, which gives every problem with it a solution.

    *Several layers* T = J_m .. J_1 are m/(m + 1)-averaged (Combettes, Pesquet 2020), and no resolvent. With the share
    r = (m + 1) / (2 m), ``(1 - r) Id + r T = (Id + N) / 2`` with N nonexpansive is firmly nonexpansive; that is J then,
    in training too. It is the gradient of no energy.

    *A number of steps* from a = 0: tied, ``a+ = prox of g in the metric Q^-1 (a + Q D^T (y - D a))``, Q = diag(q) with
    one q for each atom. Where ``||D Q^(1/2)|| <= 1``, Q^-1 - D^T D is positive, P does not increase, and with more
    steps a tends to the code (Combettes, Vu 2014; Tang, Chouzenoux, Pesquet, Krim 2022, whose recurrent network this
    is); the bound of that norm divides q. Not tied, ``a+ = S_t(a + B (y - A a))`` and J = C a, with t
    a free number for each atom (Simon, Elad 2019).
    """

    config: ConvolutionalSparseCodingConfig

    def __init__(self, config: ConvolutionalSparseCodingConfig, solver: InnerSolver = DEFAULT) -> None:
        super().__init__()
        config.check()
        self.config, self.solver = config, solver
        dictionaries = [Dictionary(config) for _ in range(config.layers)]
        self.dictionaries = nn.ModuleList(dictionaries)
        self.log_metric = nn.ParameterList()
        if config.metric == "diagonal":
            self.log_metric.extend(nn.Parameter(torch.zeros(config.atoms)) for _ in self.dictionaries)
        self.analysis, self.decoder = nn.ParameterList(), nn.ParameterList()
        if not config.tied:
            shape = (config.atoms, config.channels, config.size, config.size)
            for dictionary in dictionaries:
                self.analysis.append(drawn(shape, partial(_of_ista, dictionary)))
                self.decoder.append(drawn(shape, partial(_of, dictionary)))
                if not dictionary.log_threshold.is_meta:
                    with torch.no_grad():  # of a step, as a + B (y - A a) is in the units of the code
                        dictionary.log_threshold.sub_(2 * _log_norm(dictionary))

    @property
    def conditioned(self) -> bool:
        """Whether the network wants to be told the noise level."""
        return self.config.levels > 1

    @property
    def iterates(self) -> bool:
        """See :attr:`Network.iterates`."""
        return not self.config.steps

    def _dictionary(self, layer: int) -> Dictionary:
        found = self.dictionaries[layer]
        assert isinstance(found, Dictionary)  # noqa: S101  the constructor sees to it
        return found

    def codes(self, noise_level: NoiseLevel = None) -> list[SparseCode]:
        """The sparse coding of each layer at a noise level."""
        return [self._dictionary(layer).code(noise_level) for layer in range(self.config.layers)]

    @property
    def share(self) -> float:
        """r: what of the layers' result is taken."""
        layers = self.config.layers
        return 1.0 if self.config.steps else (layers + 1) / (2 * layers)

    @torch.no_grad()
    def coefficients(self, x: Tensor, noise_level: NoiseLevel = None) -> list[Tensor]:
        """The sparse codes of images, one a layer, ``(shifts * images, atoms, rows, columns)``, shift by shift."""
        self.check_input(x, noise_level)
        found: list[Tensor] = []
        for layer, code in enumerate(self.codes(noise_level)):
            if self.config.steps:
                found.append(self._coded(code, layer, x))
                x = self._decoded(code, layer, found[-1], x)
            else:
                coded = _coded(code, x, self.solver, 1.0)
                found.append(coded.codes)
                x = (x.double() - code.mean(coded.u)).to(x.dtype)
        return found

    def forward(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        self.check_input(x, noise_level)
        if not x.numel():  # torch cannot make squares of pixels into channels of nothing
            return x.clone()
        found = x
        for layer, code in enumerate(self.codes(noise_level)):
            if self.config.steps:
                found = self._decoded(code, layer, self._coded(code, layer, found), found)
            else:
                found = denoised(code, found, self.solver, self._accuracy_share(noise_level))
        return found if self.share == 1 else torch.lerp(x, found, self.share)

    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        return 2 * self.forward(x, noise_level) - x

    def lipschitz_Q(self, noise_level: NoiseLevel = None) -> Constant:
        layers = self.config.layers
        if self.config.steps:
            return Assumed(1.0, f"{self.config.steps} steps of an iteration are not firmly nonexpansive by themselves")
        if layers == 1:
            return Proved(1.0, "a mean of proximity operators of convex functions, whatever the weights (Moreau 1965)")
        return Proved(
            1.0,
            f"{layers} layers of proximity operators are {layers}/{layers + 1}-averaged, no resolvent; with the share "
            f"{layers + 1}/{2 * layers} of them that is taken the map is firmly nonexpansive, whatever the weights "
            "(Combettes, Pesquet 2020)",
        )

    def derivative(self, x: Tensor, noise_level: NoiseLevel = None) -> Derivative:
        """Q'(x); of a sparse code that is solved for by linear solves, to the accuracy of the solver."""
        if self.config.steps:
            return super().derivative(x, noise_level)
        self.check_input(x, noise_level)
        layers: list[Map] = []
        with torch.no_grad():
            for code in self.codes(noise_level):
                u = _coded(code, x, self.solver, 1.0).u
                layers.append(partial(_along, code, u.to(x.dtype), self.solver.adjoint_accuracy))
                x = (x.double() - code.mean(u)).to(x.dtype)

        def through(order: list[Map], v: Tensor) -> Tensor:
            moved = v
            for layer in order:
                moved = layer(moved)
            return 2 * torch.lerp(v, moved, self.share) - v

        return Derivative(partial(through, layers), partial(through, layers[::-1]))

    def check_input(self, x: Tensor, noise_level: NoiseLevel) -> None:
        """See :meth:`Network.check_input`; the noise level must be positive besides."""
        super().check_input(x, noise_level)
        if isinstance(noise_level, int | float) and not (noise_level > 0 and math.isfinite(noise_level)):
            raise UsageError(f"{self.config.family}: noise_level={noise_level!r}; expected a positive finite number.")

    def metric(self, layer: int = 0) -> Tensor:
        """q of tied steps, ``(m, 1, 1)``: positive, with ||D Q^(1/2)|| <= 1 up to rounding."""
        dictionary = self._dictionary(layer)
        free: Tensor = torch.zeros_like(dictionary.log_gain) if not len(self.log_metric) else self.log_metric[layer]
        norm = peak_norm(self._scaled(layer, (free / 2).exp()), _GRID)
        q: Tensor = free.exp() * ((1 - MARGIN) / norm.square().clamp(min=_TINY))
        return q[:, None, None]

    def metric_norm(self, layer: int = 0) -> Proved:
        """A bound of ``||D Q^(1/2)||``; at most 1 makes steps a proximal iteration in a metric."""
        twin = self.frozen()
        return convolution_norm(twin._scaled(layer, twin.metric(layer).flatten().sqrt()), grid=_GRID)

    def _scaled(self, layer: int, factor: Tensor) -> Tensor:
        """The dictionary with a factor for each atom, as a filter of squares of pixels."""
        return factor[:, None, None, None] * self._dictionary(layer).code(self.config.noise_range[0]).kernel

    def stepped(self, code: SparseCode, y: Tensor, steps: int, layer: int = 0) -> Tensor:
        """The code after a number of tied steps, ``(shifts * images, m, rows, columns)``."""
        q = self.metric(layer)
        squares = code.embedded(code.repeated(y))
        inside = code.embedded(torch.ones_like(y[:1]).repeat(code.shifts, 1, 1, 1))
        codes = code.shrunk(q * code.analysed(squares), q) / (1 + q)
        for _ in range(steps - 1):
            left = squares - _inside(inside, code.synthesised(codes), code)
            codes = code.shrunk(codes + q * code.analysed(left), q) / (1 + q)
        return codes

    def _coded(self, code: SparseCode, layer: int, y: Tensor) -> Tensor:
        if self.config.tied:
            return self.stepped(code, y, self.config.steps, layer)
        return _untied(code, y, self.config.steps, self.analysis[layer])

    def _decoded(self, code: SparseCode, layer: int, codes: Tensor, like: Tensor) -> Tensor:
        size = (like.shape[-2], like.shape[-1])
        if self.config.tied:
            return code.mean(code.image_of(codes, size))
        image = functional.conv_transpose2d(codes, code.kernel_of(self.decoder[layer]))
        return code.mean(code.extracted(image, size))

    def _accuracy_share(self, noise_level: NoiseLevel) -> Tensor | float:
        """Of the accuracy that is asked for: in training finer where there is less noise that could hide an error."""
        if not (self.training and self.conditioned):
            return 1.0
        level = torch.as_tensor(noise_level).to(self._dictionary(0).log_gain).reshape(-1)
        return level / self.config.noise_range[1]


def denoised(code: SparseCode, y: Tensor, solver: InnerSolver, share: Tensor | float = 1.0) -> Tensor:
    """``D a(y)``, the mean over the shifts; differentiable as :func:`.ridge_prox.prox`.

    Its error is at most the mean over the shifts of bounds that count every rounding but that of the result.

    Args:
        code: The sparse coding.
        y: Images.
        solver: How far to go.
        share: What the accuracy is multiplied by, one for all images or one each.

    Raises:
        GuaranteeError: The budget is spent before the accuracy is reached.
    """
    recorded = torch.is_grad_enabled() and (y.requires_grad or code.atoms.requires_grad or code.threshold.requires_grad)
    if solver.steps is not None:
        return y - code.mean(prox(code, code.repeated(y), solver, start=_start(code, code.repeated(y))))
    if recorded:
        u = _coded(code, y, solver, share).u
        image = code.mean(attached(code, code.repeated(y), u.to(y.dtype), solver))
        found = y - image
        return found + ((y.double() - code.mean(u)).to(y.dtype) - found).detach()
    parts = code.each() if y.numel() >= _LARGE else [code]
    total = sum((part.mean(_coded(part, y, solver, share).u) for part in parts), start=torch.zeros_like(y).double())
    return (y.double() - total / len(parts)).to(y.dtype)


def _start(code: SparseCode, repeated: Tensor) -> Tensor:
    start = code.preconditioner(repeated)(repeated.detach())
    return torch.where(start.isfinite().flatten(1).all(1).view(-1, 1, 1, 1), start, repeated)


@torch.no_grad()
def _coded(code: SparseCode, y: Tensor, solver: InnerSolver, share: Tensor | float) -> Coded:
    """The codes of each shift and image, to the accuracy of the solver.

    By the descent where that is the faster way, and by the dual method where it is not, or does not arrive. The dual
    method runs in double precision where single precision is not expected to arrive.

    Raises:
        GuaranteeError: The budget is spent before the accuracy is reached.
    """
    code = code.detached()
    repeated, sizes = code.repeated(y), torch.linalg.vector_norm(y.double().flatten(1), dim=1)
    shares = share.repeat(code.shifts) if isinstance(share, Tensor) and share.numel() > 1 else share
    means = 4 * gamma(code.stride**2 + 3)  # of adding up the shifts, in double precision
    goal = (shares * solver.accuracy - means) * sizes.repeat(code.shifts)
    start = None
    if is_worth_it(code, y):
        coded, reached = descend(code, repeated, goal, solver.max_steps)
        if bool(reached.all()):
            return coded
        start = coded.u.to(y.dtype) if bool(coded.u.isfinite().all()) else None
    if y.dtype is torch.float32 and solver.accuracy < _FINE:
        least = solver.accuracy * (float(share.min()) if isinstance(share, Tensor) else share)
        if 2 * rounding_floor(code, y.dtype) > least:
            code, repeated = code.to(torch.float64), repeated.double()
    start = _start(code, repeated) if start is None else start.to(repeated)
    u = prox(code, repeated, replace(solver, proved=True), shares * max(1 - means / solver.accuracy, 0.0), start)
    return Coded(code.codes(u).to(y.dtype), u.double(), goal)


def _along(code: SparseCode, u: Tensor, accuracy: float, v: Tensor) -> Tensor:
    """The derivative of the denoiser where the dual solutions are u: symmetric."""
    return v - code.mean(solve_curved(code, u, code.repeated(v), accuracy))


def _untied(code: SparseCode, y: Tensor, steps: int, analysis: Tensor) -> Tensor:
    """The code after steps ``a+ = S_t(a + B (y - A a))`` from 0."""
    squares = code.embedded(code.repeated(y))
    inside = code.embedded(torch.ones_like(y[:1]).repeat(code.shifts, 1, 1, 1))
    by = code.kernel_of(analysis)
    codes = code.shrunk(functional.conv2d(squares, by), 1.0)
    for _ in range(steps - 1):
        left = squares - _inside(inside, code.synthesised(codes), code)
        codes = code.shrunk(codes + functional.conv2d(left, by), 1.0)
    return codes


def _inside(inside: Tensor, squares: Tensor, code: SparseCode) -> Tensor:
    """What synthesis puts inside of the images."""
    each = squares.reshape(code.shifts, len(squares) // code.shifts, *squares.shape[1:])
    return (each * inside.unsqueeze(1)).flatten(0, 1)


def _of(dictionary: Dictionary) -> Tensor:
    return dictionary.derive()[0].detach()


def _of_ista(dictionary: Dictionary) -> Tensor:
    """``D / ||D||^2``: the analysis with which untied steps begin as ISTA."""
    return _of(dictionary) * math.exp(-2 * _log_norm(dictionary))


def _log_norm(dictionary: Dictionary) -> float:
    code = dictionary.code(dictionary.config.noise_range[0])
    return math.log(float(peak_norm(code.kernel.detach(), _GRID)))


def cosines(atoms: int, channels: int, height: int, width: int, disturbed: float = _DISTURBED) -> Tensor:
    """The products of cosines of the lowest frequencies, a little disturbed, and noise where there are more atoms."""
    rows = torch.arange(height) + 0.5
    waves = torch.cos(math.pi * torch.outer(torch.arange(height, dtype=rows.dtype), rows) / height)
    order = sorted((i + j, i, j) for i in range(height) for j in range(width))[:atoms]
    planes = torch.stack([torch.outer(waves[i], waves[j]) for _, i, j in order])
    planes = planes / planes.square().sum((1, 2), keepdim=True).sqrt()
    products = planes[:, None].expand(-1, channels, -1, -1) / math.sqrt(channels)
    noise = torch.randn(atoms, channels, height, width) / math.sqrt(channels * height * width)
    found = noise.clone()
    found[: len(products)] = products + disturbed * noise[: len(products)]
    found[0] = products[0]
    return found
