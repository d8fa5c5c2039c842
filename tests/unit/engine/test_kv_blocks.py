from __future__ import annotations

import pytest

from neuron_runtime.engine.kv_blocks import KvBlocks, KvBlocksCorrupt

SIZE = 4


def chain(pool: KvBlocks, *blocks: tuple[int, ...]) -> list[bytes]:
    """The keys of full blocks with these tokens, one after the other."""
    keys: list[bytes] = []
    for tokens in blocks:
        keys.append(pool.key(keys[-1] if keys else None, tokens))
    return keys


A, B, C = (1, 2, 3, 4), (5, 6, 7, 8), (9, 9, 9, 9)


def filled(pool: KvBlocks, *blocks: tuple[int, ...]) -> tuple[list[int], list[bytes]]:
    """Take and publish blocks with these tokens."""
    keys = chain(pool, *blocks)
    table = pool.take((), len(blocks))
    for block, key in zip(table, keys, strict=True):
        pool.publish(block, key)
    return table, keys


def test_a_key_depends_on_all_that_came_before_and_on_the_salt() -> None:
    pool = KvBlocks(4, SIZE)

    assert chain(pool, A, B)[1] != chain(pool, C, B)[1]
    assert chain(pool, A)[0] != chain(KvBlocks(4, SIZE, b"salt"), A)[0]
    assert chain(pool, A) == chain(KvBlocks(4, SIZE), A)


def test_tokens_need_blocks_the_last_of_them_in_part() -> None:
    assert [KvBlocks(4, SIZE).blocks_for(tokens) for tokens in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert KvBlocks(0, SIZE).blocks_for(5) == 0


def test_the_longest_known_prefix_is_found() -> None:
    pool = KvBlocks(4, SIZE)
    table, keys = filled(pool, A, B)

    assert pool.match(keys) == table
    assert pool.match([*keys, *chain(pool, A, B, C)[2:]]) == table
    assert pool.match(chain(pool, A, C)) == table[:1]
    assert pool.match(chain(pool, C, B)) == []


def test_what_is_not_published_is_not_found() -> None:
    pool = KvBlocks(4, SIZE)
    pool.take((), 1)

    assert pool.match(chain(pool, A)) == []


def test_a_released_block_is_found_until_it_is_taken() -> None:
    pool = KvBlocks(2, SIZE)
    table, keys = filled(pool, A)
    pool.release(table)
    pool.check_integrity([])
    assert pool.available == 2
    assert pool.match(keys) == table

    taken = pool.take((), 2)

    assert pool.match(keys) == []
    pool.check_integrity([taken])


def test_of_idle_blocks_the_oldest_goes_first_and_a_table_from_its_end() -> None:
    pool = KvBlocks(4, SIZE)
    old, old_keys = filled(pool, A, B)
    new, new_keys = filled(pool, C, A)
    pool.release(old)
    pool.release(new)

    pool.take((), 1)
    assert pool.match(old_keys) == old[:1]
    pool.take((), 2)
    assert pool.match(old_keys) == []
    assert pool.match(new_keys) == new[:1]


def test_a_shared_block_is_free_when_its_last_holder_is_gone() -> None:
    pool = KvBlocks(3, SIZE)
    first, keys = filled(pool, A)
    second = pool.take(pool.match(keys), 1)
    assert second[0] == first[0]
    assert not pool.is_writable(first[0])
    assert pool.is_writable(second[1])
    pool.release(first)
    pool.check_integrity([second])
    assert pool.available == 1

    pool.release(second)
    pool.check_integrity([])
    assert pool.available == 3


def test_room_counts_what_a_match_would_revive() -> None:
    pool = KvBlocks(2, SIZE)
    table, keys = filled(pool, A)
    pool.release(table)

    assert pool.has_room((), 2)
    assert pool.has_room(pool.match(keys), 1)
    assert not pool.has_room(pool.match(keys), 2)
    assert not pool.has_room(pool.match(keys), 1, spare=1)


def test_of_two_blocks_with_the_same_content_the_first_stays_known() -> None:
    pool = KvBlocks(2, SIZE)
    first, keys = filled(pool, A)
    second = pool.take((), 1)
    pool.publish(second[0], keys[0])

    assert pool.match(keys) == first
    pool.release(second)
    pool.check_integrity([first])
    assert pool.available == 1


def test_forgotten_content_is_not_found_and_its_blocks_are_unused() -> None:
    pool = KvBlocks(3, SIZE)
    held, keys = filled(pool, A, B)
    idle, more = filled(pool, C)
    pool.release(idle)

    pool.forget_content()

    assert pool.match(keys) == pool.match(more) == []
    pool.check_integrity([held])
    pool.release(held)
    pool.check_integrity([])
    assert pool.available == 3


@pytest.mark.parametrize("tables", [[], [[0], [0]], [[1]]], ids=["none", "two", "another"])
def test_a_count_that_is_wrong_is_noticed(tables: list[list[int]]) -> None:
    pool = KvBlocks(2, SIZE)
    assert pool.take((), 1) == [0]

    with pytest.raises(KvBlocksCorrupt, match="holders"):
        pool.check_integrity(tables)


def test_a_block_in_two_places_is_noticed() -> None:
    pool = KvBlocks(2, SIZE)
    table, _ = filled(pool, A)
    pool._unused.append(table[0])

    with pytest.raises(KvBlocksCorrupt, match=r"two places.*unused block has content"):
        pool.check_integrity([table])
