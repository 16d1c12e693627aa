"""How those that share a host take turns."""

from host import Paddock
from slices import Contestant, Turns


def test_turns_change() -> None:
    turns = Turns(Paddock("13"))
    turns.contestants = [Contestant(name, 1, ()) for name in "abcd"]
    orders = ["".join(each.name for each in turns.order(number)) for number in range(5)]
    assert orders == ["abcd", "badc", "cdab", "dcba", "abcd"]
