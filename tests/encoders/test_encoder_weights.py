"""A weights file is read exactly or refused in one line that says what to do."""

import hashlib
import io
import pathlib
import types
import urllib.error
import urllib.request

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy

from jaxflow.encoders import WeightsUnavailable, load_encoder
from jaxflow.encoders.layout import Conv
from jaxflow.errors import InputError


def refusal(path, tensors=None, **kwargs):
    """Write the tensors and return the one line that refuses the file."""
    if tensors is not None:
        safetensors.numpy.save_file(tensors, path)
    with pytest.raises(InputError) as caught:
        load_encoder("resnet18", weights=str(path), **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folded_batch_norm_equals_unfolded_computation():
    rng = np.random.default_rng(0)
    tensors = {"c.weight": rng.normal(size=(5, 7, 1, 1)), "c.bias": rng.normal(size=5)}
    for key in ("weight", "bias", "running_mean"):
        tensors[f"n.{key}"] = rng.normal(size=5)
    tensors["n.running_var"] = rng.uniform(0.1, 2.0, 5)
    x = rng.normal(size=(11, 7))
    y = x @ tensors["c.weight"][:, :, 0, 0].T + tensors["c.bias"]
    y = (y - tensors["n.running_mean"]) / np.sqrt(tensors["n.running_var"] + 1e-5)
    y = y * tensors["n.weight"] + tensors["n.bias"]
    folded = Conv("c", "n", has_bias=True).build(tensors)
    assert folded["kernel"].dtype == np.float32
    np.testing.assert_allclose(x @ folded["kernel"][0, 0] + folded["bias"], y, atol=1e-5)


def test_parts_that_are_not_built_may_be_in_the_file(resnet18_file, tmp_path):
    path, tensors = resnet18_file
    extra = {
        "layer4.1.conv2.weight": np.zeros((512, 512, 3, 3), np.float32),
        "fc.weight": np.zeros((1000, 512), np.float32),
        "layer1.0.bn1.num_batches_tracked": np.array(7),
    }
    full = tmp_path / "full.safetensors"
    safetensors.numpy.save_file(tensors | extra, full)
    encoder = load_encoder("resnet18", weights=str(full))
    expected = load_encoder("resnet18", weights=path).variables
    np.testing.assert_equal(encoder.variables, expected)


def test_sha256_is_that_of_the_file(resnet18_file):
    path, _ = resnet18_file
    encoder = load_encoder("resnet18", weights=path)
    assert encoder.sha256 == hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    assert (encoder.weights, encoder.tag) == (path, None)


def test_half_precision_files_are_read_as_float32(resnet18_file, tmp_path):
    _, tensors = resnet18_file
    path = tmp_path / "half.safetensors"
    safetensors.numpy.save_file({k: v.astype(np.float16) for k, v in tensors.items()}, path)
    encoder = load_encoder("resnet18", weights=str(path))
    kernel = encoder.variables["params"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32


def test_missing_keys_are_listed(resnet18_file, tmp_path):
    path, tensors = resnet18_file
    del tensors["layer2.0.conv1.weight"]
    message = refusal(tmp_path / "w.safetensors", tensors)
    assert "1 keys missing (layer2.0.conv1.weight) of 75 expected" in message
    # A file that ends at stage 3 cannot give stage 4.
    message = refusal(path, stages=(2, 3, 4))
    assert "25 keys missing (layer4.0.bn1.bias" in message
    assert "and 21 more" in message


def test_unknown_keys_are_listed(resnet18_file, tmp_path):
    _, tensors = resnet18_file
    tensors["layer1.2.conv1.weight"] = np.zeros((64, 64, 3, 3), np.float32)
    message = refusal(tmp_path / "w.safetensors", tensors)
    assert "1 keys unknown to the encoder (layer1.2.conv1.weight)" in message


def test_weights_of_another_encoder_are_refused(resnet18_file):
    path, _ = resnet18_file
    with pytest.raises(InputError, match="keys missing .*layer1.0.bn3.bias"):
        load_encoder("wide_resnet50_2", weights=path)


def test_wrong_shapes_and_types_are_listed(resnet18_file, tmp_path):
    _, tensors = resnet18_file
    tensors["conv1.weight"] = np.zeros((64, 3, 3, 3), np.float32)
    tensors["bn1.bias"] = np.zeros(64, np.int32)
    message = refusal(tmp_path / "w.safetensors", tensors)
    assert "conv1.weight expected [64, 3, 7, 7], got [64, 3, 3, 3]" in message
    assert "bn1.bias expected floating point, got I32" in message


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ""])
def test_pickles_are_refused_unread(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"not to be read")
    assert "pickles are never loaded" in refusal(path)


