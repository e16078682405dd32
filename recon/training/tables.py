"""The tables of the configuration of a training, each a frozen value with defaults that checks itself."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from recon._suggest import suggestion
from recon.errors import UsageError
from recon.training.artefacts import KINDS, RECONSTRUCTIONS

SCALES = ("file", "robust", "attenuation")
MODES = ("denoise", "equilibrium", "single", "unrolled")
LOSSES = ("mse", "l1", "sure", "r2r", "noise2noise", "splitting")
WITHOUT_CLEAN = ("sure", "r2r", "noise2noise", "splitting")
TRANSFORMS = ("", "turns", "shifts", "rotations", "scales")
SCHEDULES = ("cosine", "step", "constant")
PRECISIONS = ("single", "bfloat16")

WAYS = 8
"""The number of ways to turn and flip a square."""


@final
@dataclass(frozen=True)
class DataConfig:
    """The images of a training and their scale.

    Attributes:
        patch: Height and width of the patches, in pixels.
        memory_mb: Memory of all images together, in MB; where it does not suffice, as many are kept as fit, in random
            order.
        augment: Whether patches are flipped and turned, all eight ways.
        scale: The grey values that become [0, 1]: ``"file"`` (integer range; -1024 to 3071 HU for CT; MR by its
            percentiles 0.1 and 99.9, image by image), ``"robust"`` (those percentiles for every image), or
            ``"attenuation"`` (CT only).
        range: The ends of [0, 1] instead: in the file's units (a window in HU), or with ``"attenuation"`` in 1/mm.
            Two equal numbers: none.
        clip: Whether values beyond [0, 1] are cut off, as a window does.
        water: For ``"attenuation"``: the attenuation of water in 1/mm.
        grey: Whether colour images become grey ones for a network of one channel.
        skip_damaged: Whether files that cannot be read are skipped with a remark, instead of refused.
        shrink: Pixels along each axis that are averaged to one: images of 512 x 512 with noise of their own, as CT
            slices have, become cleaner ones of 256 x 256 with 2.
        rotation: The largest angle in degrees by which patches are rotated at random, either way, besides ``augment``.
        zoom: The largest factor by which what is in them is enlarged or reduced at random, 1 to 4. With it or with
            ``rotation`` images are kept as fine as the files are, and ``shrink`` applies to patches.
    """

    patch: int = 48
    memory_mb: int = 2048
    augment: bool = True
    scale: str = "file"
    range: tuple[float, float] = (0.0, 0.0)
    clip: bool = False
    water: float = 0.02
    grey: bool = True
    skip_damaged: bool = False
    shrink: int = 1
    rotation: float = 0.0
    zoom: float = 1.0

    @property
    def warps(self) -> bool:
        """Whether patches are rotated or scaled."""
        return self.rotation > 0 or self.zoom > 1

    @property
    def stated_warp(self) -> str:
        """Both, as errors name them."""
        return f"data.rotation = {self.rotation:g} and zoom = {self.zoom:g}"

    def check(self) -> None:
        """Refuse values outside their ranges.

        Raises:
            UsageError: In one sentence.
        """
        _at_least("data", self, patch=4, memory_mb=1, shrink=1)
        if not (0 <= self.rotation <= 180 and 1 <= self.zoom <= 4):
            raise UsageError(
                f"data.rotation = {self.rotation!r} and zoom = {self.zoom!r}; expected an angle of 0 to 180 degrees "
                "and a factor of 1 to 4."
            )
        _one_of("data.scale", self.scale, SCALES)
        low, high = self.range
        if low > high:
            raise UsageError(f"data.range = {list(self.range)!r}; expected two numbers, the lower one first.")
        if self.scale == "attenuation" and not (low < high and self.water > 0):
            raise UsageError(
                f"data.scale = 'attenuation' with range = {list(self.range)!r} and water = {self.water!r}; expected "
                "the attenuations in 1/mm that become 0 and 1, and a positive one of water."
            )


@final
@dataclass(frozen=True)
class TrainingConfig:
    """The optimisation: Adam, without weight decay.

    Attributes:
        mode: ``"denoise"``, or ``"equilibrium"``: the loss compares the reconstruction from a blurred and noisy
            measurement with the clean patch, as :class:`EquilibriumConfig` says; ``noise`` is then that of the
            measurement. ``"single"`` compares J of a pseudo-inverse of the measurement instead. With a loss that needs
            no clean images the data of both are measurements, as :class:`MeasurementsConfig` says. ``"unrolled"``: as
            ``"equilibrium"``, with the operator and the few learned steps of
            :class:`recon.training.unrolled_config.UnrolledTrainingConfig`.
        start: ``model:NAME`` or a folder: a network of the same architecture, whose weights the training begins with.
        teacher: ``model:NAME`` or a folder: a network whose outputs are compared with in place of the clean patches.
        echo: Steps that one batch serves, each time flipped or turned another way, where a teacher takes longer over it
            than the student (data echoing; Choi, Passos, Shallue, Dahl 2019).
        noise: The lowest and the highest standard deviation on the scale of the images; left out, those of the
            network. Levels between are equally likely in their logarithm.
        loss: ``"mse"`` or ``"l1"`` for clean images; for images that are noisy themselves ``"sure"`` and ``"r2r"``,
            with ``noise`` the level in the files, ``"noise2noise"`` for files of several frames of one scene, or
            ``"splitting"``: an image is split into two of half the size, and one compared with what is found from the
            other, for noise of any level that is independent from pixel to pixel.
        batch: Patches per step.
        steps: Number of steps.
        seed: Seed of all random numbers.
        learning_rate: The highest learning rate.
        schedule: The learning rate over the steps: ``"cosine"`` falls to ``final``, ``"step"`` divides by ten at one
            half and at three quarters.
        warmup: Steps in which the rate rises to its highest.
        final: The last rate of ``"cosine"``, relative to the highest.
        ema: The decay of the running average of the weights that is kept as the network; 0: the weights themselves.
            With a penalty at most 0.99: the mean of networks that keep a constraint need not keep it (weights with
            ||Q'|| 1.02 had an average of 0.999 with 1.32).
        clip: The largest norm of a gradient; 0: any.
        precision: ``"bfloat16"`` for the forward pass of a DnCNN; all that constrains a network runs in single.
        inner_steps: Of a proximity operator: unrolled steps; 0: iterate to ``inner_accuracy``, with implicit gradients.
        inner_accuracy: The bound of the error of J(y) relative to ||y|| while training, at the highest noise level;
            at a lower one it is finer in proportion. A coarse one biases the gradient: where a training with 0.02 had
            converged, the mean gradient over patches was four to ten times as large with 0.0002, and the same with
            0.002.
        balance: The exponent p: the loss of a patch at level s is divided by (s / highest)^p. The squared error of a
            good denoiser grows with about s^1.3, so that with 0 the highest levels alone decide; 1.3 makes all count
            alike.
    """

    mode: str = "denoise"
    start: str = ""
    teacher: str = ""
    echo: int = 1
    noise: tuple[float, float] = (0.0, 0.0)
    loss: str = "mse"
    batch: int = 16
    steps: int = 10000
    seed: int = 0
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 0
    final: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    precision: str = "single"
    inner_steps: int = 0
    inner_accuracy: float = 0.003
    balance: float = 0.0

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        low, high = self.noise
        if not 0 < low <= high:
            raise UsageError(
                f"training.noise = {list(self.noise)!r}; expected positive standard deviations, the lower one first, "
                "there or as the network's noise_range."
            )
        _one_of("training.mode", self.mode, MODES)
        _one_of("training.loss", self.loss, LOSSES)
        _one_of("training.schedule", self.schedule, SCHEDULES)
        _one_of("training.precision", self.precision, PRECISIONS)
        _at_least("training", self, batch=1, steps=1, seed=0, warmup=0, final=0, ema=0, clip=0, inner_steps=0)
        _at_least("training", self, balance=0)
        _below_one("training", self, "ema", "inner_accuracy")
        if not (self.learning_rate > 0 and self.inner_accuracy > 0):
            raise UsageError(
                f"training.learning_rate = {self.learning_rate!r}, inner_accuracy = {self.inner_accuracy!r}; expected "
                "positive numbers."
            )
        if self.teacher and (self.mode != "denoise" or self.loss not in ("mse", "l1")):
            raise UsageError(
                f"training.teacher = {self.teacher!r} with mode = {self.mode!r} and loss = {self.loss!r}; expected "
                "'denoise' with 'mse' or 'l1', because a teacher denoises and is what the loss compares with."
            )
        if not 1 <= self.echo <= WAYS or (self.echo > 1 and not self.teacher):
            raise UsageError(
                f"training.echo = {self.echo!r} with teacher = {self.teacher!r}; expected 1 to {WAYS}, the "
                "ways to turn a patch, and 1 without a teacher, because clean patches cost nothing to draw."
            )
        if self.loss in ("sure", "r2r") and low != high:
            raise UsageError(
                f"training.loss = {self.loss!r} with noise = {list(self.noise)!r}; expected one level, that of the "
                "noise in the files."
            )


@final
@dataclass(frozen=True)
class EquilibriumConfig:
    """The reconstruction that ``training.mode = "equilibrium"`` goes through; see :mod:`recon.training.equilibrium`.

    ``"single"`` takes the operator from here, and applies J once to a pseudo-inverse: to filtered back-projection with
    a Hann window for ``ct``, else to the image of least ``||A x - y||^2 + s^2 ||x||^2``, with s the noise level.

    Attributes:
        blur: The standard deviation of a Gaussian kernel in pixels.
        kernel: A file with a kernel instead, which is divided by its sum.
        operator: Any operator of real images instead, as ``--operator`` takes it: ``blur:...``, ``inpaint:...``,
            ``ct:...``, ``python:FILE.py:CALLABLE``. It must take images of ``data.patch`` pixels.
        stepsize: gamma, below 2/||A||^2 (2 for a kernel without negative entries): the weight of the data beside J. 0:
            1/||A||^2.
        accuracy: The norm of ``T(w) - w`` relative to that of the measurement, for each patch.
        adjoint_accuracy: Likewise of the adjoint equation, relative to the gradient that comes in.
        max_steps: The budget of either; a step is one evaluation of J, or one product with its derivative.
    """

    blur: float = 1.6
    kernel: str = ""
    operator: str = ""
    stepsize: float = 1.0
    accuracy: float = 1e-4
    adjoint_accuracy: float = 1e-2
    max_steps: int = 500

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        _at_least("equilibrium", self, accuracy=1e-4, adjoint_accuracy=1e-4, max_steps=1)
        _below_one("equilibrium", self, "accuracy", "adjoint_accuracy")
        if self.kernel and self.operator:
            raise UsageError(
                f"equilibrium.kernel = {self.kernel!r} and operator = {self.operator!r}; expected one of them, because "
                "either says what is undone."
            )
        if not (0 < self.blur <= 100 and self.stepsize >= 0):
            raise UsageError(
                f"equilibrium.blur = {self.blur!r}, stepsize = {self.stepsize!r}; expected positive numbers, the first "
                "at most 100 pixels, or a step of 0 for 1/||A||^2."
            )


@final
@dataclass(frozen=True)
class MeasurementsConfig:
    """How measurements alone train a network, by a loss that needs no clean images, in mode equilibrium or single.

    The data are then whole measurements of ``equilibrium.operator``, which ``data.patch`` and ``data.augment`` do not
    cut or turn. ``"splitting"`` compares a reconstruction from a part of each measurement with the rest of it: of a
    scan every n-th view is left out, of others one of n pixels at random. The residuals of a scan are weighed by the
    ramp filter, by which their squares become squared errors of the image.

    Attributes:
        parts: n.
        equivariance: The weight of the equivariant loss ``||R(A T x + e) - T x||^2`` (Chen, Tachella, Davies 2021), for
            x = R(y) the reconstruction, T a transformation and e noise: it tells what A does not see, where images
            that are moved are images as likely.
        transform: T: ``"turns"``, with reflections, ``"shifts"``, ``"rotations"`` or ``"scales"``. A must not commute
            with T. Left out: rotations for ``ct``, shifts for ``inpaint``, else scales.
    """

    parts: int = 4
    equivariance: float = 0.0
    transform: str = ""

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        _at_least("measurements", self, parts=2, equivariance=0)
        _one_of("measurements.transform", self.transform, TRANSFORMS)


@final
@dataclass(frozen=True)
class GuideConfig:
    """The guides of the training of a GuidedRidge network, which should look like those that it will meet.

    A guide is the noisy patch denoised with the unguided potential, as it is at the moment; through it no gradient
    flows.

    Attributes:
        other: The share of patches whose guide is denoised from another draw of noise, of any level of the training.
        perturbation: Uniform noise of -p to p that is added to the guides, on the scale of the images.
        potential_rate: The learning rate of the potential relative to that of the mask; 0: the potential stays.
    """

    other: float = 0.25
    perturbation: float = 2 / 255
    potential_rate: float = 0.0

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        _at_least("guide", self, other=0, perturbation=0, potential_rate=0)
        if self.other > 1:
            raise UsageError(f"guide.other = {self.other!r}; expected a share, at most 1.")
        if not (self.perturbation < 1 and self.potential_rate <= 1):
            raise UsageError(
                f"guide.perturbation = {self.perturbation!r}, potential_rate = {self.potential_rate!r}; expected less "
                "than the range of the images, 1, and at most the rate of the mask, 1."
            )


@final
@dataclass(frozen=True)
class PenaltyConfig:
    """The penalty of ``||Q'||`` above a target, at points between the clean patch and the network's own output.

    The loss gains ``weight max(||Q'||^2 - target^2, 0)`` of the worst patch of the batch.

    Attributes:
        weight: The weight of the penalty; 0: none.
        target: The bound of ||Q'||, at most 1; well below 1 the prior is trained towards strong monotonicity, (1 -
            q)/(1 + q) for Lip(Q) <= q; with ``coarse`` on the details only, as Q keeps the rest.
        start: The step at which the penalty begins, after pretraining.
        ramp: Steps from there in which the weight rises, geometrically, from a hundredth to its full value: the whole
            weight at once would undo what the network has learnt.
        applications: Steps of Golub and Kahan, one pass forward and, but for the last, one back; they begin with the
            vectors of the last batch.
        samples: Patches of the batch to which the penalty applies; 0: all.
        wild: The probability that a patch is mixed with a constant, an edge or noise, half of the time replaced by it:
            a search for violations begins there too, and the images of a folder never lead there.
        hunt: Steps for which the first of the points is moved, one step of gradient ascent of a secant of Q each, to
            where the network expands most, which is where a search for violations goes; then another one is taken.
            0: no point is moved.
        orthogonality: The weight of another penalty, of the sum of L_orth over the convolutions of the network as they
            are applied (:mod:`recon.operators.orthogonal_convolution`), from the first step on: near 0 they keep the
            norm of what they are given. For a DnCNN and a Lipschitz network; 0: none.
    """

    weight: float = 0.0
    target: float = 0.95
    start: int = 0
    ramp: int = 0
    applications: int = 6
    samples: int = 0
    wild: float = 0.0
    hunt: int = 0
    orthogonality: float = 0.0

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        _at_least("penalty", self, weight=0, start=0, ramp=0, applications=1, samples=0, wild=0, hunt=0)
        _at_least("penalty", self, orthogonality=0)
        if self.wild > 1:
            raise UsageError(f"penalty.wild = {self.wild!r}; expected a share, at most 1.")
        if not 0 < self.target <= 1:
            raise UsageError(
                f"penalty.target = {self.target!r}; expected more than 0 and at most 1, because above 1 (Id + Q)/2 is "
                "no resolvent."
            )


@final
@dataclass(frozen=True)
class ValidationConfig:
    """The validation while the training runs.

    Attributes:
        clean: Whether the images are clean though the loss needs none: noise of the training is added, and there is a
            PSNR. Else such a training is judged by its loss on them.
        every: Steps between two validations; each also writes the checkpoint, the network, the log and the figures.
        images: Largest number of images, the first of the folder.
        crop: Largest height and width of the part that is taken from their middle.
        noise: Noise levels; left out, the lowest, the middle and the highest of the training.
        patience: Validations without a better one after which the training ends; the folder then keeps the network of
            the best. 0: all steps are taken, and the last network is kept.
    """

    every: int = 500
    images: int = 12
    crop: int = 160
    noise: tuple[float, ...] = ()
    patience: int = 0
    clean: bool = False

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        _at_least("validation", self, every=1, images=1, crop=4, patience=0)
        if not all(level > 0 for level in self.noise):
            raise UsageError(f"validation.noise = {list(self.noise)!r}; expected positive standard deviations.")


@final
@dataclass(frozen=True)
class ArtefactConfig:
    """The artefacts that a Critic is trained to tell from none, and the loss that does it.

    A patch x is compared with itself with an artefact, x': the loss is ``s(x) - s(x')``, the Kantorovich-Rubinstein
    term, and ``weight`` times the hinge terms ``(m + s(x))_+ + (m - s(x'))_+`` (Serrurier et al. 2021).

    Attributes:
        kinds: ``"streaks"``, ``"rings"``, ``"paste"`` (a rectangle of another image), ``"noise"`` (of the deviations
            ``training.noise``), ``"blur"``, ``"ripples"`` (the ringing of a restoration with a kernel that is too
            wide), ``"stripes"`` (offsets of rows or columns) and ``"reconstructions"`` (the images of ``--artefacts``,
            which are no pairs with those of ``--data``), equally often.
        strength: The least and the most of an amplitude on the scale of the images; its logarithm is uniform. Of a
            patch of another image, the least change, in the root mean square; of ripples the change.
        margin: m, on the scale of the Euclidean norm of the images.
        weight: Of the hinge terms.
    """

    kinds: tuple[str, ...] = ("streaks", "rings", "paste", "noise")
    strength: tuple[float, float] = (0.012, 0.06)
    margin: float = 0.03
    weight: float = 10.0

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        for kind in self.kinds:
            _one_of("artefacts.kinds", kind, (*KINDS, RECONSTRUCTIONS))
        low, high = self.strength
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UsageError(f"artefacts.kinds = {list(self.kinds)!r}; expected at least one, and each once.")
        if not (0 < low <= high and self.margin > 0 and self.weight >= 0):
            raise UsageError(
                f"artefacts.strength = {list(self.strength)!r}, margin = {self.margin!r}, weight = {self.weight!r}; "
                "expected positive amplitudes, the lower one first, a positive margin and a weight of at least 0."
            )


SPARSE = ("", "soft", "hard", "group")


@final
@dataclass(frozen=True)
class SparsityConfig:
    """Proximal steps after those of Adam that make the kernels of a network sparse; see :mod:`recon.training.sparsity`.

    For a DnCNN and for potentials, whose first kernel is left; the means of the objective between validations are in
    the card of the network.

    Attributes:
        kind: ``"soft"``: ``weight`` times the sum of the absolute values is added to the loss; ``"group"``: times the
            sum of the norms of the filters, so that whole ones become 0; ``"hard"``: after each step the largest
            weights of each kernel stay. Empty: no kernel becomes sparse.
        weight: Of the penalty of ``"soft"`` and ``"group"``, relative to the mean squared error.
        share: The share of the weights that ``"hard"`` sets to 0, less than 1.
        start: The step at which it begins.
        ramp: Steps from there in which the share of ``"hard"`` rises to its full value.
    """

    kind: str = ""
    weight: float = 0.0
    share: float = 0.0
    start: int = 0
    ramp: int = 0

    def check(self) -> None:
        """See :meth:`DataConfig.check`."""
        if self.kind:
            _one_of("sparsity.kind", self.kind, SPARSE[1:])
        _at_least("sparsity", self, weight=0, share=0, start=0, ramp=0)
        _below_one("sparsity", self, "share")
        hard, penalised = self.kind == "hard", self.kind in ("soft", "group")
        if (self.share > 0) != hard or (self.weight > 0) != penalised or not self.weight < math.inf:
            raise UsageError(
                f"sparsity.weight = {self.weight!r}, share = {self.share!r} with kind = {self.kind!r}; expected a "
                "share with 'hard', a weight with 'soft' and 'group', and neither without a kind."
            )
        if self.ramp and not hard:
            raise UsageError(f"sparsity.ramp = {self.ramp!r} with kind = {self.kind!r}; expected 0, or kind = 'hard'.")


@final
@dataclass(frozen=True)
class AboutConfig:
    """A description of the network for its card; it has no effect on the training.

    Attributes:
        title: A title of a few words.
        data: The images of training and validation.
        licence: The licence of these images.
        limits: The uses for which the network is not fit.
    """

    title: str = ""
    data: str = ""
    licence: str = ""
    limits: str = ""

    def check(self) -> None:
        """Accept any text."""


def _one_of(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise UsageError(f"{name} = {value!r} is unknown; {suggestion(value, filter(None, known))}.")


def _at_least(table: str, part: object, **least: float) -> None:
    for name, bound in least.items():
        if not getattr(part, name) >= bound:
            raise UsageError(f"{table}.{name} = {getattr(part, name)!r}; expected at least {bound}.")


def _below_one(table: str, part: object, *names: str) -> None:
    for name in names:
        if not getattr(part, name) < 1:
            raise UsageError(f"{table}.{name} = {getattr(part, name)!r}; expected less than 1.")
