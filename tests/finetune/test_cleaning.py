"""One text at a time: what is stripped, what is found, and what is left alone."""

import pytest

from finetune.cleaning import hides_something, normal, personal_data, strip_markup


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("A **token** is a [piece](https://x.example/a) of `text`. [1]", "A token is a piece of text."),
        ("A token ![x](http://evil.example/p.png?q=1) is text. [1, 2]", "A token is text."),
        ("<b>Loss</b> falls.<script>alert(1)</script><img src=x onerror=y>", "Loss falls."),
        ("&lt;script&gt;alert(1)&lt;/script&gt;Loss falls.", "Loss falls."),
        ("Loss\u200b fa\u202ells\x00.", "Loss falls."),
        ("- one thing\n- another thing\n\n# Heading\n> quoted", "one thing another thing Heading quoted"),
        ("If a < b and b > c, then 3 < 5 & 7 > 2.", "If a < b and b > c, then 3 < 5 & 7 > 2."),
        (
            "The list[0] of x_y_z holds 1,000 items (see 2.5).",
            "The list[0] of x_y_z holds 1,000 items (see 2.5).",
        ),
        ("Ein Maß für Übermut, 学习 и ещё.", "Ein Maß für Übermut, 学习 и ещё."),
        ("", ""),
    ],
)
def test_markup_goes_and_words_stay(written: str, words: str) -> None:
    assert strip_markup(written) == words
    assert strip_markup(words) == words


@pytest.mark.parametrize(
    "text",
    [
        "Write to anna.schmidt@example.org about it.",
        "Write to anna (at) example.org about it.",
        "Call +49 30 901820 or come by.",
        "Call (030) 1234567 now.",
        "My number is 555-123-4567.",
        "Ring 0171 2345678.",
        "Pay with 4111 1111 1111 1111 please.",
        "Send it to DE89 3704 0044 0532 0130 00 today.",
        "Send it to GB29NWBK60161331926819.",
        "See https://user:hunter2@host.example/x for it.",
        "See https://host.example/x?access_token=abc for it.",
        "The password is hunter2secret.",
        "api_key = 'a8f5f167f44f4964e6c998dee827110c'",
        "Use sk-proj-abcdEFGH1234ijklMNOP5678 for that.",
        "Use ghp_16C7e42F292c6912E7710c838347Ae178B4a there.",
        "Use AKIAIOSFODNN7EXAMPLE there.",
        "-----BEGIN RSA PRIVATE KEY-----",
        "The hash d41d8cd98f00b204e9800998ecf8427e opens it.",
        "Number 078-05-1120 is taken.",
    ],
)
def test_personal_data_and_secrets_are_found(text: str) -> None:
    assert personal_data(text), text


@pytest.mark.parametrize(
    "text",
    [
        "For 1,000 tokens a full table of comparisons has 1 million entries.",
        "The model has 175,000,000,000 weights, trained on 2026-11-22 for 3.141592653589793 hours.",
        "A 750-word page has over 4,000 characters; 16 x 16 is 256.",
        "Prices fell from 0.000125 to 0.000025 a token, about 80 %.",
        "The password is the secret that the model must not learn.",
        "Byte-pair-encoding-and-other-subword-methods are compared in 10.1000/182.",
        "A self-attention layer/feed-forward-layer pair is repeated 12 times.",
        "Numbers 1 2 3 4 5 6 7 8 9 10 11 12 are tokens 0 100 200 300.",
        "Is 007 100 the ID?",
        "Version 3.11.7 of 2025/2026, pages 100-200 and 1990-2020.",
    ],
)
def test_ordinary_text_is_no_personal_data(text: str) -> None:
    assert personal_data(text) is None


def test_the_course_and_the_exemplars_hold_no_personal_data() -> None:
    from finetune.exemplars import HELD_OUT_PAGES, TRAIN_PAGES, load_exemplars, sentences_of

    texts = [s for page in TRAIN_PAGES | HELD_OUT_PAGES for s in sentences_of(page)]
    texts += [t for e in load_exemplars() for t in (e.question, e.answer)]
    assert [(text, found) for text in texts if (found := personal_data(text))] == []


def test_what_nobody_sees_is_noticed_and_emoji_are_not() -> None:
    assert hides_something("what is a to\u200bken")
    assert hides_something("what\U000e0041 is a token")
    assert hides_something("what is\u202e a token")
    assert not hides_something("what is a token\n👩\u200d💻 می\u200cخواهم naïve")


def test_spellings_of_one_text_are_equal() -> None:
    assert normal("“What is a  Token?”") == normal("what is a token") == normal("WHAT is—a ｔｏｋｅｎ")
    assert normal("1,000 tokens") != normal("1000 tokens".replace("1000", "2000"))
