"""The command ``recon factorize``: a dense matrix as a product of sparse factors."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .common import NUMBER, WHOLE_NUMBER, talk_options

if TYPE_CHECKING:
    from recon.factorization import Factorisation

_STRUCTURES = ("auto", "butterfly", "low-rank", "hierarchical")


@click.command("factorize")
@click.argument("matrix", metavar="MATRIX.npy", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OPERATOR.npz", help="Write the factors."
)
@click.option(
    "--structure",
    type=click.Choice(_STRUCTURES),
    default="auto",
    show_default=True,
    help="butterfly: N log N numbers, as of Fourier and Hadamard matrices; low-rank; hierarchical: supports are "
    "learned, up to 512 rows; auto: the first that is near enough.",
)
@click.option(
    "--tolerance",
    type=NUMBER,
    default="0.01",
    show_default=True,
    metavar="E",
    help="Largest relative error in the operator norm; what is farther off is refused.",
)
@click.option("--pad", is_flag=True, help="Pad with zeros to the next power of two where a butterfly has no such size.")
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the supports of the factors.")
@click.option("--seed", type=WHOLE_NUMBER, default="0", help="Of the parts of the matrix that are looked at first.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs (never an input).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def command(matrix: Path, output: Path, **given: Any) -> None:
    """Write the dense operator MATRIX.npy, (rows, columns), real or complex, as a product of sparse factors.

    The result is applied in N log N operations: --operator factors:OPERATOR.npz, or --surrogate factors:OPERATOR.npz
    beside --operator matrix:MATRIX.npy, so that its error enters the certificate. The error is proved; a matrix without
    such a structure is refused with exit code 5.

    For example: recon factorize hadamard.npy -o hadamard.npz
    """
    from recon import io
    from recon.io.arrays import read_matrix
    from recon.report import FIGURE_SUFFIXES

    if output.suffix.lower() != ".npz":
        raise click.UsageError(f"output is {str(output)!r}; expected a name that ends in .npz.")
    io.check_output(output, overwrite=given["overwrite"], inputs=(matrix,))
    if given["figure"] is not None:
        if given["figure"].suffix.lower() not in FIGURE_SUFFIXES:
            raise click.UsageError(f"figure is {str(given['figure'])!r}; expected {', '.join(FIGURE_SUFFIXES)}.")
        io.check_output(given["figure"], overwrite=given["overwrite"], inputs=(matrix,))
    array = read_matrix(matrix)  # before torch loads
    import torch

    from recon.factorization import factorise, write_factors

    entries = torch.from_numpy(array if array.dtype.kind in "fc" else array.astype("float64"))
    found = factorise(
        entries, given["structure"], tolerance=given["tolerance"], pad=given["pad"], seed=given["seed"],
        say=terminal.say,
    )  # fmt: skip
    write_factors(output, found, overwrite=given["overwrite"], inputs=(matrix,))
    if given["figure"] is not None:
        _draw(found, given["figure"], given["overwrite"], matrix)
    if given["as_json"]:
        terminal.result_json({"matrix": str(matrix), "output": str(output), **found.to_json()})
    else:
        _report(found)


def _draw(found: "Factorisation", path: Path, overwrite: bool, matrix: Path) -> None:
    from recon.report import FactorPicture, factors_figure

    pictures = [
        FactorPicture(factor.shape, *(part.numpy() for part in factor.support), factor.nonzeros)
        for factor in found.operator.factors
    ]
    title = f"{matrix.name}: {found.structure}, {found.status}, relative error at most {found.error.value:.2g}"
    factors_figure(path, pictures, title, overwrite=overwrite)


def _report(found: "Factorisation") -> None:
    rows, columns = found.operator.shape
    kind = "complex" if found.operator.domain.is_complex else "real"
    padded = "" if found.padded is None else f", padded to {found.padded} x {found.padded}"
    lines = [
        ("matrix", f"{rows} x {columns}, {kind}{padded}"),
        ("structure", f"{found.structure}, rows and columns: {found.order}"),
        (
            "factors",
            f"{len(found.operator.factors)}, {found.operator.nonzeros} numbers, {found.saving:.1f} times fewer",
        ),
        ("status", f"{found.status}: {found.reason}"),
        ("error", f"{found.error.value:.3g} of ||M|| ({found.error.evidence}: {found.error.how})"),
    ]
    if found.least_error > 0:
        lines.append(
            (
                "",
                f"{found.frobenius_error.value:.3g} in the Frobenius norm, where none is below {found.least_error:.3g}",
            )
        )
    for name, text in lines:
        terminal.result(f"{name:<10} {text}")
