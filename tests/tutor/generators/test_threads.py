"""The number of threads follows what the machine is busy with."""

from __future__ import annotations

import pytest

from tutor.generators.threads import Threads


class Machine:
    """Takes 10 ms for a token with two threads, 14 ms with one, and 200 ms with two while `busy`."""

    def __init__(self) -> None:
        self.time = 0.0
        self.threads = 0
        self.busy = False
        self.used: list[int] = []
        self.run = Threads(2, self.set_threads, now=lambda: self.time).run

    def compute(self) -> None:
        self.used.append(self.threads)
        self.time += 0.014 if self.threads == 1 else 0.2 if self.busy else 0.01

    def set_threads(self, number: int) -> None:
        self.threads = number

    def write(self, tokens: int) -> list[int]:
        """How many threads each of so many tokens was written with."""
        self.used.clear()
        for _ in range(tokens):
            self.run(self.compute, tokens=1)
        assert self.threads == 2  # the rest of the program keeps its threads
        return self.used


def test_tries_both_and_takes_the_quicker() -> None:
    machine = Machine()
    assert machine.write(8) == [2] * 8
    assert machine.write(4) == [1] * 4  # the trial
    assert machine.write(1000).count(1) <= 16


def test_gives_way_at_once_when_the_machine_gets_busy_and_comes_back() -> None:
    machine = Machine()
    machine.write(50)
    machine.busy = True
    assert machine.write(5) == [2, 1, 1, 1, 1]
    assert machine.write(2000).count(2) <= 6  # a token each time it is tried, ever more seldom
    machine.busy = False
    machine.write(1100)  # at most so long until the next trial
    assert machine.write(60).count(2) >= 56


def test_a_prompt_is_no_token_to_learn_from() -> None:
    machine = Machine()
    machine.write(5)
    machine.busy = True
    machine.run(machine.compute, tokens=200)
    machine.busy = False
    assert machine.write(3) == [2] * 3


def test_threads_come_back_after_an_error() -> None:
    machine = Machine()
    with pytest.raises(ZeroDivisionError):
        machine.run(lambda: 1 / 0, tokens=1)
    assert machine.threads == 2
