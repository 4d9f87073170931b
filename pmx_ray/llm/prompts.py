"""How a question is put into words: a compact prompt, and the plain one it is measured against.

A small model on a processor reads about 100 tokens a second, so every token of a prompt costs
10 ms. The compact one shows the last price and the moves that led there, in basis points, which is
also the unit of the answer. The plain one is what one writes first: sentences, and a row a session.
"""

from enum import StrEnum

from pmx_ray.config import Settings
from pmx_ray.llm.question import Question


class Style(StrEnum):
    """A way to word a question. A change of its words is a new style: recordings name it."""

    COMPACT = "compact-1"
    """Last price and moves in basis points."""
    PLAIN = "plain-1"
    """Sentences, and a row a session."""


class Prompt(Settings):
    """What is sent.

    Attributes
    ----------
    system, user : str
        The two messages.
    """

    system: str
    user: str

    def messages(self) -> list[dict[str, str]]:
        """Return them as a chat."""
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.user},
        ]


def worded(question: Question, *, style: Style = Style.COMPACT) -> Prompt:
    """Return the prompt of a question.

    Examples
    --------
    >>> worded(Question(ticker="KO", closes=(50.0, 50.5, 50.0), step=5)).user
    'KO at 50.00. Daily moves in bp: 100 -99. Next 5 days?'
    """
    return _compact(question) if style is Style.COMPACT else _plain(question)


def _compact(question: Question) -> Prompt:
    subject = " ".join(filter(None, (question.ticker or "Stock", str(question.cutoff or ""))))
    moves = " ".join(map(str, question.moves_bp))
    price = _price(question.closes[-1])
    days = "day" if question.step == 1 else f"{question.step} days"
    return Prompt(
        system="Forecast a stock. JSON: action, bp (size of move), confidence (0-100), risk.",
        user=f"{subject} at {price}. Daily moves in bp: {moves}. Next {days}?",
    )


def _plain(question: Question) -> Prompt:
    subject = question.ticker or "a stock"
    days: tuple[object, ...] = question.sessions or tuple(
        f"day {number}" for number in range(1, len(question.closes) + 1)
    )
    rows = "\n".join(
        f"{day}: {_price(close)}" for day, close in zip(days, question.closes, strict=True)
    )
    return Prompt(
        system=(
            "You are an experienced financial analyst. You study the recent prices of a stock and "
            "assess where it will go and how risky it is to act on that."
        ),
        user=(
            f"These are the recent daily closing prices of {subject}, oldest first:\n\n{rows}\n\n"
            f"Please assess how the price will move over the next {question.step} trading days. "
            "Answer with a JSON object that has exactly these fields: 'action', which is 'buy' if "
            "you expect the price to rise, 'sell' if you expect it to fall and 'hold' if you are "
            "not sure; 'bp', the size of the expected move in basis points as a whole number; "
            "'confidence', how sure you are as a whole number from 0 to 100; and 'risk', which is "
            "'low', 'medium', 'high' or 'extreme'. Answer with the JSON object only."
        ),
    )


def _price(close: float) -> str:
    return f"{close:.2f}" if close >= 10.0 else f"{close:.4g}"  # a rescaled price keeps its digits
