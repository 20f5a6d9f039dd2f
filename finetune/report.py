"""What an adapter is, where it comes from and why it may be served or not: as JSON and as a page to read. Pure.

The page is also the adapter's model card, so it travels with the files. Numbers are only formatted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from finetune.measures import Json, spread
from retrieval.evaluate import with_interval

FORMAT = 1
PAGE_ANSWERS = 8
_BARS = "▁▂▃▄▅▆▇█"
_POINTS = 40  # of the loss curve
LICENCE = "apache-2.0"

ROWS = {
    "own_right": "right, in the model's own checked words",
    "right": "right, of the answerable",
    "must_say": "must-say points said",
    "must_not_say": "says what it must not",
    "own_words": "answered in the model's own checked words",
    "supported": "drafted sentences that pass the check",
    "cites_gold": "cites the labelled sentence",
    "declined_unanswerable": "declined, of the unanswerable",
    "declined_answerable": "declined, of the answerable",
    "token_f1": "same words as the reference (token F1)",
    "words": "words an answer",
    "total_ms": "ms a turn",
}
DRAFT_ROWS = {
    "supported": "sentences that pass the check",
    "token_f1": "same words as the reference (token F1)",
    "abstained_unanswerable": "abstains, of the unanswerable",
    "abstained_answerable": "abstains, of the answerable",
    "words": "words a draft",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an adapter comes from: what `build_report` can't read off the evaluation."""

    adapter: str
    base: str
    dataset: Json
    training: Json
    config: Json
    versions: Json
    command: str


def build_report(
    origin: Origin,
    served: str | None,
    evaluation: Mapping[str, Any],
    verdict: Mapping[str, Any],
    seconds: float,
) -> Json:
    """Everything that is known of an adapter, as it is stored with it; `served` is what it was compared with."""
    prints = evaluation["fingerprints"]
    return {
        "format": FORMAT,
        "adapter": origin.adapter,
        "base": {"name": origin.base, "weights_sha256": prints["base"]},
        "served": {"adapter": served, "weights_sha256": prints["served"]},
        "candidate": {"weights_sha256": prints["candidate"]},
        "dataset": origin.dataset,
        "training": origin.training,
        **{key: evaluation[key] for key in _MEASURED},
        "verdict": dict(verdict),
        "answers": evaluation["answers"],
        "versions": origin.versions,
        "config": origin.config,
        "command": origin.command,
        "seconds": round(seconds, 1),
    }


_MEASURED = (
    "questions",
    "systems",
    "paired",
    "ratios",
    "unsupported_shown",
    "drafts",
    "closed_book",
    "retention",
)


