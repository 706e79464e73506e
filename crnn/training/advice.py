"""What to do instead, for calls that are meant for another library's `fit` or `evaluate`."""

import functools
import inspect

EXAMPLE = "fit(net, (x, targets), crnn.Adam(0.001), epochs=10)"
INSTEAD = {
    "batch_size": "data are batches; crnn.batches(x, targets, batch_size=32) makes them of lists",
    "shuffle": "batches come in a new order every epoch; so do sequences with crnn.batches",
    "sample_weight": 'data can be a dict, {"x": ..., "targets": ..., "sample_weight": ...}',
    "validation_data": "give validation=(x, targets)",
    "validation_split": "keep some sequences back, and give validation=(x, targets)",
    "lr": "it is the optimizer's, as in crnn.Adam(0.001)",
    "learning_rate": "it is the optimizer's, as in crnn.Adam(0.001)",
    "random_state": "give seed=",
    "verbose": "give progress=True",
}


def with_advice(example, instead=()):
    """Return a decorator for functions whose `TypeError` of a wrong call is to say what to do.

    Parameters
    ----------
    example : str
        A call as it is meant.
    instead : mapping of str to str
        What to do instead of giving arguments that other libraries have, by their names.
    """
    def decorated(function):
        signature = inspect.signature(function)

        @functools.wraps(function)  # so that help shows the function's own arguments
        def called(*arguments, **options):
            try:
                signature.bind(*arguments, **options)
            except TypeError as error:
                found = [f"instead of {each}: {instead[each]}" for each in options
                         if each in instead]
                advice = "; ".join(found) or (
                    f"a call is {example}: x and its targets are one argument")
                raise TypeError(f"{function.__name__}: {error}; {advice}") from None
            return function(*arguments, **options)

        return called

    return decorated
