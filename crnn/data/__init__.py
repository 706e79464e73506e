"""Files of data as lists of sequences: ``crnn.data.read(path)``."""

from crnn.data.dataset import Dataset
from crnn.data.reading import read

__all__ = ["Dataset", "read"]
