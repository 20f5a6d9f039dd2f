"""What the experiments of the Lab page fill in: panes, fingerprints, the note, as HTML. Values in, text out.

`place` marks where a result goes: the script puts it into the element of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutor.lab import AdapterWeights, WeightsRead
from tutor.ui.chat_side import Ids, citation_mark
from tutor.ui.markup import count, esc, join, plain, reader_url, shorten

Json = Mapping[str, Any]
_STATUS = {
    "answered": "Checked against the material",
    "quoted": "In the material’s own words",
    "not_covered": "Not covered by the material",
    "interrupted": "Stopped",
    "failed": "No answer",
}
UNCHECKED = "Not checked: it read no material"


def place(name: str, html: str) -> str:
    """A result on its way to the element of this name."""
    return f'<div data-place="{esc(name)}">{html}</div>'


def run(number: str, parts: Mapping[str, str], *, told: str, error: str, done: bool) -> str:
    """All parts of a run, for the script; `told` is said to screen readers."""
    state = f'data-run="{esc(number)}" data-told="{esc(told)}" data-error="{esc(error)}"'
    return f"<div {state}{' data-done' if done else ''}>{join(place(*part) for part in parts.items())}</div>"


def sha(fingerprint: str) -> str:
    """A fingerprint's beginning; the whole of it is its title."""
    if not fingerprint:
        return '<span class="hint">not told</span>'
    return f'<code class="sha" title="SHA-256 {esc(fingerprint)}">{esc(fingerprint[:10])}</code>'


# ---- a pane while it is filled, and filled ----


def waiting() -> str:
    return '<p class="hint">Waits for its turn.</p>'


def running(status: str, seconds: int) -> str:
    """What a run is doing."""
    waited = f" {seconds} s" if seconds >= 1 else ""
    return (
        f'<p class="status"><span class="pulse" aria-hidden="true"></span>{esc(status)}'
        f'<span aria-hidden="true">{waited}</span></p>'
    )


def stopped() -> str:
    return '<p class="hint">Stopped.</p>'


def failed(reason: str) -> str:
    return f'<p class="error">{esc(reason)}</p>'


def outcome(turn: Json, ids: Ids, *, closed_book: bool, more: Sequence[tuple[str, str]] = ()) -> str:
    """A finished run: `turn` is `tutor.wire.turn_json` with details; `more` are further facts, the second HTML."""
    cited = {citation["n"]: citation for citation in turn["citations"]}
    if closed_book:
        text = f"<p>{esc(turn['answer'])}</p>" if turn["answer"] else ""
        badge = f'<p class="badge is-unchecked">{UNCHECKED}</p>'
    else:
        text = join(_sentence(s, cited, ids) for s in turn["sentences"] if s["supported"])
        badge = f'<p class="badge is-{esc(turn["status"])}">{_STATUS[turn["status"]]}</p>'
    if turn["status"] in ("failed", "interrupted"):
        badge = f'<p class="badge is-{esc(turn["status"])}">{_STATUS[turn["status"]]}</p>'
    error = failed(turn["error"]) if turn["error"] else ""
    timings, tokens = turn["timings_ms"], turn["tokens"]
    load = timings.get("load", 0.0)
    spent = f"{max(0.0, timings['total'] - load) / 1000:.1f} s"
    loaded = f' <span class="hint">+ {load / 1000:.1f} s loading</span>' if load >= 100 else ""
    written = (
        f"{tokens['prompt']:,} in, {tokens['completion']:,} out"
        if tokens["prompt"]
        else "none: no model asked"
    )
    facts = [("Tokens", written), ("Time", spent + loaded), ("Weights", _written_by(turn, tokens)), *more]
    return f'{badge}<div class="pane-answer">{text}</div>{error}{_facts(facts)}'


def _written_by(turn: Json, tokens: Json) -> str:
    return sha(turn["model"]["weights_sha256"]) if tokens["prompt"] else "–"


