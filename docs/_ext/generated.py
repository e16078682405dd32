"""Pages and tables that are read off the code when the documentation is built."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import layers
from defaults import default_methods
from sphinx.application import Sphinx

import recon.catalogue
import recon.certificates
from recon._windows import WINDOWS
from recon.methods.catalogue import ENTRIES
from recon.methods.entry import MethodEntry, PriorUse, Requirement
from recon.priors.networks import (
    BatchEnsembleConfig,
    ConvexCriticConfig,
    ConvexRidgeConfig,
    ConvolutionalSparseCodingConfig,
    CriticConfig,
    DnCNNConfig,
    GuidedRidgeConfig,
    LipschitzConfig,
    UnrolledConfig,
)
from recon.specs.solve_config import BUDGET, SolveConfig
from recon.training import config as training
from recon.training.steps_recipe import StepsConfig, StepsTraining

METHODS = Path(inspect.getfile(ENTRIES["fista"].__class__)).parent

_WORDS = {
    "ba": "BA", "fista": "FISTA", "tseng": "Tseng", "condat_vu": "Condat-Vu", "davis_yin": "Davis-Yin",
    "douglas_rachford": "Douglas-Rachford", "forward_backward": "forward-backward", "backward_error": "backward error",
}  # fmt: skip


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before the sources are read."""
    app.connect("builder-inited", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_all(app: Sphinx) -> None:
    """Write every generated file whose text has changed."""
    folder = Path(app.srcdir)
    for name in theorem_names():
        _write(folder / "theorems" / f"{name}.rst", theorem_page(name))
    _write(folder / "generated/methods.md", methods_table())
    _write(folder / "generated/defaults.md", default_methods())
    _write(folder / "generated/models.md", models_table())
    _write(folder / "generated/configuration.md", configuration_table())
    _write(folder / "generated/recipe.md", recipe_tables())
    _write(folder / "images/layers.svg", layers.drawing())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# Theorems


def theorem_names() -> list[str]:
    """The functions that give certificates, the matched ones first."""
    names = [name for name in recon.certificates.__all__ if name.startswith("certify_")]
    return sorted(names, key=lambda name: ("mismatched" in name or "contractive" in name, name))


def theorem_title(name: str) -> str:
    """``certify_mismatched_tseng`` as "Mismatched Tseng"."""
    words = name.removeprefix("certify_")
    for code, text in _WORDS.items():
        words = re.sub(rf"(^|_){code}(?=_|$)", lambda m, text=text: m[1].replace("_", " ") + text, words)
    words = words.replace("_", " ")
    return words[0].upper() + words[1:]


def theorem_page(name: str) -> str:
    """One page: the theorem as its function states it, and the methods that use it."""
    title, used = theorem_title(name), users_of(name)
    page = [title, "=" * len(title), ""]
    if used:
        page += [f"Used by: {', '.join(f'``--method {method}``' for method in used)}.", ""]
    page += [
        "Notation is on :doc:`/theory/notation`; how a certificate is read on :doc:`/theory/certificates`.", "",
        f".. autofunction:: recon.certificates.{name}", "",
    ]  # fmt: skip
    return "\n".join(page)


def users_of(name: str) -> list[str]:
    """The methods whose file, or a file of methods that it imports, names the function."""
    found = []
    for entry in ENTRIES.values():
        module = entry.builder.partition(":")[0]
        text = (METHODS / f"{module}.py").read_text(encoding="utf-8")
        for other in re.findall(r"from recon\.methods\.(\w+) import", text):
            if other not in ("entry", "setting", "operator_pair", "data_term", "stepsizes"):
                text += (METHODS / f"{other}.py").read_text(encoding="utf-8")
        if re.search(rf"\b{name}\b", text):
            found.append(entry.name)
    return found


# Tables


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; bars in its cells are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


_TAKES = {Requirement.REFUSED: "no", Requirement.TAKEN: "yes", Requirement.NEEDED: "needed"}


def methods_table() -> str:
    """The methods of the catalogue."""
    heads = ("`--method`", "what it does", "priors", "surrogate", "bounds", "step sizes")
    return _table(heads, map(_method, ENTRIES.values()))


def _method(entry: MethodEntry) -> tuple[str, ...]:
    prior = "none" if entry.prior is PriorUse.NONE else str(entry.prior)
    bounds = "yes" if entry.bounds else "no"
    steps = f"`{entry.stepsize}`" if entry.stepsize.startswith("(") else entry.stepsize or "takes none"
    return f"`{entry.name}`", entry.summary, prior, _TAKES[entry.surrogate], bounds, steps


def models_table() -> str:
    """The packaged networks, as ``recon models`` lists them."""
    rows = []
    for model in recon.catalogue.models():
        low, high = (255 * level for level in model.noise_range)
        figures = "; ".join(f"{each.data} at {255 * each.noise:.3g}: {each.psnr:.2f}" for each in model.figures)
        kind = "grey" if model.channels == 1 else "colour"
        known = model.known
        noise, size = f"{low:.3g} to {high:.3g}", f"{model.bytes / 1000:.0f}"
        rows.append((f"`{model.name}`", kind, known, noise, figures, size))
    return _table(("name", "images", "Lip(Q)", "noise on 255", "PSNR in dB", "kB"), rows)


def configuration_table() -> str:
    """The keys of a configuration, which are the options of ``recon solve``."""
    return _fields(SolveConfig, lambda key: f"`{key}`", "key (option: `--key`, with hyphens)")


_ARCHITECTURES = (
    ConvexRidgeConfig,
    GuidedRidgeConfig,
    ConvolutionalSparseCodingConfig,
    LipschitzConfig,
    DnCNNConfig,
    BatchEnsembleConfig,
    CriticConfig,
    ConvexCriticConfig,
    UnrolledConfig,
)


def recipe_tables() -> str:
    """The tables of a training configuration."""
    sections = [("network", each) for each in _ARCHITECTURES]
    parts = (
        "data", "training", "equilibrium", "unrolled", "measurements", "guide", "artefacts", "sparsity", "penalty",
        "validation", "about",
    )  # fmt: skip
    kinds = {field.name: field.type for field in dataclasses.fields(training.Recipe)}
    sections += [(part, kinds[part]) for part in parts]
    sections += [("steps", StepsConfig), ('training, of mode = "steps"', StepsTraining)]
    text = []
    for name, kind in sections:
        family = f", family {kind.__name__.removesuffix('Config')}" if name == "network" else ""
        text += [f"## {name}{family}\n", _summary(kind), "", _fields(kind, lambda key: f"`{key}`", "key")]
    return "\n".join(text)


def _summary(kind: type) -> str:
    """The docstring up to its attributes, as Markdown."""
    return _markdown(inspect.getdoc(kind).partition("\nAttributes:")[0].strip())


def _fields(kind: type, name: Callable[[str], str], head: str) -> str:
    words = _attributes(kind)
    rows = []
    for field in dataclasses.fields(kind):
        default = "required" if field.default is dataclasses.MISSING else _value(field.default)
        rows.append((name(field.name), _type(field.type), default, words.get(field.name, "")))
    return _table((head, "type", "default", "meaning"), rows)


def _attributes(kind: type) -> dict[str, str]:
    """Names to descriptions, from the docstrings of a dataclass and of its bases."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        text = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")[2]
        for match in re.finditer(r"^    (\w+): (.+(?:\n {8}.+)*)", text, flags=re.M):
            found[match[1]] = _markdown(" ".join(line.strip() for line in match[2].splitlines()))
    return found


def _markdown(text: str) -> str:
    """Literals and roles of reStructuredText as Markdown, without cross-references."""
    text = re.sub(r":data:`(?:[\w.]+\.)?(\w+)`", lambda m: _CONSTANTS.get(m[1], f"`{m[1]}`"), text)
    text = re.sub(r":\w+:`~?([^`]+)`", lambda m: f"`{m[1].rpartition('.')[2]}`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text.replace("``None``:", "left out:"))


_CONSTANTS = {
    "BUDGET": str(BUDGET),
    "ENTRIES": "all are on [how to choose](/choosing.md)",
    "WINDOWS": ", ".join(f"`{name}`" for name in WINDOWS),
}
"""What a reader of the tables sees in the place of a constant's name."""


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{value}`" if value != "" else '`""`'


_NAMES = {"Spec": "specification", "Noise": "number, or text with a unit", "str": "text", "int": "whole number",
          "float": "number", "bool": "true or false"}  # fmt: skip


def _type(kind: object) -> str:
    """A type in the words of a user of TOML."""
    if isinstance(kind, str):
        return kind
    options = (
        typing.get_args(kind)
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
        else (kind,)
    )
    words = []
    for each in options:
        if each is type(None):
            continue
        if typing.get_origin(each) is typing.Literal:
            words += [f"`{value}`" for value in typing.get_args(each)]
        elif typing.get_origin(each) is tuple:
            inner = typing.get_args(each)
            many = "" if Ellipsis in inner else f"{len(inner)} "
            words.append(f"{many}{_type(inner[0])}s")
        else:
            name = getattr(each, "__name__", str(each))
            words.append(_NAMES.get(name, name))
    return " or ".join(words)
