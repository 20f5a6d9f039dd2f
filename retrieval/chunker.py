"""Document -> Chunks: whole sentences of one section, as many as the embedder reads well. Pure.

Where sentences are is the loaders' business; what a chunk is searched by is `search_text` below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retrieval.records import Chunk, Document, Section, Sentence

MAX_TOKENS = 180  # MiniLM reads 256, but was trained on 128; whole sentences keep this approximate
SHORT_TAIL = 40  # tokens; a shorter rest joins the chunk before it
STRETCH = 1.25  # ... if that stays within this multiple of the limit


def chunk(
    document: Document, *, max_tokens: int = MAX_TOKENS, count_tokens: Callable[[str], int]
) -> list[Chunk]:
    """Pack the document's sentences into chunks of at most `max_tokens`, headings and title included.

    A chunk never crosses a heading and never splits a sentence: one longer than the limit is a chunk alone.
    `document.text[chunk.start:chunk.end]` is `chunk.text`. Ordinals count from 0 through the document.
    """
    chunks: list[Chunk] = []
    for section in document.sections:
        prefix = count_tokens(_prefix(document.title, section.heading_path))
        for group in _pack(section, max_tokens, prefix, count_tokens):
            start, end = group[0].start, group[-1].end
            text = document.text[start:end]
            chunks.append(Chunk(len(chunks), section.heading_path, start, end, text, tuple(group)))
    return chunks


def search_text(title: str, heading_path: Sequence[str], sentences: Sequence[Sentence]) -> str:
    """What is embedded and full-text searched for a chunk: title, headings, plain sentences."""
    return _prefix(title, heading_path) + " ".join(sentence.text for sentence in sentences)


def _prefix(title: str, heading_path: Sequence[str]) -> str:
    parts = [title, *heading_path]
    return "".join(f"{part}\n" for i, part in enumerate(parts) if part and part not in parts[:i])


def _pack(
    section: Section, max_tokens: int, prefix: int, count_tokens: Callable[[str], int]
) -> list[list[Sentence]]:
    groups: list[list[Sentence]] = []
    sizes: list[int] = []
    for sentence in section.sentences:
        size = count_tokens(sentence.text)
        if not groups or prefix + sizes[-1] + size > max_tokens:
            groups.append([])
            sizes.append(0)
            # "There are three kinds:" belongs to the list that follows it.
            if len(groups) > 1 and len(groups[-2]) > 1 and groups[-2][-1].text.endswith(":"):
                lead = groups[-2].pop()
                moved = count_tokens(lead.text)
                sizes[-2] -= moved
                groups[-1].append(lead)
                sizes[-1] += moved
        groups[-1].append(sentence)
        sizes[-1] += size
    if len(groups) > 1 and sizes[-1] < SHORT_TAIL and prefix + sum(sizes[-2:]) <= STRETCH * max_tokens:
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups
