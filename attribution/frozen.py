"""Texts that train the last blocks of a classifier: what lies below ran once, and padding is left out where it can be.

The texts of a shuffled batch differ in length, so that about half of what a padded batch computes is padding.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attribution.factor_index import DTYPES, precision_of
from attribution.factors import computing_in
from attribution.index import Progress
from attribution.model import Classifier, Inputs, length_sorted_batches
from attribution.narrow import can_narrow


class FrozenPart:
    """Encoded texts; with a `cut`, also the hidden states that enter that block, computed once.

    `hidden`: all texts' states below one another (tokens, width), on the disk of `folder` for as long as they are in
    use: the file has no name there, so that not even a killed process leaves it behind. `first`: where those of each
    text begin (texts + 1,). `precision` of the matrix products: bf16, fp32 or auto, bf16 where it is faster.
    `is_packed`: whether batches run without padding, which is where it leaves the logits as they are.
    """

    def __init__(
        self,
        classifier: Classifier,
        encoded: Any,
        cut: int | None,
        folder: Path,
        progress: Progress,
        precision: str = "auto",
    ) -> None:
        self.classifier = classifier
        self.cut = cut
        self.encoded = encoded
        self.dtype = DTYPES[precision_of(classifier, precision)]
        self.lengths = [len(ids) for ids in encoded["input_ids"]]
        self.first = np.concatenate([[0], np.cumsum(self.lengths)])
        if cut is not None:
            self.hidden = self._run_prefix(cut, folder, progress)
        self.is_packed = cut is not None and self._can_pack(cut)

    def _run_prefix(self, cut: int, folder: Path, progress: Progress) -> Tensor:
        width = self.classifier.model.config.hidden_size
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            size = int(self.first[-1]) * width
            hidden = torch.from_file(file.name, shared=True, size=size, dtype=self.dtype).view(-1, width)
        done = 0
        for rows in length_sorted_batches(self.lengths):
            with computing_in(self.classifier.device, self.dtype):
                found = self.classifier.hidden_before(self.classifier.pad(self.encoded, rows.tolist()), cut)
            for row, states in zip(rows, found.cpu(), strict=True):
                hidden[self.first[row] : self.first[row + 1]] = states[: self.lengths[row]]
            done += len(rows)
            progress(done, len(self.lengths), "running the frozen blocks once")
        return hidden

    def _can_pack(self, cut: int) -> bool:
        """Whether the logits of the shortest and the longest text stay as they are without padding."""
        classifier = self.classifier
        if not classifier.reads_first or not all(map(can_narrow, classifier.anatomy.blocks[cut:])):
            return False
        rows = np.unique([np.argmin(self.lengths), np.argmax(self.lengths)])
        (inputs, padded), (_, packed) = self.batch(rows), self.packed_batch(rows)
        with torch.no_grad(), classifier.cut_before(cut) as suffix:
            whole = suffix.logits(inputs, padded.float())
            return torch.allclose(suffix.logits(inputs, packed.float(), packed=True), whole, rtol=1e-4, atol=1e-5)

    @contextmanager
    def model(self) -> Iterator[Callable[[np.ndarray], Tensor]]:
        """A function from row numbers to logits (batch, labels), through which the parameters learn."""
        classifier = self.classifier
        if self.cut is None:
            yield self._computing(lambda rows: classifier.model(**classifier.pad(self.encoded, rows.tolist())).logits)
            return
        with classifier.cut_before(self.cut) as suffix:
            if self.is_packed:
                yield self._computing(lambda rows: suffix.logits(*self.packed_batch(rows), packed=True))
            else:
                yield self._computing(lambda rows: suffix.logits(*self.batch(rows)))

    def _computing(self, logits: Callable[[np.ndarray], Tensor]) -> Callable[[np.ndarray], Tensor]:
        """The same in this part's precision; entered for each batch, because the weights change between two."""

        def run(rows: np.ndarray) -> Tensor:
            with computing_in(self.classifier.device, self.dtype):
                return logits(rows).float()

        return run

    def states(self, row: int) -> Tensor:
        """The states (tokens, width) of one text that enter the block of the cut."""
        return self.hidden[self.first[row] : self.first[row + 1]]

    def batch(self, rows: np.ndarray) -> tuple[Inputs, Tensor]:
        """Model inputs of some texts and the states that enter the block of the cut, padded on the right."""
        padded = nn.utils.rnn.pad_sequence([self.states(row) for row in rows], batch_first=True)
        return self.classifier.pad(self.encoded, rows.tolist()), padded.to(self.classifier.device)

    def packed_batch(self, rows: np.ndarray) -> tuple[Inputs, Tensor]:
        """As `batch`, the states (1, tokens, width) one text after the other, without padding."""
        states = torch.cat([self.states(row) for row in rows])[None]
        return self.classifier.pad(self.encoded, rows.tolist()), states.to(self.classifier.device)
