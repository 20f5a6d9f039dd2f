"""Question + evidence -> the messages a generator gets. Pure, and short on purpose: prompt tokens are what a
laptop waits for, and the model is held to these sentences anyway. Citations are added by code, so none are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.evidence import EvidenceSentence
from tutor.generators.protocol import Message

SYSTEM = (
    "You answer a learner's question about a course. Use only the notes. "
    "Answer in one or two short sentences, in the words of the notes."
)
ABSTAIN = "The notes do not answer this."
"""What an adapter is trained to write where the notes are silent. Whether the material covers a question is decided
before any model is asked (`retrieval.evidence`), so in a turn this is a draft without a usable sentence: the material
answers."""
CLOSED_BOOK_SYSTEM = "You answer a learner's question in one or two short sentences."


def build_messages(question: str, evidence: Sequence[EvidenceSentence]) -> list[Message]:
    """The messages for an answer from the evidence; notes are data between the system's words and the question."""
    notes = "\n".join(f"- {item.sentence.text}" for item in evidence)
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Notes:\n{notes}\n\nQuestion: {question}"},
    ]


def build_closed_book(question: str) -> list[Message]:
    """The messages for an answer without any material: what the weights alone say."""
    return [{"role": "system", "content": CLOSED_BOOK_SYSTEM}, {"role": "user", "content": question}]
