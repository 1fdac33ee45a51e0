"""The tree is RFC 6962's: against its recursive definition and its published examples."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from server_core.seals import rules
from server_core.seals.model import HASH, TILE

# RFC 6962's reference implementation tests these eight leaves; the roots are the published ones.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                 "606162636465666768696a6b6c6d6e6f")
]  # fmt: skip
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def plain_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return rules.node_hash(plain_root(leaves[:k]), plain_root(leaves[k:]))


def grown(leaves: list[bytes]) -> rules.Tree:
    tree = rules.Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree


def leaves(count: int) -> list[bytes]:
    return [rules.leaf_hash(str(n).encode()) for n in range(count)]


@pytest.mark.parametrize("size", ROOTS)
def test_the_published_roots(size: int) -> None:
    tree = grown([rules.leaf_hash(one) for one in LEAVES[:size]])
    assert tree.root().hex() == ROOTS[size]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 600, 1030])
def test_a_grown_tree_has_the_root_of_the_definition(size: int) -> None:
    assert grown(leaves(size)).root() == plain_root(leaves(size))


def node_from(tiles: dict[tuple[int, int], bytes]) -> rules.Node:
    def node(height: int, run: int) -> bytes:
        level, place, start, end = rules.tile_of(height, run)
        data = tiles[level, place]
        return rules.whole_root([data[i * HASH : (i + 1) * HASH] for i in range(start, end)])

    return node


@settings(max_examples=60, deadline=None)
@given(some.data())
def test_every_leaf_has_a_path_and_no_other_leaf_fits_it(data: some.DataObject) -> None:
    size = data.draw(some.integers(1, 1500))
    index = data.draw(some.integers(0, size - 1))
    row = leaves(size)
    tree = grown(row)
    path = rules.path(index, size, node_from(tree.tiles()))
    assert rules.root_of_path(row[index], index, size, path) == tree.root()
    assert rules.root_of_path(rules.leaf_hash(b"other"), index, size, path) != tree.root()
    if size > 1:
        wrong = data.draw(some.integers(0, size - 1).filter(lambda n: n != index))
        assert rules.root_of_path(row[index], wrong, size, path) != tree.root()
        assert rules.root_of_path(row[index], index, size, path[:-1]) is None
    assert (
        rules.root_of_path(row[index], index, size, [*path, path[-1] if path else row[0]]) is None
    )


@pytest.mark.parametrize("cuts", [(1,), (255, 1, 1), (256, 300), (100, 100, 100, 900)])
def test_a_tree_read_again_from_its_tiles_goes_on_growing(cuts: tuple[int, ...]) -> None:
    row, at, stored = leaves(sum(cuts)), 0, {}
    for cut in cuts:
        edges = [
            [stored[level, place][i * HASH : (i + 1) * HASH] for i in range(count)]
            for level, place, count in rules.edges_of(at)
        ]
        tree = rules.Tree(at, edges)
        for leaf in row[at : at + cut]:
            tree.add(leaf)
        stored |= tree.tiles()
        at += cut
    assert tree.root() == plain_root(row)
    assert stored == grown(row).tiles()
    assert all(len(one) <= TILE * HASH for one in stored.values())


def test_a_path_of_a_leaf_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        rules.path(3, 3, node_from({}))
    assert rules.root_of_path(rules.EMPTY, 3, 3, []) is None
    assert rules.root_of_path(rules.EMPTY, 0, 2, [b"short"]) is None