@pytest.mark.parametrize("keep", [0, 4, 3000, -1])
def test_a_truncated_file_is_refused(keep, resnet18_file, tmp_path):
    path, _ = resnet18_file
    short = tmp_path / "short.safetensors"
    short.write_bytes(pathlib.Path(path).read_bytes()[:keep])
    assert "not a readable safetensors file" in refusal(short)


def test_a_missing_file_says_which_to_fetch(tmp_path):
    message = refusal(tmp_path / "absent.safetensors")
    assert "model.safetensors of https://huggingface.co/timm/resnet18.tv_in1k" in message
    assert "--config.encoder.weights=PATH" in message


class Hub:
    """Stands for the hub's client: a cache that may be empty, a network that may be down."""

    def __init__(self, monkeypatch, cached=None, reachable=None):
        self.cached, self.reachable, self.calls = cached, reachable, []
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(urllib.request, "urlopen", self.probe)

    def download(self, repo, file, revision=None, local_files_only=False):
        self.calls.append((repo, file, revision, local_files_only))
        if local_files_only and self.cached is None:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        return self.cached or self.reachable

    def probe(self, request, timeout):
        if self.reachable is None:
            raise urllib.error.URLError("no route to host")
        raise urllib.error.HTTPError(request.full_url, 405, "it answers", {}, io.BytesIO())


def test_hub_weights_come_from_the_cache_without_a_network(resnet18_file, monkeypatch):
    hub = Hub(monkeypatch, cached=resnet18_file[0])
    encoder = load_encoder("resnet18", weights="hub", revision="abc")
    assert hub.calls == [("timm/resnet18.tv_in1k", "model.safetensors", "abc", True)]
    assert (encoder.weights, encoder.tag) == ("hub", "tv_in1k")


def test_hub_weights_are_fetched_when_not_cached(resnet18_file, monkeypatch):
    hub = Hub(monkeypatch, reachable=resnet18_file[0])
    load_encoder("resnet18", weights="hub", tag="a1_in1k")
    assert [call[0::3] for call in hub.calls] == [
        ("timm/resnet18.a1_in1k", True),
        ("timm/resnet18.a1_in1k", False),
    ]


def test_a_revision_that_does_not_exist_is_named(monkeypatch):
    Hub(monkeypatch, reachable="answers")
    response = types.SimpleNamespace(headers={}, request=None)

    def download(*_, local_files_only=False, **__):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        raise huggingface_hub.errors.RevisionNotFoundError("404", response=response)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(InputError, match="no revision 'v9' of it") as caught:
        load_encoder("resnet18", weights="hub", revision="v9")
    assert not isinstance(caught.value, WeightsUnavailable)


def test_no_network_says_which_file_to_fetch_and_which_flag_takes_it(monkeypatch):
    hub = Hub(monkeypatch)
    with pytest.raises(WeightsUnavailable) as caught:
        load_encoder("resnet18", weights="hub")
    message = str(caught.value)
    assert "https://huggingface.co/timm/resnet18.tv_in1k/resolve/main/model.safetensors" in message
    assert "--config.encoder.weights=PATH" in message
    assert "no route to host" in message
    assert "\n" not in message
    assert len(hub.calls) == 1, "the client would retry for 23 seconds"
