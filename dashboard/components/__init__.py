"""The dashboard's own elements, drawn in the browser from plain data: coloured tokens, training rows, probabilities."""

from dashboard.components.copylink import copy_link
from dashboard.components.pairs import PairDrawing, PairWord, pair_view
from dashboard.components.probabilities import LabelProbability, probability_bars
from dashboard.components.rows import TrainingRow, Word, training_rows
from dashboard.components.tokens import Piece, Token, token_heatmap

__all__ = [
    "LabelProbability",
    "PairDrawing",
    "PairWord",
    "Piece",
    "Token",
    "TrainingRow",
    "Word",
    "copy_link",
    "pair_view",
    "probability_bars",
    "token_heatmap",
    "training_rows",
]
