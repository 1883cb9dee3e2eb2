"""Two nodes in Python. Start the server, then: pip install ./sdk/python && python examples/nodes/python/text_nodes.py"""

from typing import Annotated, TypedDict

import reflux


class Counted(TypedDict):
    words: int
    longest: str


@reflux.node(name="text.upper", version="1.0.0", effects="pure")
def upper(text: Annotated[str, "what is written"], times: int = 1) -> str:
    """Writes text in capitals."""
    return text.upper() * times


@reflux.node(name="text.count", version="1.0.0", effects="pure", metrics=["words"])
async def count(text: str, context: reflux.Context) -> Counted:
    """Counts the words of a text."""
    words = text.split()
    if not words:
        raise reflux.Failure.bad_input("text is empty")
    context.log(f"{len(words)} words")
    context.metric("words", len(words))
    return {"words": len(words), "longest": max(words, key=len)}


if __name__ == "__main__":
    reflux.serve([upper, count])
