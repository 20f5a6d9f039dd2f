"""What an evaluation found: the verdict rule by rule, the measures side by side, an adapter's report as a page. Pure.

A report comes from another program, perhaps of another version: what is missing in it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tutor.ui.improve_view import BASE, called, is_number, report_url
from tutor.ui.markdown import render_page
from tutor.ui.markup import count, esc, icon, join, minutes, url, when
from tutor.ui.plain_page import plain_page

if TYPE_CHECKING:
    from tutor.improve import Result

_MEASURES = (
    ("right", "Right", "says what it must, and nothing that is wrong", "share", 1),
    ("own_words", "In its own words", "shown in the model’s own sentences, each one checked", "share", 1),
    ("own_right", "Right in its own words", "both of the above", "share", 1),
    ("cites_gold", "Cites the right place", "the sentence that answers is among its sources", "share", 1),
    ("supported", "Supported drafts", "sentences of the model that the sources say, too", "share", 1),
    ("declined_unanswerable", "Declines rightly", "says so where the notes don’t answer", "share", 1),
    ("declined_answerable", "Declines wrongly", "although the notes do answer", "share", -1),
    ("must_not_say", "Says what is wrong", "a mistake that the question is known for", "share", -1),
    ("token_f1", "Like the model answer", "words shared with an answer a person wrote", "score", 1),
    ("words", "Words", "length of an answer", "number", 0),
    ("total_ms", "Time", "from the question to the whole answer", "ms", -1),
)
_SYSTEMS = (
    ("candidate", "Candidate", "the newest training"),
    ("served", "Served", "what answered at the time"),
    ("quotes", "Quotes", "the best sentences alone"),
)
_NAMES = {key: name for key, name, *_ in _MEASURES}


def result(found: Result) -> str:
    """The section about the newest evaluated adapter."""
    adapter, report = found.adapter, found.adapter.report
    training, data = _part(report, "training"), _part(report, "dataset")
    facts = [f"made {_when(found)}"]
    if isinstance(data.get("train"), int):
        facts.append(f"learned from {count(data['train'], 'example')}")
    if is_number(training.get("seconds")) and training["seconds"]:
        facts.append(f"in {minutes(training['seconds'])}")
    return (
        f'<section class="result" aria-labelledby="result-title" data-adapter="{esc(adapter.name)}">'
        f'<h2 id="result-title">Is {esc(adapter.name)} better?</h2>'
        f'<p class="meta">{esc(" · ".join(facts))} · <a href="{esc(report_url(adapter.name))}">Read the whole report'
        f"</a></p>{_verdict(found)}{_measures(report)}{_side(report)}</section>"
    )


def no_result() -> str:
    """Before anything was evaluated."""
    return (
        '<section class="result" aria-labelledby="result-title"><h2 id="result-title">Is it better?</h2>'
        '<p class="hint">After a training, the candidate and what answers now are given the same questions, which '
        "neither has seen. The verdict will be here, rule by rule.</p></section>"
    )


def report_page(name: str, markdown: str, styles: str) -> str:
    """A report as a page of its own; `styles` are the link tags of the app. Its address is two levels down."""
    title = f"Adapter {name}"
    body = render_page(markdown, title=title).html
    return _standalone(title, f'<div class="text">{body}</div>', styles)


def missing_page(said: str, styles: str) -> str:
    """The page where there is no report."""
    return _standalone("No report", f'<p class="empty">{esc(said)}</p>', styles)


def _standalone(title: str, body: str, styles: str) -> str:
    back = f'<p class="meta"><a href="{esc(url("improve"))}">‹ Improve</a></p><h1>{esc(title)}</h1>'
    return plain_page(title, back + body, styles, levels=2, kind="improve report")


def _verdict(found: Result) -> str:
    report = found.adapter.report
    promote = report["verdict"]["promote"]
    rules = [rule for rule in report["verdict"].get("rules") or () if isinstance(rule, Mapping)]
    failed, passed = ([rule for rule in rules if bool(rule.get("passed")) is kept] for kept in (False, True))
    name = esc(found.adapter.name)
    if promote:
        title, kind = f"Yes. {name} kept every rule.", "is-yes"
    elif len(failed) == 1:
        title, kind = f"No. {name} broke a rule.", "is-no"
    else:
        title, kind = f"No. {name} broke {count(len(failed), 'rule')}.", "is-no"
    if found.served:
        act = f'<p class="promoted" tabindex="-1">{icon("check")} {name} answers now.</p>'
    elif found.refusal:
        act = f'<p class="refusal">{esc(found.refusal)}</p>'
    else:
        act = (
            f'<p class="hint">Promoted, it answers within seconds; open answers end as they began. You can roll back '
            f'with one click.</p><button type="button" class="button" data-do="promote" data-focus="promote" '
            f'data-name="{name}">Promote {name}</button>'
        )
    return (
        f'<div class="verdict-box {kind}"><p class="verdict-title">{title}</p>{act}</div>'
        f'<ul class="rules" aria-label="Rules of the gate">{join(map(_rule, [*failed, *passed]))}</ul>'
    )


def _rule(rule: Mapping[str, Any]) -> str:
    passed = bool(rule.get("passed"))
    title, _, numbers = str(rule.get("text") or rule.get("name") or "").partition(": ")
    kind, mark, word = ("is-kept", "✓", "kept") if passed else ("is-broken", "✕", "broken")
    return (
        f'<li class="{kind}"><span class="rule-mark"><span aria-hidden="true">{mark}</span> {word}</span>'
        f'<span class="rule-text"><strong>{esc(title)}</strong>'
        f"{f'<span>{esc(numbers[:1].upper() + numbers[1:])}</span>' if numbers else ''}</span></li>"
    )


def _measures(report: Mapping[str, Any]) -> str:
    systems = {key: _part(_part(report, "systems"), key) for key, *_ in _SYSTEMS}
    rows = []
    for key, name, what, unit, good in _MEASURES:
        cells = [_cell(systems[system].get(key), unit) for system, *_ in _SYSTEMS]
        if any(cells):
            hint = "less is better" if good < 0 else ""
            rows.append(
                f'<tr><th scope="row"><span>{name}</span><span class="measure-what">{what}'
                f"{f'; {hint}' if hint else ''}</span></th>"
                f"{join(f'<td>{cell or _NONE}</td>' for cell in cells)}</tr>"
            )
    if not rows:
        return ""
    heads = join(
        f'<th scope="col"><span>{name}</span><span class="measure-what">{_who(report, key) or what}</span></th>'
        for key, name, what in _SYSTEMS
    )
    n = _part(systems["candidate"], "right").get("n")
    asked = f" Right answers over {count(n, 'question')}." if isinstance(n, int) else ""
    return (
        '<h3>The numbers</h3><p class="hint">On questions that no training saw. More is better where it does not say '
        f"“less”. Small: the range in which the true value lies with 95 % certainty.{asked}</p>"
        '<div class="measures-wrap" tabindex="0" role="region" aria-label="Measures"><table class="measures"><thead>'
        f'<tr><th scope="col">Measure</th>{heads}</tr></thead><tbody>{join(rows)}</tbody></table></div>'
    )


_NONE = '<span class="measure-what">not measured</span>'


def _who(report: Mapping[str, Any], key: str) -> str:
    if key == "candidate" and report.get("adapter"):
        return esc(report["adapter"])
    if key == "served" and isinstance(report.get("served"), Mapping):
        return esc(called(report["served"].get("adapter")))
    return ""


def _cell(measure: Any, unit: str) -> str:
    if is_number(measure):
        measure = {"value": measure}
    if not isinstance(measure, Mapping) or not is_number(measure.get("value")):
        return ""
    said = f'<span class="measure-value">{_said(measure["value"], unit)}</span>'
    low, high = measure.get("low"), measure.get("high")
    if is_number(low) and is_number(high):
        said += f'<span class="measure-range">{_range(low, high, unit)}</span>'
    return said


def _said(value: float, unit: str) -> str:
    if unit == "share":
        return f"{value * 100:.0f} %"
    if unit == "score":
        return f"{value:.2f}"
    if unit == "ms":
        return f"{value / 1000:.1f} s"
    return f"{value:.0f}"


def _range(low: float, high: float, unit: str) -> str:
    if unit == "share":
        return f"{low * 100:.0f}–{high * 100:.0f}"
    ends = _said(low, unit), _said(high, unit)
    return f"{ends[0].removesuffix(' s')}–{ends[1]}"


def _side(report: Mapping[str, Any]) -> str:
    """What training must not do, and what it cost: in a fold, since the rules speak of it already."""
    facts: list[tuple[str, str]] = []
    closed, kept = _part(report, "closed_book"), _part(report, "retention")
    if is_number(closed.get("candidate")) and is_number(closed.get("served")):
        facts.append(
            (
                "Facts said from memory alone",
                f"{closed['candidate'] * 100:.0f} % (before: {closed['served'] * 100:.0f} %). Facts belong in your "
                "pages, so this should not grow.",
            )
        )
    if is_number(kept.get("increase")):
        facts.append(
            ("Surprise at everyday English", f"{kept['increase']:+.3f} nats a token. It should stay near 0.")
        )
    facts += [
        _difference(one) for one in report.get("paired") or () if isinstance(one, Mapping) and _has(one)
    ]
    training = _part(report, "training")
    if is_number(training.get("examples_per_s")) and training["examples_per_s"]:
        facts.append(("Speed of training", f"{training['examples_per_s']:.1f} examples a second"))
    if is_number(training.get("peak_memory_mb")) and training["peak_memory_mb"]:
        facts.append(("Memory while training", f"{training['peak_memory_mb']:,.0f} MB"))
    if not facts:
        return ""
    rows = join(f"<div><dt>{esc(name)}</dt><dd>{esc(said)}</dd></div>" for name, said in facts)
    return (
        '<details class="more" data-key="side"><summary>Differences, question by question, and what it cost</summary>'
        f'<dl class="facts">{rows}</dl></details>'
    )


def _difference(one: Mapping[str, Any]) -> tuple[str, str]:
    measure, against = str(one.get("measure")), str(one.get("against"))
    others = {"served": "what answered", "quotes": "quoting alone", "base": BASE}
    number = f", {one['n']} questions" if isinstance(one.get("n"), int) else ""
    return (
        f"{_NAMES.get(measure, measure)}, against {others.get(against, against)}",
        f"{one['difference']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f}{number})",
    )


def _has(one: Mapping[str, Any]) -> bool:
    return all(is_number(one.get(key)) for key in ("difference", "low", "high"))


def _when(found: Result) -> str:
    return when(found.adapter.created_at)


def _part(report: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = report.get(key)
    return value if isinstance(value, Mapping) else {}
