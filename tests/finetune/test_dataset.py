"""Feedback -> examples: what is kept, what is refused and why, and that the split holds still."""

from dataclasses import replace

from finetune.config import FinetuneConfig
from finetune.dataset import Item, build_dataset, is_held_out

PROMPT = ({"role": "system", "content": "Answer."}, {"role": "user", "content": "What is a token?"})
LIKED = Item(1, 1, "c1", PROMPT, "A token is a piece of text. [1]", "up", None)


def test_every_item_is_kept_or_refused_with_a_reason() -> None:
    items = [
        LIKED,
        replace(LIKED, feedback_id=2),
        replace(LIKED, feedback_id=3, rating="down"),
        replace(LIKED, feedback_id=4, rating="down", correction="Tokens are pieces."),
        replace(LIKED, feedback_id=5, messages=()),
        replace(LIKED, feedback_id=6, answer=" "),
    ]
    data = build_dataset(items, FinetuneConfig(held_out_share=0.0))
    assert [(e.feedback_id, e.completion) for e in data.train] == [
        (1, "A token is a piece of text."),
        (4, "Tokens are pieces."),
    ]
    assert data.train[0].prompt == PROMPT
    reasons = dict(data.rejected)
    assert sorted(reasons) == [2, 3, 5, 6]
    assert "already" in reasons[2]
    assert "without a correction" in reasons[3]


def test_one_learner_is_capped() -> None:
    items = [replace(LIKED, feedback_id=i, answer=f"Answer {i}.") for i in range(5)]
    data = build_dataset(
        [*items, replace(LIKED, feedback_id=9, learner_id=2)], FinetuneConfig(0, 0.0, max_per_learner=3)
    )
    assert [e.feedback_id for e in data.train] == [0, 1, 2, 9]


def test_a_conversation_stays_on_one_side_whatever_else_arrives() -> None:
    config = FinetuneConfig()
    items = [replace(LIKED, feedback_id=i, group=f"c{i // 2}", answer=f"Answer {i}.") for i in range(200)]
    data = build_dataset(items, config)
    held = {e.feedback_id // 2 for e in data.held_out}
    assert held == {i for i in range(100) if is_held_out(f"c{i}", config)}
    assert held.isdisjoint(e.feedback_id // 2 for e in data.train)
    assert 10 <= len(held) <= 30
    assert build_dataset(items[::-1], config).sha256 == data.sha256
    assert build_dataset(items[:-1], config).sha256 != data.sha256
