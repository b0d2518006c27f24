"""Five functions in Python, of which a test makes one hot."""


def mix_prices(n: int) -> float:
    total = 1.0
    for i in range(n):
        total = total * 1.000001 + i % 7
    return total


def count_words(n: int) -> float:
    counts: dict[str, int] = {}
    for i in range(n):
        word = str(i % 97)
        counts[word] = counts.get(word, 0) + 1
    return float(len(counts))


def join_text(n: int) -> float:
    words = []  # no comprehension: in Python 3.11 that is a function of its own
    for i in range(n):
        words.append(f"{i}:{i * 1.5:.2f}")
    return float(len(",".join(words)))


def walk_tree(n: int) -> float:
    return 1.0 if n < 2 else walk_tree(n // 2) + walk_tree(n - n // 2)


class Book:
    def __init__(self) -> None:
        self.levels = [0.0] * 32

    def update(self, n: int) -> float:
        levels = self.levels
        for i in range(n):
            levels[i & 31] += i * 0.5
        return levels[0]


PLANTED = {
    "mix_prices": (mix_prices, 2000),
    "count_words": (count_words, 1000),
    "join_text": (join_text, 600),
    "walk_tree": (walk_tree, 1000),
    "Book.update": (Book().update, 2000),
}
