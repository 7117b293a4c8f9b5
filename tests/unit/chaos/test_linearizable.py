"""The checker of histories: it takes those that an order explains, and no others."""

from __future__ import annotations

import math
import random

import pytest

from tests.chaos.history import UNKNOWN, Operation
from tests.chaos.linearizable import NotLinearizable, Undecided, check
from tests.chaos.models import CLOSED, MISSING, Cart, cart_after, stock_after


def operation(name: str, argument: object, result: object, began_s: float, ended_s: float = math.inf) -> Operation:
    return Operation(name, argument, result, began_s, ended_s)


A1, A3, A4 = (("a", 1),), (("a", 3),), (("a", 4),)


def check_cart(*operations: Operation) -> None:
    check(operations, Cart(), cart_after)


def test_an_empty_history_is_linearizable() -> None:
    check_cart()


def test_additions_at_once_may_come_in_either_order() -> None:
    check_cart(operation("add", ("a", 1), A4, 0, 9), operation("add", ("a", 3), A3, 1, 2))


def test_an_addition_that_is_lost_is_found() -> None:
    with pytest.raises(NotLinearizable, match=r"add\(\('a', 3\)\)"):
        check_cart(operation("add", ("a", 1), A1, 0, 1), operation("add", ("a", 3), A3, 2, 3))


def test_a_read_of_an_outdated_cart_is_found() -> None:
    added = operation("add", ("a", 1), A1, 0, 1)
    check_cart(added, operation("read", None, A1, 2, 3))
    check_cart(added, operation("read", None, (), 0.5, 3))
    with pytest.raises(NotLinearizable):
        check_cart(added, operation("read", None, (), 2, 3))


def test_an_operation_without_a_response_may_have_happened_or_not() -> None:
    lost = operation("add", ("a", 1), UNKNOWN, 0)
    check_cart(lost, operation("read", None, (), 1, 2), operation("read", None, A1, 3, 4))
    with pytest.raises(NotLinearizable):
        check_cart(lost, operation("read", None, A1, 1, 2), operation("read", None, (), 3, 4))
    with pytest.raises(NotLinearizable):
        check_cart(operation("read", None, A1, 1, 2), operation("add", ("a", 1), UNKNOWN, 3))


def test_an_operation_whose_result_was_not_seen_has_happened_by_its_end() -> None:
    seen = operation("add", ("a", 1), UNKNOWN, 0, 1)
    check_cart(seen, operation("read", None, A1, 2, 3))
    with pytest.raises(NotLinearizable):
        check_cart(seen, operation("read", None, (), 2, 3))


def test_an_order_has_the_lines_of_one_instant_and_closes_the_cart() -> None:
    added = operation("add", ("a", 1), A1, 0, 1)
    check_cart(added, operation("order", None, A1, 2, 5), operation("add", ("a", 3), CLOSED, 3, 4))
    with pytest.raises(NotLinearizable):
        check_cart(added, operation("order", None, A1, 2, 3), operation("add", ("a", 3), A4, 4, 5))
    with pytest.raises(NotLinearizable):
        check_cart(added, operation("set", ("a", 3), A3, 2, 3), operation("order", None, A1, 4, 5))


def test_an_order_of_an_empty_cart_is_refused_and_leaves_it_open() -> None:
    check_cart(operation("order", None, (), 0, 1), operation("add", ("a", 1), A1, 2, 3))
    with pytest.raises(NotLinearizable):
        check_cart(operation("add", ("a", 1), A1, 0, 1), operation("order", None, (), 2, 3))


def test_a_line_is_set_and_removed() -> None:
    check_cart(
        operation("set", ("a", 3), A3, 0, 1),
        operation("remove", "a", (), 2, 3),
        operation("remove", "a", MISSING, 4, 5),
    )
    with pytest.raises(NotLinearizable):
        check_cart(operation("set", ("a", 3), A3, 0, 1), operation("remove", "a", A3, 2, 3))


def test_the_last_unit_is_sold_once() -> None:
    first, second = operation("take", 1, True, 0, 2), operation("take", 1, True, 1, 3)
    with pytest.raises(NotLinearizable):
        check([first, second], 1, stock_after)
    check([first, operation("give_back", 1, True, 2.5, 4), operation("take", 1, True, 3, 5)], 1, stock_after)


def test_no_unit_is_refused_that_was_there_all_the_time() -> None:
    check([operation("take", 3, False, 0, 1)], 2, stock_after)
    with pytest.raises(NotLinearizable):
        check([operation("take", 2, False, 0, 1)], 2, stock_after)
    with pytest.raises(NotLinearizable):
        check([operation("give_back", 1, True, 0, 1), operation("take", 1, False, 2, 3)], 0, stock_after)


@pytest.mark.parametrize("seed", range(20))
def test_what_one_copy_did_is_taken_and_one_wrong_result_in_it_is_not(seed: int) -> None:
    operations = made_by_one_copy(random.Random(seed), 2000)
    check(operations, Cart(), cart_after)
    reads = [index for index, each in enumerate(operations) if each.name == "read" and each.result]
    wrong = random.Random(seed).choice(reads)
    read = operations[wrong]
    (sku, quantity), *others = read.result
    operations[wrong] = operation("read", None, ((sku, quantity + 1000), *others), read.began_s, read.ended_s)
    with pytest.raises(NotLinearizable):
        check(operations, Cart(), cart_after)


def made_by_one_copy(rng: random.Random, count: int) -> list[Operation]:
    """Operations that happen at one instant each, and seem to their clients to take longer; eight at once."""
    cart, made = Cart(), []
    for instant in range(count):
        name = rng.choice(("add", "set", "remove", "read"))
        sku = rng.choice("ab")
        argument = {"read": None, "remove": sku}.get(name, (sku, rng.randint(1, 3)))
        result: object = MISSING if name == "remove" and sku not in dict(cart.lines) else None
        cart = cart_after(cart, operation(name, argument, result or UNKNOWN, 0)) or cart
        began_s, ended_s = instant - rng.random() * 4, instant + rng.random() * 4
        made.append(operation(name, argument, result or cart.lines, began_s, ended_s))
    return made


def test_a_search_that_does_not_end_is_given_up() -> None:
    at_once = [operation("take", 1, True, 0, 1) for _ in range(30)]
    with pytest.raises(Undecided):
        check([*at_once, operation("take", 1, True, 0, 1)], 30, stock_after, max_steps=1000)
