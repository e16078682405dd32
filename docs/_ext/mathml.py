"""Formulas as MathML, which browsers draw themselves: the pages load nothing from elsewhere."""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def _drawn(formula: str, **options: bool) -> str:
    """MathML whose norm bars have the height of the letters, also as the base of an exponent."""
    return tex2mathml(formula, **options).replace(
        "<mo>\u2016</mo>", '<mo stretchy="false" symmetric="false">\u2016</mo>'
    )


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_drawn(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_drawn(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer and choose it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
