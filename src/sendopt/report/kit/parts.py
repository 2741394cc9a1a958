"""The bricks of the page: sections, tables, tiles and notes, with every text escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from sendopt.report.kit.escaping import escape


def paragraph(words_: str, css: str = "") -> str:
    return f'<p class="{css}">{escape(words_)}</p>' if css else f"<p>{escape(words_)}</p>"


def missing(words_: str) -> str:
    return paragraph(words_, "missing")


def section(anchor: str, title: str, lead: str, *blocks: str) -> str:
    intro = paragraph(lead, "lead") if lead else ""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{intro}{"".join(blocks)}</section>'


def card(title: str, *blocks: str, note: str = "") -> str:
    """A framed block whose title states the finding."""
    foot = paragraph(note, "note") if note else ""
    return f'<div class="card"><h3>{escape(title)}</h3>{"".join(blocks)}{foot}</div>'


def pair(*cards: str) -> str:
    return f'<div class="pair">{"".join(cards)}</div>'


def tile(value: str, name: str, note: str = "") -> str:
    foot = f"<small>{escape(note)}</small>" if note else ""
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span>{foot}</div>'


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """`entries` of (css class of the swatch, words)."""
    return (
        '<p class="legend">'
        + "".join(f'<span><i class="{css}"></i>{escape(text)}</span>' for css, text in entries)
        + "</p>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = (), stack: bool = False) -> str:
    """A table in its own box; columns in `numeric` are set right; with `stack` a phone shows each row as a block."""

    def cell(i: int, text: str) -> str:
        css = ' class="n"' if i in numeric else ""
        return f'<td{css} data-label="{escape(head[i])}">{escape(text)}</td>'

    heads = "".join(f"<th{' class=n' if i in numeric else ''}>{escape(text)}</th>" for i, text in enumerate(head))
    body = "".join(f"<tr>{''.join(cell(i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    return (
        f'<div class="scroll{" stack" if stack else ""}" tabindex="0"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def definitions(rows: Sequence[tuple[str, str]], css: str = "") -> str:
    inner = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in rows)
    return f'<dl class="{css}">{inner}</dl>' if css else f"<dl>{inner}</dl>"


def details(summary: str, *blocks: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{''.join(blocks)}</details>"


def callouts(notes: Sequence[tuple[str, str]]) -> str:
    """`notes` of (kind, sentence): kind `warn` or `info`."""
    if not notes:
        return ""
    inner = "".join(f'<li class="{kind}">{escape(text)}</li>' for kind, text in notes)
    return f'<ul class="callouts">{inner}</ul>'
