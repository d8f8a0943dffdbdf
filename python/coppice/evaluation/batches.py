"""Texts as batches of tokens."""


def batches_of(tokenizer, texts, length, size, pairs=None, words=False):
    """Tokens of texts of about the same length together, with the texts' places; what is longer than `length` is cut. words: texts are
    lists of words."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for begin in range(0, len(order), size):
        places = order[begin : begin + size]
        second = None if pairs is None else [pairs[i] for i in places]
        yield places, tokenizer([texts[i] for i in places], second, padding=True, truncation=True, max_length=length,
                                return_tensors="pt", is_split_into_words=words)
