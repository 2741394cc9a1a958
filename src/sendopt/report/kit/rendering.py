"""The one Jinja environment of all pages: templates inside the package, every value escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.environment import TemplateModule
from markupsafe import Markup

from sendopt.report.kit.escaping import escape

NOTHING = Markup()  # a block that shows nothing


def _escaped(value: object) -> Markup:
    """Return markup as it is and any other value as escaped text; an undefined value raises UndefinedError."""
    return value if isinstance(value, Markup) else escape(str(value))


# `finalize` comes before Jinja's own escaping, which leaves markup alone: so that `escape` is the only rule.
_ENVIRONMENT = Environment(
    loader=PackageLoader("sendopt", "report"),
    autoescape=True,
    finalize=_escaped,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def fill(template: str, **values: object) -> Markup:
    """Return a template filled with `values`; `template` is its path below `sendopt/report`.

    Raises jinja2.UndefinedError where the template uses a name that `values` lacks.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))


def macros(template: str) -> TemplateModule:
    """Return the macros of a template as attributes; each returns markup."""
    return _ENVIRONMENT.get_template(template).module
