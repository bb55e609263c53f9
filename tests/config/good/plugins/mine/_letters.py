def first(word: str) -> str:
    return word[0]
