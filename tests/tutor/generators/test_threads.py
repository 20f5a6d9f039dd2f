"""All threads while that is quick, one for a while after it was not."""

from __future__ import annotations

from tutor.generators.threads import Threads


class Machine:
    """Takes 10 ms for a token with two threads, 14 ms with one, and 200 ms with two while `busy`."""

    def __init__(self) -> None:
        self.time = 0.0
        self.threads = 0
        self.busy = False
        self.used: list[int] = []

    def write(self) -> None:
        self.used.append(self.threads)
        self.time += 0.014 if self.threads == 1 else 0.2 if self.busy else 0.01

    def set_threads(self, number: int) -> None:
        self.threads = number


def test_gives_way_on_a_busy_machine_and_comes_back() -> None:
    machine = Machine()
    threads = Threads(2, machine.set_threads, now=lambda: machine.time)

    def write(tokens: int) -> list[int]:
        machine.used.clear()
        for _ in range(tokens):
            threads.run(machine.write, tokens=1)
        assert machine.threads == 2  # the rest of the program keeps its threads
        return machine.used

    assert write(10) == [2] * 10
    machine.busy = True
    assert write(17) == [2, *[1] * 16]
    assert write(33) == [2, *[1] * 32]  # and longer each time
    assert write(2000).count(2) <= 6
    machine.busy = False
    assert write(2000).count(2) >= 976  # after the longest rest at most
    assert write(100) == [2] * 100


def test_a_prompt_is_no_token_to_learn_from() -> None:
    machine = Machine()
    threads = Threads(2, machine.set_threads, now=lambda: machine.time)
    threads.run(machine.write, tokens=1)
    machine.busy = True
    threads.run(machine.write, tokens=200)
    machine.busy = False
    threads.run(machine.write, tokens=1)
    assert machine.used == [2, 2, 2]


def test_threads_come_back_after_an_error() -> None:
    machine = Machine()
    threads = Threads(4, machine.set_threads)
    try:
        threads.run(lambda: 1 / 0, tokens=1)
    except ZeroDivisionError:
        pass
    assert machine.threads == 4
