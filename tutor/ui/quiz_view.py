"""A quiz as HTML: one task at a time, its result, and the summary at the end. Values in, text out.

A task comes with its answer only inside its `Result`, which it has once it was answered. How a result looks is
`lesson_view.py`'s, the same as on a page.
"""

from __future__ import annotations

from datetime import datetime

from tutor.lesson_values import QuizItem, QuizState, Result
from tutor.ui import lesson_view
from tutor.ui.markup import count, esc, join, reader_url, shorten, url
from tutor.ui.review_view import blanked

MAX_TERM = 120
_KINDS = {
    "question": "Answer in your own words.",
    "term": "Which term is missing?",
    "recall": "You saved the answer to this. What was it?",
}
_WORDS = {"correct": "correct", "partial": "partly correct", "incorrect": "not yet correct"}
_SHORT = {"correct": "correct", "partial": "partly", "incorrect": "not yet"}


def page(quiz: QuizState, now: datetime) -> str:
    """The whole page, at the first task without an answer or at the summary."""
    title = "Mixed quiz" if quiz.kind == "due" else quiz.title
    return (
        f'<div class="page" id="main" tabindex="-1" data-title="Quiz: {esc(title)}"><article class="sheet quiz" '
        f'data-quiz="{quiz.id}"><p class="meta">Quiz without the tutor · <a href="{esc(url("review"))}">back to '
        f'Review</a></p><h1>{esc(title)}</h1><div id="study">{task(quiz, now)}</div></article></div>'
    )


def missing() -> str:
    """Said for a quiz that is not there."""
    return (
        '<div class="page" id="main" tabindex="-1" data-title="Quiz"><article class="sheet">'
        "<h1>This quiz is not here</h1><p>It may belong to another home folder, or was deleted. "
        f'<a href="{esc(url("review"))}">Go to Review</a>.</p></article></div>'
    )


def task(quiz: QuizState, now: datetime, number: int | None = None) -> str:
    """What is on screen: the result of task `number`, else the next task without an answer, else the summary."""
    shown = next((item for item in quiz.items if item.number == number and item.result), None)
    if shown is not None and shown.result is not None:
        return _progress(quiz, shown) + _result(quiz, shown, shown.result, now)
    if quiz.current is not None:
        return _progress(quiz, quiz.current) + _form(quiz.current)
    return summary(quiz, now)


def summary(quiz: QuizState, now: datetime) -> str:
    """How it went, and every task with its result."""
    if not quiz.items:
        return '<p class="empty">The pages and cards of this quiz are gone.</p>'
    parts = join(
        f'<div class="is-{verdict}"><dt>{_SHORT[verdict]}</dt><dd>{quiz.counts.get(verdict, 0)}</dd></div>'
        for verdict in _SHORT
    )
    items = join(_summary_item(item, item.result, now) for item in quiz.items if item.result)
    return (
        f'<h2 class="done-title" tabindex="-1">Done: {quiz.counts.get("correct", 0)} of {len(quiz.items)} correct</h2>'
        f'{_bar(quiz)}<dl class="totals quiz-totals">{parts}</dl>{_again(quiz)}'
        f'<h2>Your answers</h2><div class="quiz-answers">{items}</div>'
    )


def _again(quiz: QuizState) -> str:
    page = next((item.page for item in quiz.items if item.page), "")
    about = {"page": f' data-page="{esc(page)}"', "concept": f' data-concept="{esc(quiz.title)}"'}.get(
        quiz.kind, ""
    )
    again = (
        f'<button type="button" class="button quiet" data-do="start" data-kind="{quiz.kind}"{about}>'
        "Another round</button>"
    )
    return (
        f'<div class="ask-actions"><a class="button" href="{esc(url("review"))}">Back to Review</a>'
        f"{again if quiz.kind != 'due' else ''}"
        f'<a class="button quiet" href="{esc(url("history"))}">What I know</a></div>'
    )


def _summary_item(item: QuizItem, result: Result, now: datetime) -> str:
    where = (
        f'<p class="meta">From <a href="{esc(reader_url("course", item.page))}">{esc(item.title)}</a></p>'
        if item.title
        else ""
    )
    verdict = "unknown" if result.answer is None and result.counted == "incorrect" else result.counted
    words = "Did not know" if verdict == "unknown" else lesson_view.VERDICTS[result.counted]
    return (
        f'<details class="quiz-item" data-number="{item.number}"><summary><span class="quiz-item-prompt">'
        f"{item.number}. {blanked(shorten(item.prompt, 140))}</span>"
        f'<span class="tag is-{verdict}">{esc(words)}</span></summary>'
        f"{where}{lesson_view.answered(result, now)}</details>"
    )


def _progress(quiz: QuizState, shown: QuizItem) -> str:
    place = next(n for n, item in enumerate(quiz.items, start=1) if item.number == shown.number)
    return (
        f'<div class="quiz-progress"><span role="status">{place} of {len(quiz.items)}</span>'
        f"{_bar(quiz, shown.number)}</div>"
    )


def _bar(quiz: QuizState, current: int | None = None) -> str:
    said = ", ".join(f"{quiz.counts.get(verdict, 0)} {words}" for verdict, words in _WORDS.items())
    left = sum(item.result is None for item in quiz.items)
    label = f"{said}, {count(left, 'task')} left" if left else said
    cells = join(
        f'<span class="{f"is-{item.result.counted}" if item.result else ""}'
        f'{" is-current" if item.number == current else ""}"></span>'
        for item in quiz.items
    )
    return f'<div class="steps" role="img" aria-label="{esc(label)}">{cells}</div>'


def _form(item: QuizItem) -> str:
    name = f"task-{item.number}"
    if item.kind == "term":
        field = (
            f'<input name="answer" id="{name}" maxlength="{MAX_TERM}" autocomplete="off" autocapitalize="none" '
            f'spellcheck="false" enterkeyhint="send" aria-describedby="{name}-how">'
        )
        keys = "Enter commits"
    else:
        field = (
            f'<textarea name="answer" id="{name}" rows="5" maxlength="{lesson_view.MAX_ANSWER_CHARS}" '
            f'autocomplete="off" aria-describedby="{name}-how"></textarea>'
        )
        keys = "Ctrl + Enter commits"
    where = f" · {esc(item.title)}" if item.title else ""
    return (
        f'<section class="ask is-open quiz-task" tabindex="-1" aria-label="Task">'
        f'<form data-do="answer" data-number="{item.number}" '
        f'data-request="{esc(item.request_id)}" novalidate>'
        f'<label class="task-prompt" for="{name}">{blanked(item.prompt)}</label>'
        f'<p class="hint" id="{name}-how">{_KINDS[item.kind]}{where}</p>{field}'
        '<div class="ask-actions"><button type="submit" class="button">Commit answer</button>'
        '<button type="button" class="button quiet" data-do="unknown">I don\'t know yet</button>'
        f'<span class="keys" aria-hidden="true">{keys}</span></div></form></section>'
    )


def _result(quiz: QuizState, item: QuizItem, result: Result, now: datetime) -> str:
    label = "See how it went" if quiz.finished else "Next"
    return (
        f'<div class="quiz-result" data-number="{item.number}">{lesson_view.answered(result, now)}'
        f'<div class="quiz-next"><button type="button" class="button" data-do="next">{label} <kbd>Enter</kbd></button>'
        "</div></div>"
    )
