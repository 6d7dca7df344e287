"""KV blocks: who holds them, which are free, and what the free ones still remember.

Every block is in exactly one of three states:

    held      reference count >= 1   some sequences' tables name it (several share it after a prefix hit)
    cached    reference count 0      free to take, but its content is still found by its hash
    blank     reference count 0      free to take, content worthless

`cached` and `blank` blocks wait in one queue, longest unused first: taking from its front is eviction
in least-recently-used order. Sequences give blocks back tail first, so the shared beginnings of prompts
live longest.
"""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

ROOT_HASH = b""


def extend_hashes(hashes: list[bytes], token_ids: Sequence[int], block_tokens: int) -> None:
    """Append to `hashes` the chain hashes of the full blocks of `token_ids` it does not cover yet.

    A hash covers its block and, through its parent, everything before it. It is cryptographic, since a
    collision would show one tenant's answer to another.
    """
    for start in range(len(hashes) * block_tokens, len(token_ids) - block_tokens + 1, block_tokens):
        parent = hashes[-1] if hashes else ROOT_HASH
        block = ",".join(map(str, token_ids[start : start + block_tokens]))
        hashes.append(blake2b(parent + block.encode(), digest_size=16).digest())


class BlockPool:
    """The effects. What a step would do to the pool is worked out on a `PoolDraft` first."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._references = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._hash_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_held(self) -> int:
        return self.num_blocks - len(self._free)

    def references(self, block: int) -> int:
        return self._references[block]

    def free_blocks(self) -> Iterable[int]:
        """Free blocks in the order they will be taken."""
        return self._free

    def find(self, hashes: Iterable[bytes]) -> list[int]:
        """Blocks that hold the longest known beginning of this chain of hashes."""
        found = []
        for digest in hashes:
            block = self._block_of.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def take(self, block: int) -> None:
        """A free block becomes held by one, and forgets what it remembered."""
        del self._free[block]
        self._forget(block)
        self._references[block] = 1

    def share(self, block: int) -> None:
        """One more sequence holds a block that is held or cached."""
        if self._references[block] == 0:
            del self._free[block]
        self._references[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """A sequence gives its table back, tail first."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None

    def remember(self, block: int, digest: bytes) -> None:
        """The block is full and computed: from now on a prompt that begins alike finds it."""
        if digest not in self._block_of and block not in self._hash_of:
            self._block_of[digest] = block
            self._hash_of[block] = digest

    def _forget(self, block: int) -> None:
        digest = self._hash_of.pop(block, None)
        if digest is not None:
            del self._block_of[digest]

    def check_integrity(self, tables: Iterable[Sequence[int]]) -> None:
        """Raise AssertionError unless the pool agrees with the block tables of all sequences."""
        held = Counter(block for table in tables for block in table)
        for block in range(self.num_blocks):
            assert self._references[block] == held[block], (
                f"block {block} counts {self._references[block]} references, tables name it {held[block]} times"
            )
            assert (block in self._free) == (held[block] == 0), f"block {block} is both free and held, or neither"
        assert len(self._hash_of) == len(self._block_of)
        for block, digest in self._hash_of.items():
            assert self._block_of[digest] == block, f"block {block} and its hash disagree"


class PoolDraft:
    """The pool as it would be if the step being planned went ahead. Reads the pool, never changes it."""

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._change: Counter[int] = Counter()  # difference to the pool's reference counts
        self._queue = iter(pool.free_blocks())  # the pool's free blocks not yet looked at
        self._given_back: OrderedDict[int, None] = OrderedDict()  # held in the pool, free in the draft
        self._taken: set[int] = set()  # what these remembered is lost to the draft
        self.num_free = pool.num_free

    def find(self, hashes: Iterable[bytes]) -> list[int]:
        """As `BlockPool.find`, less what this draft has taken for something else."""
        return list(itertools.takewhile(lambda block: block not in self._taken, self._pool.find(hashes)))

    def _references(self, block: int) -> int:
        return self._pool.references(block) + self._change[block]

    def num_blank_needed(self, cached: Sequence[int], num_blocks: int) -> int:
        """Free blocks used up by sharing `cached` and taking the rest of `num_blocks`."""
        revived = sum(1 for block in cached if self._references(block) == 0)
        return num_blocks - len(cached) + revived

    def take(self, count: int) -> tuple[int, ...]:
        """The next `count` free blocks; the caller has seen that there are as many."""
        taken: list[int] = []
        while len(taken) < count:
            block = next(self._queue, None)
            if block is None:
                block, _ = self._given_back.popitem(last=False)
            elif self._references(block) != 0:
                continue  # shared earlier in this draft
            self._change[block] += 1
            taken.append(block)
        self.num_free -= count
        self._taken.update(taken)
        return tuple(taken)

    def share(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            if self._references(block) == 0:
                self.num_free -= 1
                self._given_back.pop(block, None)
            self._change[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):
            self._change[block] -= 1
            if self._references(block) == 0:
                self.num_free += 1
                self._given_back[block] = None
