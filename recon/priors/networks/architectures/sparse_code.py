"""A convolutional dictionary on strided lattices, and the dual of its sparse coding.

A dictionary of atoms d_1..d_m of k x k pixels and a stride q put copies of each atom on the points of a lattice of
spacing q, shifted by s in {0..q-1}^2; atoms that hang over the border are cut off there. ``D_s`` adds up atoms,
``D_s a = sum_ip a_ip d_i(. - p)``. Sparse coding of an image y minimises

    P(a) = 1/2 ||y - D_s a||^2 + g(a),   g(a) = sum_ip t_i |a_ip| + 1/2 a_ip^2,   t_i >= 0.

The second term of g only fixes the units: with ``D = D' / sqrt(mu)`` and ``t = t' / sqrt(mu)`` this is
``1/2 ||y - D' a'||^2 + sum t'_i |a'_ip| + mu/2 ||a'||^2``, the elastic net, so that an atom of large norm has little of
the ridge and the weighted l1 norm is the limit of atoms and thresholds that grow together.

*The dual.* The conjugate of g is ``g*(c) = 1/2 sum (|c_ip| - t_i)_+^2``, whose gradient is soft thresholding S_t. The
dual problem has one number for each pixel, and no constraint:

    maximise  1/2 ||y||^2 - 1/2 ||y - u||^2 - R(u),   R(u) = g*(D_s^T u) = 1/2 sum_ip (|d_ip^T u| - t_i)_+^2,

which u = prox_R(y) solves, and the code is ``a = S_t(D_s^T u)``. R is convex, with ``grad R(u) = D_s S_t(D_s^T u)`` of
Lipschitz constant ``||D_s||^2``.

*The duality gap.* For *every* u, with a = S_t(D_s^T u) the Fenchel-Young inequality ``g(a) + g*(c) >= <a, c>`` is an
equality, and of the gap between P(a) and the dual value at u remains

    gap(u) = 1/2 ||y - D_s a - u||^2 = 1/2 ||grad F(u)||^2,   F(u) = 1/2 ||u - y||^2 + R(u),

without cancellation. P is 1-strongly convex in D_s a and the dual 1-strongly concave in u, so
``||D_s a - x*||^2 + ||u - u*||^2 <= 2 gap(u)``: what an iteration leaves open is computed, not assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from recon.evidence import Proved
from recon.operators.convolution_norms import absolute_norm, convolution_norm
from recon.priors.networks.layers.gram_inverse import gram_inverse
from recon.types import Map

_GRID = 32
"""Frequencies an axis for the bound of ||D||; a kernel on a lattice has few taps."""

_TINY = 1e-12

MEMORY = 5
"""The steps that Anderson's acceleration looks back."""


