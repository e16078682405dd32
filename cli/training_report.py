"""The words in which ``recon train`` says what was learnt."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from recon.evidence import Evidence

from . import terminal

if TYPE_CHECKING:
    from recon.evidence import Constant
    from recon.training import Outcome
    from recon.training.convex_critic import ConvexCriticResult
    from recon.training.critic import CriticResult
    from recon.training.unrolled import UnrolledResult
    from recon.training.validation import ValidationResult


def report(outcome: "Outcome", output: Path, as_json: bool, solves: bool) -> None:
    """Print what a training led to: the card as JSON, or its figures as a table."""
    from recon.training.validation import ValidationResult

    if as_json:
        import json

        terminal.result_json(json.loads((output / "card.json").read_text(encoding="utf-8")))
        return
    terminal.result(f"{output}: {outcome.step} steps, {outcome.seconds:.1f} s")
    if outcome.look is None:
        return
    from recon.training.convex_critic import ConvexCriticResult
    from recon.training.unrolled import UnrolledResult

    if isinstance(outcome.look, ConvexCriticResult):
        _report_convex_critic(outcome.look, output)
        return
    if isinstance(outcome.look, UnrolledResult):
        _report_unrolled(outcome.look, output)
        return
    if not isinstance(outcome.look, ValidationResult):
        _report_critic(outcome.look)
        return
    rows = [[f"{each.noise:.4g}", decibels(each.noisy), decibels(each.psnr)] for each in outcome.look.figures]
    heads = ["noise", "PSNR in", "PSNR"]
    if solves and math.isnan(outcome.look.held_out):
        heads.append("PSNR restored")
        for row, each in zip(rows, outcome.look.figures, strict=True):
            row.append(f"{each.restored:.2f}" if each.restored == each.restored else "not converged")
    if math.isnan(outcome.look.held_out):
        terminal.result(terminal.table(heads, rows))
    else:
        terminal.result(f"loss on validation images: {outcome.look.held_out:.4g}")
    _say_how_to_reconstruct(output)
    known = _known(output, outcome.look)
    terminal.result(f"Lip(Q) {'>=' if known.evidence is Evidence.MEASURED else '<='} {known}")
    if known.value > 1:
        terminal.result(
            "Above 1 it is no resolvent, and no solver has a guarantee with it; a [penalty] of more weight, or of a "
            "lower target, brings it down."
        )
    elif known.evidence is Evidence.ASSUMED:
        terminal.result(f"recon certify prior {output} searches for violations, and keeps in {output} what it finds.")


def _say_how_to_reconstruct(output: Path) -> None:
    """Print how a measurement is reconstructed as in the training, of a network that is a resolvent at one level."""
    import json

    card = json.loads((output / "card.json").read_text(encoding="utf-8"))
    how, (low, high) = card.get("reconstruction"), card["recipe"]["network"]["noise_range"]
    if how is None or how["stepsize"] is None or low != high or card["family"] == "ConvexRidge":
        return
    terminal.result(
        f"As in the training reconstructs: recon solve MEASUREMENT -o OUT --operator {how['operator']} --method "
        f"forward_backward --stepsize {how['stepsize']:.6g} --prior folder:{output}{f',sigma={low:g}' if low else ''}"
    )


def _report_critic(look: "CriticResult") -> None:
    rows = [[each.kind, f"{each.auroc:.3f}", f"{100 * each.found:.0f} %"] for each in look.kinds]
    terminal.result(terminal.table(["artefact", "AUROC", "found"], rows))
    terminal.result(
        f"threshold {look.threshold:.4f}: of images like the {len(look.clean)} for validation at most "
        f"{100 * look.expected_false_alarms:.3g} % are expected to be false alarms"
    )
    terminal.result(f"Lip(score) <= {look.lipschitz}")


def _report_convex_critic(look: "ConvexCriticResult", output: Path) -> None:
    rows = [[f"{each.noise:.4g}", decibels(each.start), decibels(each.psnr)] for each in look.figures]
    terminal.result(terminal.table(["noise", "PSNR linear", "PSNR restored"], rows))
    terminal.result(f"the gradient of the score: at most {look.lipschitz}")
    terminal.result(
        f"As a penalty: recon solve MEASUREMENT -o OUT --operator {look.operator} --noise SIGMA --prior {output}, with "
        f"a weight of {look.factor:g} times what the adjoint makes of the noise in a pixel"
    )


def _report_unrolled(look: "UnrolledResult", output: Path) -> None:
    rows = [
        [f"{each.noise:.4g}", decibels(each.start), decibels(each.psnr), f"{each.residual:.3g}"]
        for each in look.figures
    ]
    terminal.result(terminal.table(["noise", "PSNR start", "PSNR", "residual / noise"], rows))
    terminal.result(
        f"No guarantee comes with an unrolled reconstruction; recon solve --method unrolled:folder={output} states "
        "the residual of each result."
    )


def _known(output: Path, seen: "ValidationResult") -> "Constant":
    """Return what is known of Lip(Q): from the card after a search, else from the last validation."""
    from recon.priors.networks import measured_on_card

    return measured_on_card(output) or seen.claim


def decibels(psnr: float) -> str:
    """Return a PSNR as text, and a dash where there was no clean image to compare with."""
    return "-" if math.isnan(psnr) else f"{psnr:.2f}"
