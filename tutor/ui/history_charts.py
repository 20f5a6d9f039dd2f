"""The charts of the History page over many weeks: the days of half a year, answers by verdict. Values in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from db.study import DayTotal
from tutor.activity import MIN_ANSWERS, MIN_SECONDS, HeatCell, Streak, WeekAccuracy
from tutor.ui import charts
from tutor.ui.markup import count, esc, join, minutes

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_VERDICTS = (("correct", "correct"), ("partial", "partly"), ("incorrect", "not yet"))
RULE = (
    f"A day counts with {MIN_SECONDS // 60} minutes of study, or with {MIN_ANSWERS} answers, reviews and questions "
    "together."
)


def streak_line(streak: Streak) -> str:
    """The streak and its rule in words."""
    if streak.current:
        days = f"{count(streak.current, 'day')} in a row"
        today = "today included" if streak.today_counts else "today not counted yet"
        said = f"<strong>{days}</strong>, {today}; longest {count(streak.longest, 'day')}."
    elif streak.longest:
        said = f"No streak at the moment; your longest was {count(streak.longest, 'day')}."
    else:
        said = "No streak yet."
    return f'<p class="streak">{said} <span class="hint">{RULE}</span></p>'


def heatmap(weeks: Sequence[Sequence[HeatCell]], today: date) -> str:
    """A square for each day, Monday first, a column a week; what the pointer or the keyboard is on is told below."""
    months = join(
        f'<th scope="col">{f"<span>{first:%b}</span>" if _month_begins(weeks, number) else ""}'
        f'<span class="visually-hidden">Week of {first.day} {first:%b}</span></th>'
        for number, week in enumerate(weeks)
        for first in [week[0].day]
    )
    rows = join(
        f'<tr><th scope="row"><span aria-hidden="true">{name[:3] if number % 2 == 0 else ""}</span>'
        f'<span class="visually-hidden">{name}</span></th>'
        f"{join(_cell(week[number], today) for week in weeks)}</tr>"
        for number, name in enumerate(_WEEKDAYS)
    )
    keys = join(f'<i class="heat-{level}"></i>' for level in range(5))
    active = sum(cell.level > 0 for week in weeks for cell in week)
    enough = sum(cell.level > 1 for week in weeks for cell in week)
    said = f"{count(active, 'day')} with study in {len(weeks)} weeks, {enough} of them counted."
    return (
        f'<div class="heat"><table><caption class="visually-hidden">Study by day, the last {len(weeks)} weeks</caption>'
        f"<thead><tr><td></td>{months}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<div class="heat-foot"><p class="heat-told" role="status">{said}</p>'
        f'<span class="heat-key" aria-hidden="true">less {keys} more</span></div>'
    )


def accuracy_chart(weeks: Sequence[WeekAccuracy]) -> str:
    """Answers by week, stacked by the verdict that counts, with the share that was correct above."""
    most = max((_total(week) for week in weeks), default=0)
    if not most:
        return (
            '<p class="empty">No answers in these weeks. Every page of the study path begins with a question; '
            "what you answer is counted here.</p>"
        )
    top = charts.nice_count(most)
    step = 100 / len(weeks)
    bars = []
    for number, week in enumerate(weeks):
        share = (number + 0.5) / len(weeks)
        if total := _total(week):
            bars.append(f"<g><title>{esc(_told(week))}</title>{_bar(week, step, number, top)}</g>")
            bars.append(
                f'<text x="{share * 100:.2f}%" y="{charts.HEIGHT * (1 - total / top) - 6:.1f}" class="share" '
                f'text-anchor="middle">{week.correct / total:.0%}</text>'
            )
        if (len(weeks) - 1 - number) % 3 == 0:
            bars.append(charts.x_label(share, f"{week.start.day} {week.start:%b}"))
    axis = charts.y_axis([(0, "0"), (0.5, f"{top // 2}"), (1, f"{top}")])
    rows = [
        (f"{week.start.day} {week.start:%b}", *(str(getattr(week, key)) for key, _ in _VERDICTS))
        for week in weeks
        if _total(week)
    ]
    names = join(f'<li><i class="is-{key}"></i>{name}</li>' for key, name in _VERDICTS)
    return charts.figure(
        "Answers by week and verdict",
        axis + join(bars),
        ("Week of", "Correct", "Partly", "Not yet"),
        rows,
        legend=f'<ul class="chart-legend" aria-hidden="true">{names}<li>% = share correct</li></ul>',
    )


def _bar(week: WeekAccuracy, step: float, number: int, top: int) -> str:
    x, parts, base = step * number + step * 0.2, [], float(charts.HEIGHT)
    for key, _ in _VERDICTS:
        if tall := charts.HEIGHT * getattr(week, key) / top:
            base -= tall
            parts.append(
                f'<rect x="{x:.2f}%" y="{base:.1f}" width="{step * 0.6:.2f}%" height="{tall:.1f}" class="is-{key}"/>'
            )
    return join(parts)


def _total(week: WeekAccuracy) -> int:
    return week.correct + week.partial + week.incorrect


def _told(week: WeekAccuracy) -> str:
    parts = ", ".join(f"{getattr(week, key)} {name}" for key, name in _VERDICTS)
    return f"Week of {week.start.day} {week.start:%b}: {parts}"


def _month_begins(weeks: Sequence[Sequence[HeatCell]], number: int) -> bool:
    """Whether a month is named here: over its first week, unless the next month's name would touch it."""
    months = [week[0].day.month for week in weeks[max(0, number - 1) : number + 3]]
    return months[1] != months[0] if number else len(set(months)) == 1


def _cell(cell: HeatCell, today: date) -> str:
    if cell.day > today:
        return "<td></td>"
    told = f"{cell.day:%a} {cell.day.day} {cell.day:%b}: {_done(cell.total)}"
    now = " is-today" if cell.day == today else ""
    return (
        f'<td><span class="heat-cell heat-{cell.level}{now}" title="{esc(told)}" '
        f'tabindex="{0 if cell.day == today else -1}"><span class="visually-hidden">{esc(told)}</span></span></td>'
    )


def _done(total: DayTotal | None) -> str:
    if total is None:
        return "no study"
    parts = [minutes(total.seconds)] if total.seconds else []
    for number, one in ((total.answers, "answer"), (total.reviews, "review"), (total.questions, "question")):
        if number:
            parts.append(count(number, one))
    return ", ".join(parts) or "no study"
