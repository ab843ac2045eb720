"""Words that go with numbers."""


def count_of(number: int, noun: str, verbs: tuple[str, str] = ("", "")) -> str:
    """Write a number of things, and the verb that goes with it: for one thing, and for any other number.

    >>> count_of(1, "photo"), count_of(2000, "batch"), count_of(1, "class", ("was", "were"))
    ('1 photo', '2,000 batches', '1 class was')
    """
    plural = "es" if noun.endswith(("s", "ch")) else "s"
    words = f"{number:,} {noun}{'' if number == 1 else plural}"
    return f"{words} {verbs[number != 1]}".rstrip()
