"""The "What happened" panel of a turn as HTML: every stage with its time, what was found, sent, written and refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutor.ui.markup import esc, join

Json = Mapping[str, Any]
_STAGES = {
    "retrieve": "Find passages",
    "load": "Get the model ready",
    "generate": "Write (model)",
    "verify": "Check sentences",
    "first_text": "First sentence on screen, after",
    "total": "Whole turn",
}


def what_happened(
    *,
    question: str,
    query: str,
    timings_ms: Mapping[str, float],
    passages: Sequence[Json],
    tokens: Mapping[str, int],
    model: Json,
    messages: Sequence[Json],
    sentences: Sequence[Json],
    error: str | None,
) -> str:
    """One turn, told from the log."""
    parts = [_table("Time", ("Stage", "ms"), _stages(timings_ms))]
    if query and query != question:
        parts.append(f"<h3>Searched for</h3><p>{esc(query)}</p>")
    parts.append(_passages(passages))
    dropped = [s for s in sentences if not s["supported"]]
    if dropped:
        items = join(
            f"<li>{esc(s['text'])} <span class='hint'>{esc('; '.join(s.get('reasons', ())))}</span></li>"
            for s in dropped
        )
        parts.append(f"<h3>Drafted, but not shown</h3><ul>{items}</ul>")
    parts.append(_model(model, tokens))
    sent = join(
        f"<div class='message'><span class='role'>{esc(m.get('role', ''))}</span>"
        f"<pre>{esc(m.get('content', ''))}</pre></div>"
        for m in messages
    )
    parts.append(f"<h3>Messages, as sent</h3>{sent or '<p class=hint>None: the model was not asked.</p>'}")
    if error:
        parts.append(f"<h3>Problem</h3><p>{esc(error)}</p>")
    return join(parts)


def _stages(timings_ms: Mapping[str, float]) -> list[tuple[str, str]]:
    """Known stages in their order, then any other."""
    known = [
        *(stage for stage in _STAGES if stage in timings_ms),
        *(s for s in timings_ms if s not in _STAGES),
    ]
    return [(_STAGES.get(stage, stage), f"{timings_ms[stage]:,.0f}") for stage in known]


def _passages(passages: Sequence[Json]) -> str:
    rows = [
        (
            str(p["rank"]),
            f"{p['title']} › {p['heading']}" if p["heading"] else p["title"],
            f"{p['score']:.4f}",
            _number(p.get("dense")),
            _number(p.get("lexical")),
        )
        for p in passages
    ]
    return _table("Passages found", ("#", "Passage", "score", "dense", "lexical"), rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _model(model: Json, tokens: Mapping[str, int]) -> str:
    base, sha = model.get("base") or "", model.get("weights_sha256") or ""
    if not base:
        return "<h3>Model</h3><p class='hint'>No model was asked.</p>"
    mark = (
        f'<code title="{esc(sha)}">{esc(sha[:12])}</code> '
        f'<button type="button" class="text-button" data-act="copy" data-copy="{esc(sha)}">Copy</button>'
        if sha
        else "not told by the server"
    )
    facts = (
        ("Base", esc(base)),
        ("Adapter", esc(model.get("adapter") or "none")),
        ("Weights (sha256)", mark),
        ("Prompt tokens", f"{tokens.get('prompt', 0):,}"),
        ("Written tokens", f"{tokens.get('completion', 0):,}"),
    )
    return f"<h3>Model</h3><dl class='facts'>{join(f'<div><dt>{k}</dt><dd>{v}</dd></div>' for k, v in facts)}</dl>"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = join(f"<th scope='col'>{esc(c)}</th>" for c in columns)
    body = join(f"<tr>{join(f'<td>{esc(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<h3>{esc(title)}</h3><div class="table-wrap" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