@final
@dataclass(frozen=True)
class SparseCode:
    """R for every shift of a lattice: a batch of ``shifts * images``, shift by shift.

    Attributes:
        atoms: ``(m, channels, k, k)``.
        threshold: t, ``(images or 1, m, 1, 1)``, at least 0.
        stride: q, at most k.
        level: The noise level, by which the preconditioner guesses which coefficients are not zero.
        offsets: The shifts s, rows and columns, each below q.
        bounds: Norms of D that were computed already, of these atoms.
    """

    atoms: Tensor
    threshold: Tensor
    stride: int
    level: Tensor
    offsets: tuple[tuple[int, int], ...]
    bounds: dict[str, Proved] = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_kinks(self) -> bool:
        """See :class:`.ridge_prox.Potential`."""
        return True

    @property
    def memory(self) -> int:
        """See :class:`.ridge_prox.Potential`."""
        return MEMORY

    @property
    def shifts(self) -> int:
        """The number of shifts."""
        return len(self.offsets)

    @property
    def kernel(self) -> Tensor:
        """The atoms as filters of images whose q x q squares of pixels are channels, ``(m, channels q^2, K, K)``.

        On these the lattice is every pixel, so that D_s^T is a convolution without stride.
        """
        return self.kernel_of(self.atoms)

    def kernel_of(self, atoms: Tensor) -> Tensor:
        """The same of other atoms."""
        more = -atoms.shape[-1] % self.stride
        return functional.pixel_unshuffle(functional.pad(atoms, (0, more, 0, more)), self.stride)

    @property
    def norm(self) -> Proved:
        """An upper bound of ||D_s|| for every shift, and size."""
        if "norm" not in self.bounds:
            self.bounds["norm"] = convolution_norm(self.kernel, grid=_GRID)
        return self.bounds["norm"]

    @property
    def absolute_norm(self) -> Proved:
        """The same of the dictionary with the sizes of its numbers, by which rounding is bounded."""
        if "absolute" not in self.bounds:
            self.bounds["absolute"] = absolute_norm(self.kernel)
        return self.bounds["absolute"]

    @property
    def smoothness(self) -> Tensor:
        """``||D_s||^2``, ``(1, 1, 1, 1)``."""
        return self.atoms.new_full((1, 1, 1, 1), self.norm.value**2)

    def to(self, to: torch.dtype | Tensor) -> "SparseCode":
        """The same in another precision, or on the device and in the precision of a tensor."""
        atoms = self.atoms.to(to)
        known = self.bounds if bool(torch.promote_types(atoms.dtype, self.atoms.dtype) == atoms.dtype) else {}
        return replace(self, atoms=atoms, threshold=self.threshold.to(to), level=self.level.to(to), bounds=known)

    def detached(self) -> "SparseCode":
        """The same without a graph."""
        return replace(self, atoms=self.atoms.detach(), threshold=self.threshold.detach())

    def repeated(self, y: Tensor) -> Tensor:
        """The images once for each shift."""
        return y.repeat(self.shifts, 1, 1, 1)

    def mean(self, each: Tensor) -> Tensor:
        """The mean over the shifts."""
        return _split(each, self.shifts).mean(0)

    def codes(self, u: Tensor) -> Tensor:
        """``S_t(D_s^T u)``, ``(shifts * images, m, rows, columns)``."""
        return self.shrunk(self.analysed(self.embedded(u)), 1.0)

    def gradient(self, u: Tensor) -> Tensor:
        """``grad R(u) = D_s S_t(D_s^T u)``."""
        return self.image_of(self.codes(u), (u.shape[-2], u.shape[-1]))

    def image_of(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """``D_s a`` for each shift and image, at a size."""
        return self.extracted(self.synthesised(codes), size)

    def curvature(self, u: Tensor) -> Map:
        """The Hessian of R at u, ``v -> D_s 1(|D_s^T u| > t) D_s^T v``: symmetric, between 0 and ``||D_s||^2``."""
        size = (u.shape[-2], u.shape[-1])
        is_open = self.codes(u) != 0

        def apply(v: Tensor) -> Tensor:
            return self.extracted(self.synthesised(is_open * self.analysed(self.embedded(v))), size)

        return apply

    def preconditioner(self, like: Tensor) -> Map:
        """``(Id + sum_i w_i d_i d_i^T / q^2)^-1``, with w_i a guess of the share of nonzero coefficients of atom i."""
        with torch.no_grad():
            weight = self.atoms.new_full((1, 1, 1, 1), 1 / self.stride**2)
            return gram_inverse(self.expected_shares().sqrt() * self.atoms, weight, like, circular=False)

    def expected_shares(self) -> Tensor:
        """A guess of the share of nonzero coefficients of each atom, from its threshold alone, ``(m, 1, 1, 1)``."""
        size = self.atoms.square().sum((1, 2, 3), keepdim=True).sqrt()
        ratio = self.threshold.mean(0).unsqueeze(1) / (self.level.mean() * size).clamp(min=_TINY)
        return 1 / (1 + ratio.square())

    def certified(self, y: Tensor, u: Tensor) -> Tensor:
        """See :class:`.ridge_prox.Potential`."""
        from recon.priors.networks.architectures.sparse_error import of_dual  # noqa: PLC0415  it is of this class

        return of_dual(self, y, u)

    def objective(self, y: Tensor, codes: Tensor) -> Tensor:
        """P of codes of each shift and image, ``(shifts * images,)``."""
        image = self.image_of(codes, (y.shape[-2], y.shape[-1]))
        each = _split(codes, self.shifts)
        penalty: Tensor = (self.threshold * each.abs() + each.square() / 2).flatten(2).sum(2).flatten()
        misfit: Tensor = (self.repeated(y) - image).square().flatten(1).sum(1) / 2
        return misfit + penalty

    def each(self) -> list["SparseCode"]:
        """The same of one shift at a time."""
        return [replace(self, offsets=(offset,)) for offset in self.offsets]

    def shrunk(self, c: Tensor, q: Tensor | float) -> Tensor:
        """``S_(q t)(c)``."""
        each = _split(c, len(c) // len(self.threshold))
        bound = q * self.threshold
        return (each - each.clamp(-bound, bound)).flatten(0, 1)

    def repeated_threshold(self, count: int) -> Tensor:
        """t of so many images, once for each shift, ``(count, m, 1, 1)``."""
        return self.threshold.repeat(count // len(self.threshold), 1, 1, 1)

    def analysed(self, squares: Tensor) -> Tensor:
        """``D_s^T`` of images that are embedded."""
        return functional.conv2d(squares, self.kernel)

    def synthesised(self, codes: Tensor) -> Tensor:
        """``D_s`` before the images are extracted."""
        return functional.conv_transpose2d(codes, self.kernel)

    def embedded(self, u: Tensor) -> Tensor:
        """The images continued by zeros so that each lattice begins at the first pixel, squares of pixels as channels.

        ``(shifts * images, channels q^2, rows, columns)``.
        """
        q, side = self.stride, self.kernel.shape[-1] * self.stride
        height, width = (2 * side - q + (length + q - 2) // q * q for length in u.shape[-2:])
        parts = []
        for part, offset in zip(_split(u, self.shifts), self.offsets, strict=True):
            top, left, bottom, right = self.box(offset, u.shape)
            parts.append(functional.pad(part, (left, width - right, top, height - bottom)))
        return functional.pixel_unshuffle(torch.cat(parts), q)

    def box(self, offset: tuple[int, int], shape: Sequence[int]) -> tuple[int, int, int, int]:
        """The place of images of a shape in what is embedded at a shift, in pixels: top, left, bottom, right."""
        before = (self.kernel.shape[-1] - 1) * self.stride  # and the offset: all of an atom but what touches the image
        top, left = before + offset[0], before + offset[1]
        return top, left, top + shape[-2], left + shape[-1]

    def extracted(self, squares: Tensor, size: tuple[int, int]) -> Tensor:
        """The transpose of :meth:`embedded`: images of a size."""
        image = functional.pixel_shuffle(squares, self.stride)
        before = (self.kernel.shape[-1] - 1) * self.stride
        image = image[..., before:, before:]
        return torch.cat(
            [
                part[..., down : down + size[0], right : right + size[1]]
                for part, (down, right) in zip(_split(image, self.shifts), self.offsets, strict=True)
            ]
        )


def subgradient(codes: Tensor, analysed: Tensor, threshold: Tensor) -> Tensor:
    """The subgradient of P of least norm.

    Args:
        codes: a.
        analysed: ``D^T (y - D a)``.
        threshold: t of each image.
    """
    outside = functional.relu(analysed.abs() - threshold)
    return torch.where(codes != 0, codes + threshold.copysign(codes) - analysed, outside)


def _split(batch: Tensor, parts: int) -> Tensor:
    """A batch in so many parts, ``(parts, batch / parts, ...)``; it may be empty."""
    return batch.reshape(parts, len(batch) // max(1, parts), *batch.shape[1:])