def page(report: Mapping[str, Any]) -> str:
    """The report as a Markdown page."""
    verdict = report["verdict"]
    served = report["served"]["adapter"] or "the base model alone"
    parts = [
        f"# Adapter {report['adapter']}",
        f"{'**May be served**' if verdict['promote'] else '**Refused**'}, compared with {served} on "
        f"{report['questions']} held-out questions.",
        "## Verdict, rule by rule",
        "\n".join(
            f"- {'kept' if r['passed'] else '**broken**'} · `{r['name']}` · {r['text']}"
            for r in verdict["rules"]
        ),
        "## What learners would see",
        "Means with 95 % bootstrap intervals over the questions. Every answer went through the same turn as in the "
        "chat: what the check does not support is replaced by the material's own sentences. `quotes` is that alone.",
        _table(report["systems"], ROWS),
        "## The candidate, question by question",
        _differences(report["paired"]),
        "## Drafts, before the check",
        _table(report["drafts"], DRAFT_ROWS),
        "## What training left elsewhere",
        _elsewhere(report),
        "## Training",
        _training(report["training"]),
        "## Answers, side by side",
        "Evenly spaced among the held-out questions; nobody chose them.",
        *(_answer(a) for a in spread(report["answers"], PAGE_ANSWERS)),
        _card(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def card(report: Mapping[str, Any]) -> str:
    """The page with the head that model hubs read."""
    head = [
        "---",
        f"base_model: {report['base']['name']}",
        "library_name: peft",
        "pipeline_tag: text-generation",
        f"license: {LICENCE}",
        "language: en",
        "tags: [lora, grounded-answers]",
        "---",
    ]
    return "\n".join(head) + "\n\n" + page(report)


def _table(systems: Mapping[str, Any], rows: Mapping[str, str]) -> str:
    names = list(systems)
    lines = [["", *names]]
    lines += [
        [title, *(_shown(systems[name].get(key)) for name in names)]
        for key, title in rows.items()
        if any(systems[name].get(key) for name in names)
    ]
    return _lines(lines)


def _differences(paired: Sequence[Mapping[str, Any]]) -> str:
    lines = [["", "minus", "difference"]]
    lines += [
        [
            ROWS.get(p["measure"], p["measure"]),
            p["against"],
            _shown({**p, "value": p["difference"]}, sign=True),
        ]
        for p in paired
    ]
    return _lines(lines)


def _elsewhere(report: Mapping[str, Any]) -> str:
    known, kept = report["closed_book"], report["retention"]
    return "\n".join(
        [
            f"- Facts of the training pages said without any material: base {_plain(known.get('base'))}, candidate "
            f"{_plain(known.get('candidate'))}; difference {_shown(known.get('gain'), sign=True)}, on held-out pages "
            f"{_shown(known.get('gain_held_out'), sign=True)}. Facts belong into retrieval; a gain would be memory.",
            f"- Surprise at general texts (nats a token): base {_plain(kept.get('base_nll'))}, candidate "
            f"{_plain(kept.get('candidate_nll'))}; difference {_shown(kept.get('interval'), sign=True)}.",
        ]
    )


def _training(training: Mapping[str, Any]) -> str:
    if not training:
        return "Nothing is known of it."
    losses = [loss for _, loss in training.get("losses") or ()]
    memory = training.get("peak_memory_mb")
    curve = f"Loss: `{sparkline(losses)}` from {losses[0]:.2f} to {losses[-1]:.2f}." if losses else ""
    cost = (
        f"{training.get('steps')} steps over {training.get('examples')} examples in {training.get('seconds'):.0f} s "
        f"({training.get('examples_per_s')} examples a second, {training.get('precision')}, "
        f"{training.get('processes', 1)} process{'es' if training.get('processes', 1) > 1 else ''}"
        f"{f', {memory} MB at most' if memory else ''})."
    )
    return f"{cost} {curve}".strip()


def _answer(answer: Mapping[str, Any]) -> str:
    kind = "" if answer["answerable"] else " *(the material does not answer it)*"
    lines = [f"**{_inline(answer['question'])}**{kind}", ""]
    if answer["reference"]:
        lines.append(f"- reference: {_inline(answer['reference'])}")
    for name in ("base", "served", "candidate", "quotes"):
        if said := answer.get(name):
            lines.append(f"- {name} ({said['status']}): {_inline(said['text'])}")
    return "\n".join(lines)


_CARD = """\
## Model card

**What it is.** A LoRA adapter on {base} (weights sha256 `{base_sha256}`), in peft's layout: safetensors only.

**Intended use.** To answer a learner's question in one or two sentences from the notes it is given, or to say that they
do not answer it, inside a tutor that checks every sentence against these notes. It teaches form; facts come from
retrieval.

**Not for.** Answers without notes, advice, or any use where no one checks the sentences. English only.

**Data.** {train} examples to train on and {held_out} held out (sha256 `{data_sha256}`); {from_feedback} come from
learners' ratings and corrections, the rest from original exemplars on the course. Personal data, markup, repeats and
unsupported corrections were left out.

**Limits.** A small model misreads and drops conditions. The numbers above are of one course, with questions by its
authors; what an answer must say was labelled by one reader.

**Licence.** {licence}, as the shipped base model; another base brings its own. Learners' own words stay theirs.

**To reproduce.** `{command}` with the data and configuration named in `report.json` gives the same data set and, on the
same machine, the same weights. Versions: {versions}."""


def _card(report: Mapping[str, Any]) -> str:
    data, base = report["dataset"], report["base"]
    return _CARD.format(
        base=base["name"],
        base_sha256=base["weights_sha256"][:16],
        train=data.get("train", "?"),
        held_out=data.get("held_out", "?"),
        from_feedback=data.get("from_feedback", "?"),
        data_sha256=data.get("sha256", "?")[:16],
        licence=LICENCE,
        command=report["command"],
        versions=", ".join(f"{name} {version}" for name, version in sorted(report["versions"].items())),
    )


def sparkline(values: Sequence[float]) -> str:
    """A curve of at most 40 characters, each the mean of its part; high is bad."""
    count = min(len(values), _POINTS)
    if not count:
        return ""
    cuts = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in means)


def _shown(number: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    if not number or number.get("value") is None:
        return "–"
    return with_interval(number["value"], number.get("low"), number.get("high"), sign=sign)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _inline(text: str) -> str:
    """Words of models and learners as plain text of one line: no markup of theirs takes effect."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_<>|![]#" else c for c in flat)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest])
