"""The dashboard's own elements, drawn in the browser from plain data: coloured tokens, training rows, probabilities."""

from dashboard.components.probabilities import LabelProbability, probability_bars
from dashboard.components.rows import TrainingRow, Word, training_rows
from dashboard.components.tokens import Piece, Token, token_heatmap

__all__ = [
    "LabelProbability",
    "Piece",
    "Token",
    "TrainingRow",
    "Word",
    "probability_bars",
    "token_heatmap",
    "training_rows",
]
