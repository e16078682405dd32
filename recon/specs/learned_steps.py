"""Folders of learned step sizes: ``steps.safetensors`` with the numbers, ``steps.json`` with what they are for."""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from recon.catalogue import identity_of
from recon.certificates import Remark
from recon.device import Notify
from recon.errors import InputError, UsageError
from recon.io.atomic import replacing
from recon.methods.learned_steps import LearnedSteps
from recon.priors.networks.files.safetensors import decode, encode, read_bytes
from recon.specs.grammar import Spec
from recon.specs.solve_config import with_files

NUMBERS, CARD = "steps.safetensors", "steps.json"

MOST_STEPS = 1000
MOST_FACTOR = 100.0
"""The largest step size times ||A||^2: beyond it an energy hardly ever falls."""

_MOST_BYTES = 2**20


@final
@dataclass(frozen=True)
class StepsCard:
    """Learned step sizes and the problems that they were learned on.

    Attributes:
        folder: Where they lie.
        factors: Each step size times ||A||^2.
        operator: The operator, its files by their content.
        prior: The prior without its weight.
        weights: The least and the largest weight.
    """

    folder: Path
    factors: tuple[float, ...]
    operator: str
    prior: str
    weights: tuple[float, float]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that they were read from."""
        return steps_files(self.folder)


def steps_files(folder: Path) -> tuple[Path, Path]:
    """The files of learned steps in a folder."""
    return folder / NUMBERS, folder / CARD


def described(spec: Spec) -> str:
    """A specification as text, its files by their content, without its weight and the number of its lattices."""
    options = {key: text for key, text in spec.options.items() if key not in ("weight", "lattices")}
    return str(replace(with_files(replace(spec, options=options), _hash_of), folder=""))


def _hash_of(path: Path) -> str:
    try:
        if path.is_dir():
            return f"sha256-{identity_of(path)[:16]}"
        return f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except (OSError, InputError):
        return "sha256-unreadable"


def write_steps(card: StepsCard, known: dict[str, Any]) -> None:
    """Write the numbers, and then the card, which has their hash and what else is ``known`` of them.

    Raises:
        OutputError: They cannot be written.
    """
    content = encode({"factors": torch.tensor(card.factors, dtype=torch.float64)})
    numbers, text = card.files
    with replacing(numbers, overwrite=True) as temporary:
        temporary.write_bytes(content)
    table = {
        "kind": "steps",
        "count": len(card.factors),
        "operator": card.operator,
        "prior": card.prior,
        "weights": list(card.weights),
        "sha256": hashlib.sha256(content).hexdigest(),
        **known,
    }
    with replacing(text, overwrite=True) as temporary:
        temporary.write_text(json.dumps(table, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_steps(folder: Path) -> StepsCard:
    """The steps in a folder.

    Raises:
        InputError: There are none, or the numbers are not those that the card names by their hash.
    """
    path = folder / CARD
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(_MOST_BYTES))
        operator, prior, stated = table["operator"], table["prior"], table["sha256"]
        low, high = (float(weight) for weight in table["weights"])
        if not (table["kind"] == "steps" and all(isinstance(each, str) for each in (operator, prior, stated))):
            raise ValueError("a value is of the wrong kind")
        if not 0 < low <= high < math.inf:
            raise ValueError("the weights are no range")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{folder}: no learned steps can be read ({CARD}: {reason}); expected a folder of recon train with mode = "
            '"steps".'
        ) from error
    content = read_bytes(folder / NUMBERS)
    if hashlib.sha256(content).hexdigest() != stated:
        raise InputError(f"{folder / NUMBERS}: the file is not the one that {CARD} names by its hash; it was changed.")
    factors = decode(content, str(folder / NUMBERS)).get("factors", torch.empty(0, 0))
    if not (factors.ndim == 1 and factors.is_floating_point() and 1 <= len(factors) <= MOST_STEPS):
        raise InputError(f"{folder / NUMBERS}: expected 1 to {MOST_STEPS} numbers, named factors.")
    if not bool(((factors > 0) & (factors <= MOST_FACTOR)).all()):
        raise InputError(
            f"{folder / NUMBERS}: the step sizes are not all above 0 and at most {MOST_FACTOR:g} / ||A||^2; expected "
            "those that recon train wrote."
        )
    return StepsCard(folder, tuple(factors.double().tolist()), operator, prior, (low, high))


def steps_for(  # noqa: PLR0913, PLR0917  the problem at hand
    card: StepsCard, operator: Spec, prior: Spec, weight: float | None, iterations: int | None, say: Notify
) -> LearnedSteps:
    """Learned steps for a problem: what is another one is said, and of what nothing is known is refused.

    Raises:
        UsageError: They are for another kind of operator or of prior, or there are fewer than are asked for.
    """
    learned, given = card.operator.partition(":")[0], described(operator)
    if operator.name != learned:
        raise UsageError(
            f"{card.folder}: the steps were learned for the operator {card.operator} and the operator is {operator}; "
            f"expected {learned}, because nothing is known of them for another kind."
        )
    known = card.prior.partition(":")[0]
    if prior.name != known:
        raise UsageError(
            f"{card.folder}: the steps were learned for the prior {card.prior} and the prior is {prior}; expected "
            f"{known}, because nothing is known of them for another kind."
        )
    count = len(card.factors) if iterations is None else iterations
    if count > len(card.factors):
        raise UsageError(
            f"iterations is {count}, and {card.folder} has {len(card.factors)} learned steps; expected at most as many "
            "of them, because nothing is known beyond (method ista or fista goes on)."
        )
    if given != card.operator:
        say(f"{card.folder}: the steps were learned for {card.operator}; for {given} they may be worse than ISTA's")
    if described(prior) != card.prior:
        say(f"{card.folder}: the steps were learned for {card.prior}; for {described(prior)} they may be worse")
    if count < len(card.factors):
        say(f"{card.folder}: the first {count} of {len(card.factors)} learned steps, which were learned together")
    low, high = card.weights
    if weight is None or low <= weight <= high:
        return LearnedSteps(card.factors[:count], card.files)
    how = "steps after which the energy does not fall are replaced, so that the theorem stands; how fast is not known"
    remark = Remark("weight of the prior, of learned steps,", weight, low, high, how)
    say(f"{card.folder}: {remark.warning}")
    return LearnedSteps(card.factors[:count], card.files, (remark,))
