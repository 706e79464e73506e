"""How is a word said that no dictionary has? The network of the package g2p-en, on crnn.

    pip install --no-deps g2p-en
    python examples/g2p.py

g2p-en (Apache-2.0) ships the weights of an encoder, a GRU that reads a word's letters, and of a
decoder, a GRU that begins with the encoder's last state and says phonemes one by one, each the one
that it has said before. The package runs them in NumPy of its own. Here they are two networks, made
of the same arrays, and both say the same words.
"""

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np

import crnn

NEEDED = "nltk", "nltk.corpus", "nltk.tokenize", "inflect"  # by the package, for texts, not words
START, END, MOST = 2, 3, 20  # phonemes that are none; how many a word has at most
SYLLABLES = ["str", "ck", "ee", "ough", "tion", "m", "ay", "sh", "oo", "ing", "ph", "qu", "nd", "k"]


def network(weights, part):
    """Return the encoder ("enc") or the decoder ("dec"), from arrays that PyTorch has trained."""
    arrays = {
        "table.weight": weights[f"{part}_emb"],
        "gru.weight_ih_l0": weights[f"{part}_w_ih"], "gru.bias_ih_l0": weights[f"{part}_b_ih"],
        "gru.weight_hh_l0": weights[f"{part}_w_hh"], "gru.bias_hh_l0": weights[f"{part}_b_hh"],
    }
    if part == "dec":
        arrays |= {"fc.weight": weights["fc_w"], "fc.bias": weights["fc_b"]}
    return crnn.from_torch(arrays)


class Speaker:
    """Says words: an encoder and a decoder of a file of weights, such as checkpoint20.npz."""

    def __init__(self, path, letters, phonemes):
        self.letters, self.phonemes = letters, phonemes
        with np.load(path) as weights:
            self.encoder, self.decoder = network(weights, "enc"), network(weights, "dec")
        self.stream = self.decoder.stream()

    def say(self, word):
        """Return a word's phonemes, a list of str."""
        tokens = [self.letters.get(letter, self.letters["<unk>"]) for letter in [*word, "</s>"]]
        _, self.stream.state = self.encoder(tokens)
        said = [START]
        while len(said) <= MOST and (token := self.stream.step(said[-1]).argmax()) != END:
            said.append(token)
        return [self.phonemes[token] for token in said[1:]]


def package():
    """Return the package's own speaker and the folder that it is in, without what it downloads."""
    found = importlib.util.find_spec("g2p_en")
    if found is None:
        sys.exit("g2p-en is not installed: pip install --no-deps g2p-en")
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in NEEDED}):
        from g2p_en import G2p
        return G2p(), Path(found.origin).parent


def words_of(folder, count, rng):
    """Return words: some that are written alike and said otherwise, and others that are none."""
    lines = (folder / "homographs.en").read_text(encoding="utf-8").splitlines()
    words = {line.split("|")[0].lower() for line in lines if not line.startswith("#")}
    words = sorted(words)[: count // 2]
    while len(words) < count:
        words.append("".join(rng.choice(SYLLABLES, rng.integers(2, 6))))
    return words


def timed(function, words):
    """Return what a function says of each word, and how many milliseconds a word takes."""
    start = time.process_time()
    said = [function(word) for word in words]
    return said, (time.process_time() - start) / len(words) * 1000


def main(arguments=None):
    """Have both say all words; return how many of them are said alike, and of how many."""
    parser = argparse.ArgumentParser(
        description="Say words by the network of g2p-en, and by the package itself.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("words", nargs="*", help="to say, in small letters (default: drawn ones)")
    add("--count", type=int, default=1000, help="of words that are drawn")
    add("--weights", metavar="NPZ", help="the file (default: the installed package's)")
    add("--seed", type=int, default=0, help="of the words that are drawn")
    options = parser.parse_args(arguments)

    theirs, folder = package()
    words = options.words or words_of(folder, options.count, np.random.default_rng(options.seed))
    ours = Speaker(options.weights or folder / "checkpoint20.npz", theirs.g2idx, theirs.idx2p)
    said, our_time = timed(ours.say, words)
    expected, their_time = timed(theirs.predict, words)
    for word, phonemes in list(zip(words, said, strict=True))[-5:]:
        print(f"{word}: {' '.join(phonemes)}")
    alike = sum(one == other for one, other in zip(said, expected, strict=True))
    print(f"{alike} of {len(words)} words are said alike; {our_time:.3f} ms a word,"
          f" {their_time:.3f} ms in the package's own code")
    return alike, len(words)


if __name__ == "__main__":
    main()
