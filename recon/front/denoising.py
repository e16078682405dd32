"""A packaged or trained denoiser as a module of torch: batches, any size, NumPy or torch."""

import importlib.util
import math
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from recon.errors import UsageError
from recon.evidence import Assumed
from recon.front.arrays import Pixels, as_tensor, like
from recon.io.atomic import replacing
from recon.priors import Resolvent, ResolventProperties
from recon.priors.networks.architectures.guided_ridge import GUIDE_ACCURACY
from recon.priors.networks.learned_resolvent import LARGEST
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import Spec
from recon.specs.priors import read_prior

_FOLLOWS = Assumed(
    math.inf, "the guide follows the image, and nothing is claimed of such a map; given(guide) holds the guide"
)


_NO_GRADIENT = (
    "the image requires a gradient and the denoised one has none; recon.reconstruct(image, 'identity', "
    "prior='model:NAME', noise=..., differentiable=True) gives it one"
)


class Denoiser(nn.Module):
    """A denoiser at one noise level, firmly nonexpansive unless it is a guided one; build it with :func:`denoiser`.

    A guided one denoises twice: the first result, to a tenth of the accuracy, is the guide of the second.

    It pickles, and so travels to the workers of a ``DataLoader``. ``torch.compile`` takes all of them; those with an
    inner iteration, as the packaged potentials, as a few graphs, because their length depends on the image, for which
    reason ``torch.export`` refuses them. It takes networks of a single pass, once called, with ``strict=True`` and for
    the batch of its example.

    Attributes:
        properties: What is known of it, with evidence.
    """

    def __init__(self, spec: Spec, noise: float) -> None:
        super().__init__()
        context = PriorContext(noise, channels=None, blurs=False)
        chosen = read_prior(spec, context)
        self._resolvent = chosen.prior.resolvent(1.0)
        self._guided = chosen.guided
        self._first = self._resolvent
        if self._guided is not None:
            self._first = read_prior(spec, replace(context, coarser=GUIDE_ACCURACY)).prior.resolvent(1.0)
        self.properties: ResolventProperties = self._resolvent.properties
        if self._guided is not None:
            self.properties = replace(self.properties, lipschitz_Q=_FOLLOWS, proximity=None)
        self.noise = noise

    @torch.no_grad()
    def forward(self, x: Pixels) -> Pixels:
        """Denoise an image on [0, 1].

        Args:
            x: A tensor (batch, channels, height, width) or (channels, height, width), or an array (height, width) or
                (height, width, channels).

        Returns:
            The same kind and shape. It carries no gradient; a warning says so where the image requires one.
        """
        if isinstance(x, Tensor) and x.requires_grad and not torch.compiler.is_compiling():
            warnings.warn(_NO_GRADIENT, stacklevel=2)
            x = x.detach()
        if isinstance(x, Tensor) and x.ndim == 3:
            found: Tensor = self(x[None])
            return found[0]
        images = as_tensor(x, "denoiser")
        if not torch.compiler.is_compiling():
            _refuse_units(images)
        return like(x, self._denoised(images))

    def given(self, guide: Pixels) -> Resolvent:
        """The denoiser with its guide held: a proximity operator, proved to be firmly nonexpansive.

        Args:
            guide: An image as of :meth:`forward`, of the size of the images that are denoised.

        Raises:
            UsageError: The denoiser takes no guide.
        """
        if self._guided is None:
            raise UsageError(
                f"given: {self._resolvent.name} takes no guide; expected a guided denoiser, such as guided-gray."
            )
        return self._guided.given(as_tensor(guide, "denoiser")).resolvent(1.0)

    def _denoised(self, images: Tensor) -> Tensor:
        first: Tensor = self._first(images)
        if self._guided is None or not bool(first.isfinite().all()):
            return first  # of an image that is not finite, as the unguided denoiser returns it
        return self._guided.given(first).resolvent(1.0)(images)

    def extra_repr(self) -> str:
        return f"{self._resolvent.name}, noise={self.noise:g}"

    def to_onnx(self, path: str | Path, channels: int = 1, overwrite: bool = False) -> Path:
        """Write the denoiser as an ONNX graph of images (batch, channels, height, width) of any size.

        Args:
            path: The file to make.
            channels: Of the images.
            overwrite: Whether it may exist.

        Raises:
            UsageError: The denoiser iterates until it is accurate enough, or onnx and onnxscript are not installed.
            OutputError: The file cannot be written.
        """
        if self.properties.error.value > 0:
            raise UsageError(
                "to_onnx: the denoiser iterates until its accuracy is reached, as often as the image needs, which no "
                "fixed graph can; expected a network of a single pass, as recon train makes of 'dncnn', 'lipschitz' "
                "and 'convex_ridge' with one_shot = true."
            )
        if not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxscript")):
            raise UsageError("to_onnx: onnx or onnxscript is not installed; pip install 'recon-imaging[onnx]' does it.")
        free, example = torch.export.Dim.AUTO, torch.zeros(2, channels, 40, 36)
        self(example)  # the weights of this precision are made in the first call, and not traced
        with replacing(path, overwrite=overwrite) as temporary:
            torch.onnx.export(
                self.eval(), (example,), str(temporary), dynamo=True, external_data=False, verbose=False,
                dynamic_shapes=({0: free, 2: free, 3: free},), input_names=["noisy"], output_names=["denoised"],
            )  # fmt: skip
        return Path(path)


def _refuse_units(images: Tensor) -> None:
    largest = float(images.detach().abs().max()) if images.numel() else 0.0
    if largest > LARGEST:
        raise UsageError(
            f"denoiser: the image has values up to {largest:.4g}; expected about [0, 1], for which the network was "
            "trained: divide it by what is white."
        )


def denoiser(name: str, noise: float) -> Denoiser:
    """A packaged denoiser, or one of a folder of ``recon train``.

    Args:
        name: As ``recon models`` lists it, or the name of a folder; also as a prior is stated, ``model:NAME`` or
            ``folder:DIR``.
        noise: The standard deviation of the noise, of images on [0, 1].

    Raises:
        UsageError: There is none of that name, or the noise is no positive number.
    """
    if not isinstance(name, str | Path):
        raise UsageError(f"denoiser: name is a {type(name).__name__}; expected a name, as recon models lists them.")
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 < noise < 1:
        raise UsageError(f"denoiser: noise={noise!r}; expected a number between 0 and 1, of images on [0, 1].")
    kind, _, rest = str(name).partition(":")
    if kind in ("model", "folder") and not Path(name).is_dir():
        return Denoiser(Spec(kind, value=rest), noise)
    return Denoiser(Spec("folder" if Path(name).is_dir() else "model", value=name), noise)
