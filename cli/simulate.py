"""The command ``recon simulate``: from a clean image to a measurement."""

from pathlib import Path

import click

from . import terminal
from .common import NUMBER, talk_options
from .solve import OPERATOR_HELP


@click.command("simulate")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-o", "--output", required=True, metavar="OUT", help="The measurement; a folder for several images.")
@click.option("--operator", required=True, metavar="SPEC", help=OPERATOR_HELP)
@click.option(
    "--noise",
    metavar="SIGMA",
    help="Standard deviation of white Gaussian noise, on the 0..1 scale or in units: 12HU; of line integrals for ct.",
)
@click.option("--water", type=NUMBER, metavar="MU", help="ct: attenuation of water in 1/mm, for images in HU.")
@click.option(
    "--photons",
    type=NUMBER,
    metavar="N",
    help="ct: photons per ray without an object. The noise is then that of counting.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, metavar="N", help="Seed of the noise; image k has the seed N + k."
)
@click.option("--overwrite", is_flag=True, help="Replace existing outputs (never an input).")
@click.option("--json", "as_json", is_flag=True, help="Print the names of the files as JSON.")
@talk_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    images: tuple[str, ...], output: str, operator: str, noise: str | None, water: float | None, photons: float | None,
    seed: int, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Simulate a measurement of clean images: blurred, masked or otherwise indirect, with noise.

    The file OUT.simulate.json holds operator and noise, so that recon solve OUT needs no --operator. PNG and JPEG round
    the measurement to their integers and clip it; TIFF and NPY of floating-point images keep it. For a ct
    cone all IMAGEs are the slices of one volume: a stack, or the folder of a DICOM series.

    For example: recon simulate photo.png -o blurred.png --operator blur:gaussian=1.6 --noise 0.01
    """
    from recon.reconstruction.file_names import expand_inputs, make_folder, name_outputs
    from recon.specs.solve_config import config_from, parse_noise

    if (noise is None) == (photons is None):
        raise click.UsageError("Expected either --noise SIGMA or, for ct, --photons N.", click.get_current_context())
    level = parse_noise(noise or "0")
    values = {"operator": operator, "water": water, "photons": photons}
    spec = config_from(values, where="The command line").operator
    files = expand_inputs(images)
    from recon.specs.input_checks import look_at_operator, refuse_unreadable

    look_at_operator(spec)  # before torch loads, as the images
    for file in files:
        refuse_unreadable([file])
    from recon.evaluation.simulate import Simulation, simulate_files
    from recon.reconstruction.sidecar import sidecar_path
    from recon.specs.operators import read_operator

    family = read_operator(spec, terminal.say)
    is_volume = family.geometry is not None and family.geometry.kind == "cone"
    groups = [files] if is_volume else [[file] for file in files]
    outputs = [Path(output)] if is_volume else name_outputs(files, output, images)
    if outputs[0] != Path(output):
        make_folder(outputs[0].parent)
    written: list[Path] = []
    for number, (group, target) in enumerate(zip(groups, outputs, strict=True)):
        simulation = Simulation(family, level, seed + number, water, photons)
        paths = simulate_files(simulation, group, target, overwrite, terminal.say)
        written += paths
        if not as_json:
            terminal.result(f"{', '.join(map(str, paths))}: {spec}, {_described(level, photons)}, seed {seed + number}")
            terminal.result(f"sidecar: {sidecar_path(target)}")
    if as_json:
        terminal.result_json([str(path) for path in written])


def _described(noise: object, photons: float | None) -> str:
    return f"noise {noise}" if photons is None else f"{photons:g} photons a ray"
