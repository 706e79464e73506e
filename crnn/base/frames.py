"""Data frames, for results that can be tables."""


def data_frame(columns):
    """Return a pandas.DataFrame of columns by name, or of rows, or raise ImportError."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_pandas needs pandas; install it with: pip install 'crnn[pandas]'") from error
    return pandas.DataFrame(columns)
