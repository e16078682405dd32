"""``python:FILE.py:CALLABLE``: the user's own operator or prior."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.device import Notify
from recon.errors import ReconError, UsageError
from recon.specs import options
from recon.specs.grammar import Spec
from recon.specs.user_statements import is_packaged, stated_operator
from recon.types import LinearOperator, Map


def load_callable(spec: Spec) -> tuple[Path, Callable[..., Any]]:
    """The file and the callable that ``python:FILE.py:CALLABLE`` names; the file is executed.

    Raises:
        UsageError: The file cannot be read or run, or has no such callable.
    """
    options.expect_keys(spec, (), value="FILE.py:CALLABLE")
    file, colon, name = (spec.value or "").rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise UsageError(f"{spec}: expected python:FILE.py:CALLABLE, with the name of a function or class at the end.")
    path = spec.path(file)
    if not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises on a name that is too long
        raise UsageError(f"{spec}: there is no file {path}; expected a Python file.")
    module_spec = importlib.util.spec_from_file_location(f"recon_user_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise UsageError(f"{spec}: {path} is not a Python file; expected a name that ends in .py.")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(f"{spec}: running {path} raised {error!r}.") from error
    made = getattr(module, name, None)
    if not callable(made):
        found = ", ".join(sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_"))
        raise UsageError(f"{spec}: {path} has no callable {name!r}; it has: {found or 'none'}.")
    return path, made


def made_operator(spec: Spec, make: Callable[..., Any], argument: object, given: str, taken: str) -> LinearOperator:
    """The operator that the user's callable makes of an argument.

    Args:
        spec: Where the callable comes from.
        make: The callable.
        argument: What it is called with.
        given: The argument in words.
        taken: What the callable should take, in words.

    Raises:
        UsageError: It raised, or returned no operator.
    """
    try:
        made = make(argument)
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(
            f"{spec}: calling it with {given} raised {error!r}; expected a callable that takes {taken}, and returns an "
            "object with the methods A and A_adjoint."
        ) from error
    if not isinstance(made, LinearOperator):
        raise UsageError(
            f"{spec}: it returned a {type(made).__name__}; expected an object with the methods A and A_adjoint."
        )
    return made


def guarded_operator(
    spec: Spec, operator: LinearOperator, image_shape: tuple[int, ...], say: Notify = lambda line: None
) -> LinearOperator:
    """The user's operator, whose ``A`` and ``A_adjoint`` name it where they fail, and whose word is assumed.

    One that the user's code made of this package's operators is kept, because its constants follow from their code.

    Args:
        spec: Where it comes from.
        operator: What the callable returned.
        image_shape: Of the images that ``A_adjoint`` is to return.
        say: Where a refuted statement is told.
    """
    forward = _guarded(spec, "A", operator.A, lambda x: None, ", or --shape H,W where it takes another size")
    back = _guarded(spec, "A_adjoint", operator.A_adjoint, lambda y: image_shape)
    return operator if is_packaged(operator) else stated_operator(spec, operator, forward, back, say)


def guarded_map(spec: Spec, image_map: Map) -> Map:
    """The user's map from images to images of the same shape, which names itself where it fails."""
    return _guarded(spec, "the map that it makes", image_map, lambda x: tuple(x.shape))


def _guarded(
    spec: Spec,
    what: str,
    function: Callable[..., Any],
    expected: Callable[[Tensor], tuple[int, ...] | None],
    hint: str = "",
) -> Callable[..., Tensor]:
    """The function, with a UsageError where it raises, or returns no tensor or one without the expected last sides."""

    def call(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        given = f"for a tensor of shape {tuple(x.shape)}"
        try:
            found = function(x, *arguments, **options)
        except (ReconError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the user's own code may raise anything
            if "can't allocate memory" in str(error):
                raise
            raise UsageError(f"{spec}: {what} raised {error!r} {given}; expected a tensor{hint}.") from error
        if not isinstance(found, Tensor):
            raise UsageError(f"{spec}: {what} returned a {type(found).__name__} {given}; expected a torch tensor.")
        sides = expected(x)
        if sides is not None and tuple(found.shape[-len(sides) :]) != sides:
            raise UsageError(
                f"{spec}: {what} returned shape {tuple(found.shape)} {given}; expected the image's, {_ending(sides)}."
            )
        return found

    return call


def _ending(sides: tuple[int, ...]) -> str:
    return f"(batch, channels, {sides[0]}, {sides[1]})" if len(sides) == 2 else str(sides)
