"""Text from outside, made fit for any database and for one line of a page."""


def one_line(text: str, *, limit: int) -> str:
    r"""Return ``text`` without what cannot be printed, cut to ``limit`` characters.

    PostgreSQL refuses a NUL, and no database takes half of a surrogate pair.

    Examples
    --------
    >>> one_line("a\x00b\nc", limit=9)
    'a?b c'
    >>> one_line("abcdef", limit=4)
    'abc…'
    """
    if len(text) <= limit and text.isprintable():
        return text
    plain = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"
