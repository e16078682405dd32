"""The command ``recon certify``: constants with their evidence, and the guarantees that follow."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .common import talk_options

if TYPE_CHECKING:
    from recon.reconstruction.certify import Guarantee, Report
    from recon.reconstruction.network_star import NetworkStar
    from recon.specs.grammar import Spec
    from recon.specs.groups import GroupSpec

_MOST_ROWS, _SHOWN = 100, 20
"""Groups up to which a table has them all, and how many of the longest it has of more."""


@click.group("certify")
def command() -> None:
    """Print the constants of an operator or of a prior, each with its evidence, and what they guarantee."""


@command.command("operator")
@click.argument("spec", metavar="SPEC")
@click.option("--surrogate", metavar="SPEC", help="An operator whose adjoint is used in place of the true adjoint.")
@click.option(
    "--shift",
    metavar="KAPPA|auto",
    help="With --surrogate: multiple of the identity that is added to make the map monotone.",
)
@click.option("--prior", metavar="SPEC", help="Prior for which the guarantees are stated.  [default: none]")
@click.option("--shape", metavar="H,W", help="Size of the image.  [default: 256,256]")
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE.png", help="ct: draw the scan.")
@click.option("--overwrite", is_flag=True, help="Replace an existing drawing.")
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Seed of the measurements.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def operator(  # noqa: PLR0913, PLR0917  one for each option
    spec: str, surrogate: str | None, shift: str | None, prior: str | None, shape: str | None, figure: Path | None,
    overwrite: bool, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Print the constants of the operator SPEC, and for each method the step sizes with which it converges.

    For example: recon certify operator blur:box=5 --surrogate blur:box=9 --shift auto
    """
    from recon.specs.solve_config import SolveConfig, config_from

    config: SolveConfig = config_from(
        {"operator": spec, "surrogate": surrogate, "shift": shift, "prior": prior, "shape": shape, "seed": seed},
        where="The command line",
    )
    from recon.specs.input_checks import look_at_operator

    for each in (config.operator, config.surrogate):
        if each is not None:
            look_at_operator(each)  # before torch loads
    if figure is not None:
        from recon.reconstruction.geometry_output import draw_scan

        draw_scan(config.operator, figure, overwrite)
    from recon.reconstruction.certify import certify_operator

    report = certify_operator(
        config.operator,
        surrogate=config.surrogate,
        shift=config.shift,
        prior=config.prior,
        shape=config.shape,
        seed=config.seed,
        say=terminal.say,
    )
    _print(report, as_json)


@command.command("prior")
@click.argument("spec", metavar="SPEC")
@click.option("--noise", type=click.FloatRange(0, min_open=True), metavar="SIGMA",
              help="Noise level of the prior, on [0, 1]. Default: of a network without a proof, up to five levels.",
              )  # fmt: skip
