"""Reading weights without running anything, saying what is wrong with them, and writing them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.torch_version import TorchVersion

from napari_ossnet.engine import checkpoints
from napari_ossnet.engine.checkpoints import SAFE_TORCH, load_checkpoint, published_shapes, read_card, save_weights
from napari_ossnet.engine.errors import OutputError, WeightsError
from napari_ossnet.engine.model_card import ModelCard
from napari_ossnet.engine.model_card import read_card as read_safetensors_card
from napari_ossnet.engine.networks.oss_net import OSSNet, OSSNetConfig
from napari_ossnet.engine.networks.variants import build_network
from napari_ossnet.engine.tasks import TASKS


@pytest.fixture(scope="module")
def a_state() -> dict[str, torch.Tensor]:
    """A published O-Net for BraTS."""
    torch.manual_seed(0)
    return build_network("o-net", TASKS["brats"]).state_dict()


@pytest.fixture
def a_small_network() -> OSSNet:
    torch.manual_seed(0)
    config = OSSNetConfig(
        in_channels=1,
        grid_shape=(48, 64, 48),
        encoder_channels=(4, 8),
        has_local_patches=True,
        has_mid_range_patches=False,
        has_encoder_skips=True,
        classes=3,
        decoder_features=16,
        decoder_blocks=2,
    )
    return OSSNet(config)


@pytest.fixture
def a_card(a_small_network: OSSNet) -> ModelCard:
    return ModelCard(
        name="tiny",
        title="A tiny network",
        task=TASKS["hippocampus"],
        variant="c",
        network_config=a_small_network.config.to_dict(),
        training_data="none",
        licence="CC0",
        dice={"anterior": 0.8, "posterior": 0.7},
        created="2026-01-01T00:00:00+00:00",
        notes="Notes with a | bar and an é.",
    )


@pytest.mark.parametrize("wrap", [dict, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_state_dict_loads_as_it_is(
    a_state: dict[str, torch.Tensor], tmp_path: Path, wrap: type, prefix: str
) -> None:
    path = tmp_path / "o_net.pt"
    torch.save(wrap({prefix + name: tensor for name, tensor in a_state.items()}), path)
    loaded = load_checkpoint(path)
    assert (loaded.card.variant, loaded.card.task.name) == ("o-net", "brats")
    assert all(torch.equal(tensor, a_state[name]) for name, tensor in loaded.network.state_dict().items())
    assert not loaded.network.training
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_card(path).variant == "o-net"


def test_a_file_of_old_torch_loads_too(a_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save(a_state, path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path).card.variant == "o-net"


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_torch", [True, False])
def test_code_in_a_pickle_is_never_executed(tmp_path: Path, is_torch: bool) -> None:
    path, trace = tmp_path / "bomb.pt", tmp_path / "trace"
    if is_torch:
        torch.save({"encoder": Bomb(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"encoder": Bomb(trace)}))
    with pytest.raises(WeightsError, match="could run code"):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("version", "is_safe"), [("2.2.2", False), ("2.5.1+cu124", False), ("2.6.0+cpu", True), ("2.10.0", True)]
)
def test_a_torch_that_could_run_code_in_a_published_file_is_not_given_one(
    a_state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_safe: bool
) -> None:
    path = tmp_path / "o_net.pt"
    torch.save(a_state, path)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    monkeypatch.setattr(checkpoints, "SAFE_TORCH", SAFE_TORCH)
    if is_safe:
        assert load_checkpoint(path).card.variant == "o-net"
    else:
        with pytest.raises(WeightsError, match=r"update torch to 2\.6 or later, or give a \.safetensors file"):
            load_checkpoint(path)


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.01, 0.0])
def test_a_truncated_file_is_refused(a_state: dict[str, torch.Tensor], tmp_path: Path, keep: float) -> None:
    path = tmp_path / "cut.pt"
    torch.save(a_state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(WeightsError, match=r"get it anew|another file"):
        load_checkpoint(path)


def test_a_network_that_almost_fits_is_refused_with_the_nearest_and_the_first_differences(
    a_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "almost.pt"
    changed = dict(a_state)
    del changed["decoder.final_mapping.0.weight"]
    changed["decoder.blocks.1.linear_layer_1.bias"] = torch.zeros(511)
    changed["decoder.surprise"] = torch.zeros(1)
    torch.save(changed, path)
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert "O-Net for brats" in text
    assert "decoder.blocks.1.linear_layer_1.bias has shape 511, expected 512" in text
    assert "decoder.final_mapping.0.weight is missing" in text
    assert "decoder.surprise is not expected" in text


def test_another_network_altogether_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(nn.Linear(3, 4).state_dict(), path)
    with pytest.raises(WeightsError, match="another network: of its 2 tensors 0 have names"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [[torch.zeros(3)], {"epoch": 3}, {}, torch.zeros(4)])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "list.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no state dict"):
        load_checkpoint(path)


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Can't read the weights"):
        load_checkpoint(tmp_path / "none.pt")
    text = tmp_path / "page.pt"
    text.write_text("<html>404 not found</html>", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"no \.safetensors file"):
        load_checkpoint(text)


def test_weights_with_values_that_are_not_numbers_are_refused(a_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "nan.pt"
    torch.save({**a_state, "decoder.final_mapping.0.weight": torch.full((1, 512), torch.nan)}, path)
    with pytest.raises(WeightsError, match=r"decoder\.final_mapping\.0\.weight has values that are not numbers"):
        load_checkpoint(path)


def test_our_own_files_come_back_as_they_were_written(
    a_small_network: OSSNet, a_card: ModelCard, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, a_small_network, a_card)
    loaded = load_checkpoint(path)
    assert loaded.card == a_card
    assert isinstance(loaded.network, OSSNet)
    assert loaded.network.config == a_small_network.config
    for name, tensor in a_small_network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)
    assert read_card(path) == read_safetensors_card(path) == a_card


@pytest.mark.parametrize("start", [b"\x80", b"PK"])
def test_a_file_of_ours_whose_first_bytes_look_like_torchs_is_read_all_the_same(
    a_small_network: OSSNet, a_card: ModelCard, tmp_path: Path, start: bytes
) -> None:
    save_weights(tmp_path / "ours.safetensors", a_small_network, a_card)
    content = (tmp_path / "ours.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    # The head may end in spaces: as many as bring its length to bytes that torch's files begin with.
    modulus, wanted = 256 ** len(start), int.from_bytes(start, "little")
    padded = length + (wanted - length) % modulus
    content = padded.to_bytes(8, "little") + content[8 : 8 + length].ljust(padded) + content[8 + length :]
    assert content.startswith(start)
    (tmp_path / "padded.safetensors").write_bytes(content)
    loaded = load_checkpoint(tmp_path / "padded.safetensors")
    assert loaded.card == a_card
    assert read_card(tmp_path / "padded.safetensors") == a_card


def test_in_half_precision_what_must_stay_exact_stays_exact(
    a_small_network: OSSNet, a_card: ModelCard, tmp_path: Path
) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(path, a_small_network, a_card, is_half_precision=True)
    loaded = load_checkpoint(path).network.state_dict()
    exact = ("running_mean", "running_var", "num_batches_tracked", "bias", "weight_numerator", "weight_denominator")
    for name, tensor in a_small_network.state_dict().items():
        assert loaded[name].dtype == tensor.dtype
        if name.endswith(exact):
            assert torch.equal(loaded[name], tensor), name
        else:
            torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-6)
    full = tmp_path / "full.safetensors"
    save_weights(full, a_small_network, a_card)
    assert path.stat().st_size < 0.65 * full.stat().st_size


def test_a_published_network_in_half_precision_fits_twenty_megabytes() -> None:
    shapes = published_shapes("c", "brats")
    sizes = {name: torch.Size(shape).numel() * (2 if len(shape) > 1 else 4) for name, shape in shapes.items()}
    assert sum(sizes.values()) < 20e6


def test_a_damaged_file_of_ours_is_refused(a_small_network: OSSNet, a_card: ModelCard, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, a_small_network, a_card)
    content = path.read_bytes()
    for kept in (len(content) - 1, 100, 7, 0):
        path.write_bytes(content[:kept])
        for read in (load_checkpoint, read_safetensors_card):
            with pytest.raises(WeightsError, match="get it anew"):
                read(path)


def test_a_file_of_ours_that_does_not_fit_its_own_card_is_refused(
    a_small_network: OSSNet, a_card: ModelCard, tmp_path: Path
) -> None:
    from dataclasses import replace

    path = tmp_path / "tiny.safetensors"
    other = a_card.network_config | {"decoder_features": 17}
    save_weights(path, a_small_network, replace(a_card, network_config=other))
    with pytest.raises(WeightsError, match="does not fit the network of its own model card"):
        load_checkpoint(path)
    save_weights(path, a_small_network, replace(a_card, network_config={"width": 3}))
    with pytest.raises(WeightsError, match="no setting width"):
        load_checkpoint(path)
    save_weights(path, a_small_network, replace(a_card, variant="zeta"))
    with pytest.raises(WeightsError, match="no network variant 'zeta'"):
        load_checkpoint(path)


def test_safetensors_in_the_published_layout_without_a_card_are_recognised(
    a_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "converted.safetensors"
    save_file(a_state, path)
    assert load_checkpoint(path).card.variant == "o-net"
    with pytest.raises(WeightsError, match="no model card"):
        read_card(path)


def test_a_file_that_can_not_be_written_is_an_error_of_the_engine(
    a_small_network: OSSNet, a_card: ModelCard, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        save_weights(tmp_path / "file" / "tiny.safetensors", a_small_network, a_card)


def test_a_card_survives_json_and_reads_as_a_page(a_card: ModelCard) -> None:
    assert ModelCard.from_json(a_card.to_json()) == a_card
    assert a_card.mean_dice == pytest.approx(0.75)
    page = a_card.to_markdown()
    assert page.startswith("# A tiny network\n")
    for text in ("Hippocampus", "anterior 0.8000", "CC0", "not stated", "Notes with a"):
        assert text in page


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 1}', '{"surprise": 1}', "null"])
def test_a_card_that_can_not_be_read_is_refused(text: str) -> None:
    with pytest.raises(WeightsError, match="model card"):
        ModelCard.from_json(text)
