"""Names for runs that were given none: ``swift-otter-417``."""

from __future__ import annotations

import random

_ADJECTIVES = (
    "amber", "bold", "brisk", "calm", "clear", "clever", "coral", "crisp", "dapper", "deep",
    "eager", "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "mellow", "merry", "mild", "neat", "nimble", "noble", "patient", "plucky", "polite", "proud",
    "quick", "quiet", "rapid", "ready", "robust", "rosy", "silver", "smart", "solid", "spry",
    "steady", "still", "sunny", "swift", "tidy", "upbeat", "vivid", "warm", "wise", "witty",
)  # fmt: skip
_NOUNS = (
    "alder", "badger", "bay", "beaver", "birch", "bittern", "brook", "carp", "cedar", "cove",
    "crane", "creek", "curlew", "dam", "delta", "dipper", "eddy", "eel", "egret", "elm",
    "falls", "fen", "fern", "finch", "ford", "glen", "grebe", "gull", "heron", "ibis",
    "inlet", "isle", "lagoon", "lake", "marsh", "meadow", "mill", "minnow", "moor", "newt",
    "oak", "osprey", "otter", "perch", "pike", "pine", "plover", "pond", "rapid", "reed",
    "ridge", "river", "salmon", "sedge", "shoal", "shore", "sluice", "spring", "stork", "stream",
    "swan", "teal", "tern", "thrush", "trout", "vale", "wader", "weir", "wheel", "willow",
)  # fmt: skip


def random_name() -> str:
    """An adjective, a noun and a number; meant to be told apart by people, not to be unique."""
    return f"{random.choice(_ADJECTIVES)}-{random.choice(_NOUNS)}-{random.randint(0, 999)}"
