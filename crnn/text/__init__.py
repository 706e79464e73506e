"""Models of text: vocabulary, streams over a text, sampling, and their files."""

from crnn.text.models import load_model, model_from, save_model
from crnn.text.sampling import generate, generate_lines, sample, sample_many
from crnn.text.sequences import builtin_text, lines, streams
from crnn.text.vocabulary import Vocabulary

__all__ = [
    "Vocabulary", "builtin_text", "generate", "generate_lines", "lines", "load_model", "model_from",
    "sample", "sample_many", "save_model", "streams",
]
