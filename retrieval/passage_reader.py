"""The network behind `reader.py`: reads a question with a whole passage and scores each of its sentences.

Reading the passage as a whole is what tells a sentence that answers from one that only shares its words: pronouns,
list items and "the second kind" mean something only beside their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from retrieval.adapted import AdaptedNetwork, compared, comparing_head

MAX_QUESTION_TOKENS = 64
MAX_HEADING_TOKENS = 32
MAX_SENTENCE_TOKENS = 96
MAX_TOKENS = 384


class PassageReader(AdaptedNetwork):
    """Reads (question, heading, sentences) together; one logit a sentence: does it answer?"""

    def __init__(self, folder: Path, *, rank: int, alpha: float) -> None:
        super().__init__(folder, rank=rank, alpha=alpha)
        self.head = comparing_head(self.width, 1)

    def forward(
        self, questions: Sequence[str], passages: Sequence[tuple[str, Sequence[str]]]
    ) -> list[Tensor]:
        """`passages` are (heading, sentences). Logits [number of sentences] for each; what didn't fit is not read
        and gets the passage's lowest."""
        ids, kinds, owners, counts = self._tokens(questions, passages)
        states = self.backbone(
            input_ids=ids, token_type_ids=kinds, attention_mask=(owners >= 0).long()
        ).last_hidden_state
        segments = int(owners.max()) + 1
        rows = torch.arange(len(ids)).unsqueeze(1) * segments
        at = (rows + owners.clamp(min=0)).flatten()
        seen = (owners >= 0).flatten().float().unsqueeze(1)
        sums = torch.zeros(len(ids) * segments, states.shape[-1]).index_add(
            0, at, states.flatten(0, 1) * seen
        )
        sizes = torch.zeros(len(ids) * segments, 1).index_add(0, at, seen)
        means = (sums / sizes.clamp(min=1)).view(len(ids), segments, -1)
        question = means[:, 0:1].expand(-1, segments - 1, -1)
        logits = self.head(compared(question, means[:, 1:])).squeeze(-1)[:, 1:]
        found = []
        for row, (read, total) in enumerate(counts):
            known = logits[row, :read]
            rest = total - read
            found.append(torch.cat([known, known.min().expand(rest)]) if rest and read else known)
        return found

    def _tokens(
        self, questions: Sequence[str], passages: Sequence[tuple[str, Sequence[str]]]
    ) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]:
        """Token ids, segment types, and for each token whose it is: 0 the question's, 1 the heading's, 2 + i of
        sentence i, -1 padding; and for each passage how many of its sentences fit, and how many there are."""
        begin, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rows: list[tuple[list[int], list[int]]] = []
        counts = []
        for question, (heading, sentences) in zip(questions, passages, strict=True):
            texts = self.tokenizer([question, heading, *sentences], add_special_tokens=False)["input_ids"]
            asked, named, *said = texts
            asked, named = asked[:MAX_QUESTION_TOKENS], named[:MAX_HEADING_TOKENS]
            ids = [begin, *asked, end, *named]
            owners = [0] * (len(asked) + 2) + [1] * len(named)
            read = 0
            for number, sentence in enumerate(said):
                part = sentence[:MAX_SENTENCE_TOKENS] or [end]
                if number and len(ids) + len(part) >= MAX_TOKENS:
                    break
                ids += part
                owners += [2 + number] * len(part)
                read += 1
            rows.append(([*ids, end], [*owners, 1]))
            counts.append((read, len(sentences)))
        longest = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
        owners = torch.tensor([owners + [-1] * (longest - len(owners)) for _, owners in rows])
        return ids, (owners > 0).long(), owners, counts
