"""The model against the published formula written out slowly, and itself in other batches."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from geobasin.convert import to_free, to_rigid
from geobasin.errors import GeoBasinError
from geobasin.model import GeoFractalDavid

FEATURES, CLASSES, ROWS = 10, 6, 9


def model(simplices: str = "rigid", **settings: object) -> GeoFractalDavid:
    torch.manual_seed(0)
    built = GeoFractalDavid(FEATURES, CLASSES, k=4, scales=(8, 16), simplices=simplices, **settings)
    with torch.no_grad():
        for head in built.heads.values():
            head.geo_weights.normal_()
        built.fusion_weights.normal_()
    return built.eval()


def rows() -> Tensor:
    return torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(1))


def published_logits(state: dict[str, Tensor], features: Tensor, tau: float) -> Tensor:
    """Logits of the published model, row by row and class by class, from its state dict."""
    features = F.normalize(features, dim=-1)
    fused = torch.zeros(len(features), CLASSES)
    fusion = torch.softmax(state["fusion_weights"], 0)
    for index, row in enumerate(features):
        shift = torch.tanh(
            state["cantor_stairs.feature_to_position.weight"][0] @ row
            + state["cantor_stairs.feature_to_position.bias"][0]
        )
        x = (index / (len(features) - 1) + 0.3 * shift).clamp(1e-6, 1 - 1e-6)
        digit = torch.softmax(-((3 * x - state["cantor_stairs.centers"]) ** 2) / tau, 0)
        kappa = digit[1] * state["cantor_stairs.alpha"] + digit[2]
        for number, scale in enumerate((8, 16)):
            part = {
                name.removeprefix(f"heads.{scale}."): value
                for name, value in state.items()
                if name.startswith(f"heads.{scale}.")
            }
            hidden = F.gelu(part["projection.0.weight"] @ row + part["projection.0.bias"])
            hidden = F.layer_norm(
                hidden, hidden.shape, part["projection.2.weight"], part["projection.2.bias"]
            )
            z = F.normalize(part["projection.3.weight"] @ hidden + part["projection.3.bias"], dim=0)
            weights = torch.softmax(part["geo_weights"], 0)
            for label in range(CLASSES):
                simplex = part["class_prototypes"][label]
                compatibility = (
                    weights[0] * torch.cosine_similarity(z, simplex.mean(0), dim=0)
                    - weights[1] * (kappa - part["cantor_prototypes"][label]) ** 2
                    - weights[2] * min((z - vertex).norm() for vertex in simplex)
                )
                fused[index, label] += fusion[number] * compatibility
    return fused


def test_positions_reproduce_the_published_formula() -> None:
    free = model("free", levels=1, reach=0.3, alpha_init=0.329)
    positions = torch.arange(ROWS) / (ROWS - 1)
    expected = published_logits(free.state_dict(), rows(), tau=0.25)
    torch.testing.assert_close(free(rows(), positions), expected, atol=1e-5, rtol=0)


def test_state_dict_of_free_simplices_is_the_published_one() -> None:
    shapes = {name: tuple(value.shape) for name, value in model("free").state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {
        "fusion_weights": (2,),
        "cantor_stairs.alpha": (),
        "cantor_stairs.centers": (3,),
        "cantor_stairs.feature_to_position.weight": (1, FEATURES),
        "cantor_stairs.feature_to_position.bias": (1,),
    }
    for scale in (8, 16):
        expected |= {
            f"heads.{scale}.class_prototypes": (CLASSES, 5, scale),
            f"heads.{scale}.cantor_prototypes": (CLASSES,),
            f"heads.{scale}.geo_weights": (3,),
            f"heads.{scale}.projection.0.weight": (2 * scale, FEATURES),
            f"heads.{scale}.projection.0.bias": (2 * scale,),
            f"heads.{scale}.projection.2.weight": (2 * scale,),
            f"heads.{scale}.projection.2.bias": (2 * scale,),
            f"heads.{scale}.projection.3.weight": (scale, 2 * scale),
            f"heads.{scale}.projection.3.bias": (scale,),
        }
    assert shapes == expected


@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_weights_survive_the_disk(simplices: str, tmp_path) -> None:
    first, second = model(simplices), model(simplices)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.normal_()
    save_file(first.state_dict(), tmp_path / "weights.safetensors")
    second.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(first(rows()), second(rows()))


def test_rigid_simplices_made_free_give_the_same_logits() -> None:
    rigid = model("rigid")
    with torch.no_grad():
        for scale in rigid.scales:
            rigid.head(scale).log_radii.uniform_(-1, 0.5)
    free = to_free(rigid)
    assert free.settings["simplices"] == "free"
    torch.testing.assert_close(free(rows()), rigid(rows()), atol=1e-5, rtol=0)
    back = to_rigid(free)
    torch.testing.assert_close(back(rows()), rigid(rows()), atol=1e-5, rtol=0)


def test_simplices_that_are_not_rigid_are_not_made_so() -> None:
    free = to_free(model("rigid"))
    with torch.no_grad():
        free.head(16).class_prototypes[2, 1] *= 1.1
    with pytest.raises(GeoBasinError, match=r"at scale 16 are not rigid: .*%"):
        to_rigid(free)


def test_compiled_logits_are_those_of_eager() -> None:
    built = model()
    # The default back end wants a C++ compiler, which a reader's machine may lack.
    compiled = torch.compile(built, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(rows()), built(rows()), atol=1e-5, rtol=0)
    torch.testing.assert_close(compiled(rows()[:2]), built(rows())[:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_a_row_does_not_depend_on_its_batch(simplices: str) -> None:
    built = model(simplices)
    whole = built(rows())
    alone = torch.cat([built(row.unsqueeze(0)) for row in rows()])
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(built(rows()[order]), whole[order], atol=1e-5, rtol=0)


def test_length_of_a_feature_does_not_matter() -> None:
    built = model()
    torch.testing.assert_close(built(7 * rows()), built(rows()), atol=1e-5, rtol=0)


def test_inspection_is_consistent_with_the_logits() -> None:
    built = model()
    scale_logits = built.get_scale_logits(rows())
    fusion = torch.softmax(built.fusion_weights, 0)
    joined = sum(
        weight * scale_logits[scale] for weight, scale in zip(fusion, built.scales, strict=True)
    )
    torch.testing.assert_close(built(rows()), joined)
    for scale, parts in built.get_geometric_weights().items():
        assert sum(parts.values()) == pytest.approx(1)
        z = built.head(scale).project(F.normalize(rows(), dim=-1))
        components = built.head(scale).components(z, built.get_cantor_values(rows()))
        weights = torch.tensor([parts[name] for name in ("feature", "cantor", "crystal")])
        torch.testing.assert_close((weights.view(3, 1, 1) * components).sum(0), scale_logits[scale])
    thirds = built.get_cantor_interval_distribution(rows())
    assert list(thirds) == ["left", "middle", "right"]
    assert sum(thirds.values()) == pytest.approx(1)


def test_every_parameter_learns() -> None:
    for simplices in ("rigid", "free"):
        built = model(simplices)
        F.cross_entropy(built(rows()), torch.arange(ROWS) % CLASSES).backward()
        for name, parameter in built.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"k": 9, "scales": (8,)}, "does not fit"),
        ({"scales": ()}, "scales"),
        ({"scales": (8, 8)}, "scales"),
        ({"num_classes": 1}, "classes"),
        ({"simplices": "soft"}, "simplices"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], word: str) -> None:
    with pytest.raises(GeoBasinError, match=word):
        GeoFractalDavid(**({"feature_dim": 4, "num_classes": 3, "k": 2, "scales": (8,)} | settings))


def test_a_checkpoint_of_another_layout_names_the_key() -> None:
    with pytest.raises(GeoBasinError, match=r"heads\.8\.centroids"):
        model("rigid").load_state_dict(model("free").state_dict())
    narrow = GeoFractalDavid(FEATURES + 1, CLASSES, k=4, scales=(8, 16))
    with pytest.raises(GeoBasinError, match="feature_to_position"):
        model("rigid").load_state_dict(narrow.state_dict())


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(GeoBasinError, match="shape"):
        model()(torch.zeros(3, FEATURES + 1))


def test_a_component_that_is_left_out_has_no_say() -> None:
    built = model(components=("feature", "crystal"))
    whole = built(rows())
    with torch.no_grad():
        for head in built.heads.values():
            head.cantor_prototypes.normal_()
    assert torch.equal(built(rows()), whole)
    for parts in built.get_geometric_weights().values():
        assert parts["cantor"] == 0
        assert sum(parts.values()) == pytest.approx(1)
    with pytest.raises(GeoBasinError, match="components"):
        model(components=("colour",))
