"""A follow-up question made to stand alone, so that search finds what "it" means. Pure rules, no model.

"Why is it expensive?" after "What is training?" is searched as "Why is training expensive?". What the learner typed is
kept and shown; only the search query changes. Where no rule applies the question is searched as typed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from retrieval.words import content_stems, words

_LEAD = re.compile(
    r"^(?:(?:ok|okay|so|and|but|then|please|hi|hello|well)[,\s]+)*"
    r"(?:(?:can|could|would)\s+you\s+(?:please\s+)?)?"
    r"(?:(?:explain|define|describe|tell me (?:more )?about|compare)\s+"
    r"|(?:what|who|how|why|when|where|which)(?:'s|’s)?\s+"
    r"(?:(?:is|are|was|were|does|do|did|can|could|would|should|will|happens?(?:\s+(?:to|in|when))?|about"
    r"|exactly|many|much|often|long)\s+)*"
    r"|(?:is|are|does|do|did|can|could|should|will)\s+)",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"^(?:(?:ok|so|but|then)[,\s]+)?(?:and|what about|how about|and what about)\s+(?P<topic>.{2,60}?)\s*\?*$",
    re.I,
)
_TAIL = re.compile(
    r"\s+(?:mean|means|work|works|do|does|for|used for|good for|matter|matters|exactly|in (?:simple|plain) \w+)$",
    re.I,
)
_SUBJECT = re.compile(
    r"\b(?:it|this|that|they|these|those|this one|that one)\b(?!\s+(?:page|course|material|is what))", re.I
)
_OBJECT = re.compile(r"\b(?:them)\b", re.I)
_OWNER = re.compile(r"\b(?:its|their)\b", re.I)
_BARE = re.compile(
    r"^(?:(?:but|and|so|ok)[,\s]+)?(?:why|how|how so|why not|when|where|for example|an example|such as|really|go on"
    r"|tell me more|more|continue|examples?|can you give (?:me )?an example|explain more)\s*[?.!]*$",
    re.I,
)
_EXPLETIVE = re.compile(
    r"\b(?:is|does|would|will|can|was)\s+it\s+(?:true|possible|ok|okay|safe|better|worth)\b", re.I
)
_MAX_TOPIC_WORDS = 5
_COMPARISONS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bdifferences? between (.{2,60}?) and (.{2,60})$",
        r"\bcompare (.{2,60}?) (?:and|with|to|against) (.{2,60})$",
        r"^(?:how |what )?(?:is |are |do |does )?(.{2,60}?) (?:different|differs?) from (.{2,60})$",
        r"^(?:what is |which is better,? )?(.{2,60}?) (?:vs\.?|versus) (.{2,60})$",
    )
]
_IN_BRACKETS = re.compile(
    r"\([^)]*\)"
)  # a long topic that standalone_question appended: not what is asked now
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)


def standalone_question(question: str, earlier: Sequence[str]) -> str:
    """The question with what it leans on filled in. `earlier` holds the previous search queries, oldest first."""
    question = " ".join(question.split())
    if not earlier or not question:
        return question
    previous = earlier[-1]
    topic = topic_of(previous)
    if not topic:
        return question
    if match := _ABOUT.match(question):
        return _swap_topic(previous, topic, match["topic"])
    if _BARE.match(question):
        return f"{question.rstrip('?.! ')}: {previous}"
    if _EXPLETIVE.search(question):
        return question
    if len(words(topic)) > _MAX_TOPIC_WORDS:
        leans = any(p.search(question) for p in (_SUBJECT, _OBJECT, _OWNER))
        return f"{question.rstrip('?')}? ({topic})" if leans else question
    for pattern, replacement in ((_OWNER, f"{topic}'s"), (_OBJECT, topic), (_SUBJECT, topic)):
        match = pattern.search(question)
        if match and not _names_its_own_topic(question[: match.start()]):
            return question[: match.start()] + replacement + question[match.end() :]
    return question


def compared_things(question: str) -> tuple[str, ...]:
    """The two things that a question compares ("what's the difference between A and B?"), else ()."""
    asked = _IN_BRACKETS.sub("", question).strip().rstrip("?.! ")
    for pattern in _COMPARISONS:
        if match := pattern.search(asked):
            things = tuple(_ARTICLE.sub("", thing).strip(" ,") for thing in match.groups())
            if all(content_stems(thing) for thing in things):
                return things
    return ()


def topic_of(question: str) -> str:
    """What a question is about: "What is a LoRA adapter?" -> "a LoRA adapter"; "" when it has no content words."""
    rest = _LEAD.sub("", question.strip().rstrip("?.! "), count=1)
    rest = _TAIL.sub("", rest).strip(" ,;:")
    return rest if content_stems(rest) else ""


def _swap_topic(previous: str, topic: str, new: str) -> str:
    if len(words(topic)) <= _MAX_TOPIC_WORDS and topic in previous:
        return previous.replace(topic, new, 1)
    return f"{new}: {previous}"


def _names_its_own_topic(before: str) -> bool:
    """ "If a model has many parameters, is it better?" explains its own "it": two content words stand before it."""
    return len(content_stems(before)) >= 2