@click.option("--image", "images", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Also begin the search for violations in this image, where the derivative is largest.")  # fmt: skip
@click.option("--side", type=click.IntRange(8, 512), metavar="N",
              help="Height and width of the images that are searched; small ones expand most.  [default: 32, 48, 64 "
                   "and 96, at most the size of an image; 32 with a proof, 20 for a potential]",
              )  # fmt: skip
@click.option("--quick", is_flag=True,
              help="Search for about a minute. Such a search can refute, and nothing else.")  # fmt: skip
@click.option("--groups", metavar="GROUPS",
              help="Instead of that search, bound how far J can move for a change of each group of the image "
                   "alone, of 32 pixels a side or as --side says: blocks:HxW (of pixels), or channels.",
              )  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="STAR.png",
              help="With --groups: draw the arms.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing drawing.")
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Seed of the measurements.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def prior(  # noqa: PLR0913, PLR0917  one for each option
    spec: str, noise: float | None, images: tuple[Path, ...], side: int | None, quick: bool, groups: str | None,
    output: Path | None, overwrite: bool, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Print the constants of the prior SPEC, and the largest expansion that a search finds.

    A network without a proof is searched for violations on images of 32 to 96 pixels, in [0, 1] and outside. The result
    is kept in the card of its folder, which recon solve reads.

    For example: recon certify prior tv:weight=0.01

    With --groups, certified is a bound of ||J(x + h) - J(x)|| / ||h|| for every image x and every h in the group, with
    its evidence, and attacked the largest that a search finds.
    """
    from recon.specs.grammar import parse_spec
    from recon.specs.input_checks import refuse_unreadable

    parsed = parse_spec(spec, "prior")
    grouping = _groups(groups, output)
    for image in images:
        refuse_unreadable([image])  # before torch loads
    from recon.reconstruction.certify import images_of, keep

    if output is not None:
        from recon.reconstruction.sensitivity_output import check_figures

        check_figures([output], images, overwrite, maps=False)
    given: dict[str, Any] = {"noise": noise, "images": images_of(images), "side": side, "seed": seed, "quick": quick}
    if grouping is not None:
        _of_groups(parsed, grouping, given, output, overwrite, as_json)
        return
    report = searched(parsed, **given)
    _print(report, as_json)
    known = keep(report)
    if known is not None and report.network is not None:
        terminal.say(f"kept in {report.network.folder / 'card.json'}: Lip(Q) is {known}")


def _groups(text: str | None, output: Path | None) -> "GroupSpec | None":
    from recon.errors import UsageError
    from recon.specs.groups import parse_groups, require_groups_of_image

    if text is None:
        if output is not None:
            raise UsageError(f"{output}: a drawing without --groups; expected them, because the star is of groups.")
        return None
    grouping = parse_groups(text)
    require_groups_of_image(grouping)
    return grouping


def _of_groups(  # noqa: PLR0913, PLR0917  one for each option
    prior: "Spec", grouping: "GroupSpec", given: dict[str, Any], output: Path | None, overwrite: bool, as_json: bool
) -> None:
    from recon.reconstruction.certify import stated_report
    from recon.reconstruction.network_star import draw_network_star, network_star

    line = terminal.ProgressLine(str(prior))
    try:
        star = network_star(prior, grouping, **given, seen=lambda done, count: line.show(f"group {done} of {count}"))
    finally:
        line.close()
    if output is not None:
        draw_network_star(star, output, overwrite)
    _print(stated_report(prior, given["noise"], star.side), as_json, star)


def searched(prior: "Spec", quick: bool = False, **given: Any) -> "Report":
    """Return the report on a prior; show the progress of a search on stderr."""
    from recon.methods.network_search import QUICK, WHOLE, Seen, about
    from recon.reconstruction.certify import certify_prior

    line = terminal.ProgressLine(str(prior))

    def say(what: str) -> None:
        line.close()
        terminal.say(what)

    def watch(seen: Seen) -> None:
        left = f"{about(seen.seconds_left)} left"
        line.show(f"search {seen.done} of {seen.count}, the hardest quotient {seen.value:.6g}, {left}")

    try:
        return certify_prior(prior, say=say, watch=watch, extent=QUICK if quick else WHOLE, **given)
    finally:
        line.close()


def _print(report: "Report", as_json: bool, star: "NetworkStar | None" = None) -> None:
    if as_json:
        terminal.result_json(report.to_json() | ({} if star is None else star.to_json()))
        return
    terminal.result(f"{report.subject}  ({report.setting})\n")
    width = max(map(len, report.constants))
    for name, constant in report.constants.items():
        terminal.result(f"{name:<{width}}  {constant.value:<12.6g} {constant.evidence.value:<8}  {constant.how}")
    terminal.result("")
    applicable = [guarantee for guarantee in report.guarantees if guarantee.method is not None]
    width = max((len(guarantee.name) for guarantee in applicable), default=0)
    for guarantee in applicable:
        assert guarantee.method is not None  # noqa: S101  as was asked above
        low, high = guarantee.stepsize
        steps = "any step size" if high is None else f"step size in ({low:g}, {high:.6g})"
        held = guarantee.method.certificate.strongest
        if held is not None:
            terminal.result(f"{guarantee.name:<{width}}  {held.evidence.value:<8}  {steps}; {held.theorem}")
        if not guarantee.holds:
            name, kind = (guarantee.name, "none") if held is None else ("", "")
            terminal.result(f"{name:<{width}}  {kind:<8}  {_failing(guarantee)}")
    refused = _inapplicable(report)
    if refused:
        terminal.result("")
    for reason, names in refused.items():
        terminal.result(f"{', '.join(names)} {'do' if len(names) > 1 else 'does'} not apply: {reason}")
    if report.remarks:
        terminal.result("")
    for remark in report.remarks:
        terminal.result(f"remark: {remark}")
    if star is not None:
        _print_star(star)


def _inapplicable(report: "Report") -> dict[str, list[str]]:
    """The methods that cannot be used for the operator, by the reason that they share."""
    found: dict[str, list[str]] = {}
    for guarantee in report.guarantees:
        if guarantee.method is None:
            reason = re.sub(rf"^method is '{guarantee.name}'(?:, and|,)? ", "", guarantee.reason)
            found.setdefault(reason, []).append(guarantee.name)
    return found


def _print_star(star: "NetworkStar") -> None:
    rows = list(zip(star.groups.members, star.arms, strict=True))
    if len(rows) > _MOST_ROWS:
        rows = sorted(rows, key=lambda row: -row[1].attacked.value)[:_SHOWN]
        terminal.say(f"the {_SHOWN} longest of {len(star.arms)} arms are shown; --json has all")
    terminal.result(
        f"\nHow far J moves for a change of one of {star.groups.spec}, over its norm, on {star.side} x {star.side} "
        f"pixels{', ' if star.given else ''}{star.given}  ({star.prior})\n"
    )
    cells = [[group.name, _cell(arm.certified.value), f"{arm.attacked.value:.4g}"] for group, arm in rows]
    terminal.result(terminal.table(["group", "certified", "attacked"], cells))
    bound, attack = rows[0][1].certified, rows[0][1].attacked
    terminal.result(f"\ncertified: {bound.evidence.value if bound.value < float('inf') else 'none'}; {bound.how}")
    terminal.result(f"attacked: {attack.evidence.value}; {attack.how}")


def _cell(value: float) -> str:
    return f"{value:.4g}" if value < float("inf") else "none"


def _failing(guarantee: "Guarantee") -> str:
    left = [name for name in guarantee.missing if name not in guarantee.refuted]
    verdicts = (("refuted", guarantee.refuted), ("not established", left))
    return "; ".join(f"{verdict}: {'; '.join(names)}" for verdict, names in verdicts if names)