def _sentence(sentence: Json, cited: Mapping[int, Json], ids: Ids) -> str:
    marks = join(citation_mark(cited[n], ids) for n in sentence["citations"] if n in cited)
    if sentence.get("origin") == "material":
        return f"<blockquote>{esc(plain(sentence['text']))}{marks}</blockquote>"
    return f"<p>{esc(sentence['text'])}{marks}</p>"


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = join(f"<div><dt>{esc(name)}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="pane-facts">{rows}</dl>'


# ---- weights ----


def weights_table(
    rows: Sequence[tuple[str, WeightsRead | None, WeightsRead | None]] = (), *, told: str = ""
) -> str:
    """(name, read before, read after) of each, and whether anything changed. `told` replaces the last line."""
    shown = rows or [("Base", None, None)]
    body = join(
        f'<tr><th scope="row">{esc(name)}</th><td>{_read(before)}</td><td>{_read(after)}</td></tr>'
        for name, before, after in shown
    )
    pairs = [(before.sha256, after.sha256) for _, before, after in rows if before and after]
    if pairs and not told:
        same = all(before == after for before, after in pairs)
        told = (
            "Identical: asking changed no weight."
            if same
            else "Different: somebody wrote to these files meanwhile."
        )
    verdict = f'<p class="lab-verdict">{esc(told)}</p>'
    return (
        '<table><caption class="visually-hidden">Fingerprints of the weight files</caption><thead><tr>'
        '<th scope="col">Files</th><th scope="col">Before</th><th scope="col">After</th></tr></thead>'
        f"<tbody>{body}</tbody></table>{verdict}"
    )


def _read(found: WeightsRead | None) -> str:
    return "–" if found is None else f"{sha(found.sha256)} {_reading(found)}"


def _reading(found: WeightsRead) -> str:
    size = f"{found.bytes / 1e6:,.0f} MB" if found.bytes >= 1e6 else f"{found.bytes / 1e3:,.0f} kB"
    return f'<span class="hint">{size} read in {found.seconds:.2f} s</span>'


def read_now(rows: Sequence[tuple[str, WeightsRead]]) -> str:
    """The weights as they are at this moment."""
    return weights_table([(name, None, found) for name, found in rows], told="Read just now.")


def registry_table(base: str, base_sha256: str, rows: Sequence[AdapterWeights], served: str | None) -> str:
    """The base and every adapter, with the hashes of their own files."""

    def row(name: str, own: str, trained_on: str, state: str) -> str:
        return (
            f'<tr><th scope="row">{esc(name)} <span class="hint">{esc(state)}</span></th>'
            f"<td>{sha(own)}</td><td>{trained_on}</td></tr>"
        )

    first = row(
        f"Base {base}",
        base_sha256,
        "–",
        "base, answers alone" if served is None else "base, under every adapter",
    )
    body = join(
        row(
            one.adapter.name,
            one.own_sha256,
            sha(one.base_sha256),
            "served now" if one.adapter.name == served else one.adapter.state,
        )
        for one in rows
    )
    return (
        '<table><caption class="visually-hidden">Base and adapters</caption><thead><tr><th scope="col">Weights</th>'
        '<th scope="col">Its own file</th><th scope="col">Trained on base</th></tr></thead>'
        f'<tbody>{first}{body}</tbody></table><p class="lab-verdict">{esc(_lineage(base_sha256, rows))}</p>'
    )


def _lineage(base_sha256: str, rows: Sequence[AdapterWeights]) -> str:
    """What the hashes say together."""
    files = {one.own_sha256 for one in rows}
    if not files:
        return "No job has made an adapter yet."
    many = "1 adapter" if len(files) == 1 else f"{len(files)} adapters, each with weights of its own"
    if {one.base_sha256 for one in rows} == {base_sha256}:
        return f"{many}, trained on one base: the one that is here now."
    return f"{many}. Not every one says that it was trained on the base that is here now."


# ---- the note ----


def note_status(passages: int | None, *, seconds: float | None = None, doc: int | None = None) -> str:
    """Whether the page is in the index; None passages: it is not."""
    if passages is None:
        return "The page is not in the index; nothing finds it."
    link = f'<a href="{esc(reader_url("lab", "note.md", doc=doc))}">Open it</a>'
    took = f", saved and indexed in {seconds:.2f} s" if seconds is not None else ""
    return f"<span>In the index: {count(passages, 'passage')}{took}. {link}</span>"


def note_said(text: str) -> str:
    """The page in a line: its text without the heading."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return f"<q>{esc(shorten(' '.join(lines), 160))}</q>"


def note_verdict(same_answer: bool | None, same_weights: bool | None) -> str:
    """What became of answer and weights since the run before; None where that isn't known."""
    weights = {
        True: "The weights did not: the same fingerprint.",
        False: "The weights are others, too: an adapter was promoted or rolled back meanwhile.",
        None: "",
    }[same_weights]
    if same_answer is None:
        return "Now change a word of the page, and save and ask again."
    first = "The answer stayed the same." if same_answer else "The answer changed with the page."
    return f"{first} {weights if not same_answer else ''}".strip()
