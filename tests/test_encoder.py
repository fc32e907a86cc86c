"""Similarity under the untuned sentence encoder, against sentence-transformers itself."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from attribution import attribute
from attribution.loading import find_model, quiet
from attribution.methods.encoder import ENCODER, sentence_embeddings
from attribution.workspace import Workspace
from tests.oracles import assert_close
from tests.test_similarity import LIKENESS

TEXTS = ["the warm plot", "Film!", "a very dull story, with no end. " * 60, "\u200b", "中文 café 🙂"]


@pytest.fixture(scope="module")
def package() -> SentenceTransformer:
    """The encoder as sentence-transformers reads it, less its last step, which scales vectors to length 1."""
    with quiet():
        whole = SentenceTransformer(str(find_model(ENCODER)), device="cpu", local_files_only=True)
    assert type(whole[-1]).__name__ == "Normalize"
    return SentenceTransformer(modules=list(whole)[:-1], device="cpu")


@pytest.mark.oracle("sbert_euc", "sbert_cos", "sbert_dot")
@pytest.mark.parametrize("method", LIKENESS)
@pytest.mark.parametrize("kind", ["single", "pair"])
def test_likeness_of_the_packages_embeddings(
    workspace: Workspace, pairs: Workspace, package: SentenceTransformer, method: str, kind: str
) -> None:
    """The likeness, by a loop, of what the package embeds; for a pair of what it embeds each text to, end to end."""
    space = workspace if kind == "single" else pairs
    columns = ["text", "text_pair"] if space.is_pair else ["text"]

    def embedded(row: dict) -> np.ndarray:
        return np.concatenate([package.encode([row[c]], show_progress_bar=False)[0] for c in columns]).astype(float)

    test = embedded(space.test.loc[2].to_dict())
    expected = [LIKENESS[method](test, embedded(row)) for row in space.train.head(12).to_dict("records")]
    found = attribute(space, method.replace("nn", "sbert"), test=2).scores
    assert_close(found[:12], np.array(expected), relative=1e-5)


def test_pooling_is_the_packages(package: SentenceTransformer) -> None:
    """Short, cut, blank and foreign texts in one padded batch get the vectors that the package gives each alone."""
    expected = np.stack([package.encode([text], show_progress_bar=False)[0] for text in TEXTS])
    assert_close(sentence_embeddings(TEXTS, torch.device("cpu")), expected, relative=1e-5, what="embeddings")
    settings = json.loads((find_model(ENCODER) / "sentence_bert_config.json").read_text())
    assert package.max_seq_length == settings["max_seq_length"] == 256


def test_vectors_keep_their_length(workspace: Workspace) -> None:
    """Not scaled to length 1, so the three measures are different questions with different orders."""
    lengths = np.linalg.norm(sentence_embeddings(TEXTS, torch.device("cpu")), axis=1)
    assert np.ptp(lengths) > 0.1 * lengths.mean(), f"lengths {lengths}"
    orders = {tuple(attribute(workspace, f"sbert_{kind}", test=2).order) for kind in ("euc", "cos", "dot")}
    assert len(orders) == 3


def test_the_encoder_does_not_see_the_label(workspace: Workspace) -> None:
    """The texts alone decide: asking for the other label changes nothing."""
    one, other = (attribute(workspace, "sbert_cos", test=2, label=label).scores for label in workspace.labels)
    assert np.array_equal(one, other)


def test_the_training_set_is_embedded_once(fresh: Workspace) -> None:
    """The second question reads the index; what is kept is float32 vectors, one a training example."""
    seen: list[str] = []
    for method in ("sbert_euc", "sbert_dot"):
        attribute(fresh, method, test=0, progress=lambda done, total, what: seen.append(what))
    assert seen == ["sentence embeddings of the training set"]
    (path,) = (fresh.directory / "index").glob("*/embeddings.npy")
    kept = np.load(path)
    assert kept.shape == (len(fresh.train), 384) and kept.dtype == np.float32
