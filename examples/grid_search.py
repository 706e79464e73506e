"""Which network tells nine speakers apart best? A grid of them, by scikit-learn's GridSearchCV.

    python examples/grid_search.py path/to/JapaneseVowels_TRAIN.ts path/to/JapaneseVowels_TEST.ts

Each recording of the vowels "ae" is a sequence of 7 to 29 steps of 12 numbers, and the speaker is
the class (Kudo, Toyama & Shimbo 1999). Every combination is trained three times on two thirds of
the training recordings, and tested on the third that was left out; the best one is then trained on
all, and tested on recordings that no search has seen.

Kudo, M., Toyama, J. & Shimbo, M. (1999). Multidimensional curve classification using
passing-through regions. Pattern Recognition Letters 20.
"""

import argparse
import time

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import crnn.data
from crnn.sklearn import SequenceClassifier

GRID = {
    "cell": ["gru", "lstm"],
    "hidden_size": [16, 32],
    "bidirectional": [False, True],
    "lr": [0.01, 0.02],
}


def main(arguments=None):
    """Search; return the best parameters, and the accuracy on the test recordings."""
    parser = argparse.ArgumentParser(
        description="Search a grid of networks that tell speakers apart.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("train", help="recordings to train on, such as JapaneseVowels_TRAIN.ts")
    add("test", help="recordings to test on, such as JapaneseVowels_TEST.ts")
    add("--epochs", type=int, default=50, help="times through the training recordings")
    add("--folds", type=int, default=3, help="parts, each of which is left out once")
    add("--jobs", type=int, default=-1, metavar="N", help="trainings at a time; -1: one a core")
    add("--seed", type=int, default=0, help="of the parts, and of each network")
    options = parser.parse_args(arguments)

    train, test = crnn.data.read(options.train), crnn.data.read(options.test)
    start = time.perf_counter()
    search = GridSearchCV(
        SequenceClassifier(epochs=options.epochs, random_state=options.seed), GRID,
        cv=StratifiedKFold(options.folds, shuffle=True, random_state=options.seed),
        n_jobs=options.jobs,
    ).fit(train.sequences, train.labels)
    seconds = time.perf_counter() - start

    results = search.cv_results_
    for place in np.argsort(-results["mean_test_score"], kind="stable"):
        print(f"{results['mean_test_score'][place]:.3f}  {results['params'][place]}")
    accuracy = search.score(test.sequences, test.labels)
    print(f"{len(results['params']) * options.folds + 1} trainings in {seconds:.0f} s; the best one"
          f" is right for {accuracy:.3f} of the {len(test.labels)} test recordings")
    return search.best_params_, accuracy


if __name__ == "__main__":
    main()
