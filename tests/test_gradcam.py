import keras
import numpy as np
import pytest

from utils import gradcam
from utils.gradcam import explain, overlay


def _reference(activations, gradients, method):
    """Both formulas as loops, in double precision, before upsampling and scaling."""
    maps = []
    for a, g in zip(activations.astype(float), gradients.astype(float), strict=True):
        heat = np.zeros(a.shape[:2])
        for k in range(a.shape[-1]):
            if method == "gradcam":
                weight = g[..., k].mean()
            else:
                below = 2 * g[..., k] ** 2 + g[..., k] ** 3 * a[..., k].sum()
                alpha = np.where(below == 0, 0, g[..., k] ** 2 / np.where(below == 0, 1, below))
                weight = (alpha * np.maximum(g[..., k], 0)).sum()
            heat += weight * a[..., k]
        maps.append(np.maximum(heat, 0))
    return np.array(maps)


def _activations(model, images, layer):
    return model.submodel([layer])(model.preprocess(images), training=False)[layer].numpy()


@pytest.mark.parametrize("method", gradcam.METHODS)
@pytest.mark.parametrize(("target", "sign"), [("tumor", 1), ("normal", -1)])
def test_against_numpy(tiny_classifier, images, method, target, sign):
    activations = _activations(tiny_classifier, images, "late")
    # Under pooling and one unit, the derivative of the logit is the kernel over the positions.
    kernel = tiny_classifier.network.get_layer("tumor").kernel.numpy()[:, 0]
    gradients = np.broadcast_to(sign * kernel / 16, activations.shape)
    coarse = _reference(activations, gradients, method)
    peaks = coarse.max(axis=(1, 2), keepdims=True)
    expected = np.divide(coarse, peaks, out=np.zeros_like(coarse), where=peaks > 0)
    maps = explain(tiny_classifier, images, methods=[method], target=target)[method]
    assert maps.shape == images.shape[:3] and maps.dtype == np.float32
    assert 0 <= maps.min() and maps.max() <= 1
    resized = np.stack([gradcam.cv2.resize(m.astype(np.float32), (16, 16)) for m in expected])
    peaks = resized.max(axis=(1, 2), keepdims=True)
    resized = np.divide(resized, peaks, out=np.zeros_like(resized), where=peaks > 0)
    np.testing.assert_allclose(maps, resized, atol=1e-5)


def test_gradients_of_an_earlier_layer(tiny_classifier, images):
    """Central differences through the layers behind, at every position of one patch."""
    tail_input = keras.Input((8, 8, 4))
    network, x = tiny_classifier.network, tail_input
    for name in ("deep", "late_relu", "pool"):
        x = network.get_layer(name)(x)
    head = network.get_layer("tumor")
    tail = keras.Model(tail_input, keras.ops.matmul(x, head.kernel) + head.bias)
    activations = _activations(tiny_classifier, images[:1], "early")
    step = 1e-2
    moves = step * np.eye(activations.size).reshape(-1, *activations.shape[1:])
    up = tail((activations + moves).astype(np.float32)).numpy()[:, 0]
    down = tail((activations - moves).astype(np.float32)).numpy()[:, 0]
    gradients = ((up - down) / (2 * step)).reshape(activations.shape)
    coarse = _reference(activations, gradients, "gradcam")[0]
    expected = gradcam.cv2.resize(np.float32(coarse / coarse.max()), (16, 16))
    found = explain(tiny_classifier, images[:1], methods=["gradcam"], layer="early")["gradcam"][0]
    np.testing.assert_allclose(found, expected / expected.max(), atol=0.02)


def test_maps_do_not_depend_on_the_batch(tiny_classifier, images):
    together = explain(tiny_classifier, images)
    for method, maps in explain(tiny_classifier, images, batch_size=2).items():
        np.testing.assert_allclose(maps, together[method], atol=1e-6)


def test_maps_without_evidence_are_said(tiny_classifier, images):
    head = tiny_classifier.network.get_layer("tumor")
    head.kernel.assign(-np.abs(head.kernel.numpy()))
    with pytest.warns(UserWarning, match="5 of 5 gradcam maps are all zero"):
        maps = explain(tiny_classifier, images, methods=["gradcam"])["gradcam"]
    assert (maps == 0).all()
    assert explain(tiny_classifier, images, target="normal")["gradcam"].max() == 1


def test_overlay(images):
    maps = np.zeros(images.shape[:3], np.float32)
    maps[:, :8] = 1
    laid = overlay(images, maps, opacity=1.0)
    assert laid[0, 0, 0, 0] > 100 > laid[0, 0, 0, 2]  # jet: red at the top, blue at the bottom
    assert laid[0, 15, 0, 2] > 100 > laid[0, 15, 0, 0]
    np.testing.assert_array_equal(overlay(images, maps, opacity=0.0), images)
    with pytest.raises(ValueError, match="jet, cividis"):
        overlay(images, maps, colormap="rainbow")
    with pytest.raises(ValueError, match="differ"):
        overlay(images, maps[:2])


def test_bad_requests(tiny_classifier, tiny_model, images):
    for options, words in (
        ({"methods": ["cam"]}, "gradcam"),
        ({"target": "benign"}, "tumor, normal"),
        ({"layer": "mixed7c"}, "no layer 'mixed7c'"),
        ({"layer": "pool"}, "spatial extent"),
    ):
        with pytest.raises(ValueError, match=words):
            explain(tiny_classifier, images, **options)
    with pytest.raises(ValueError, match="finetune first"):
        explain(tiny_model, images)
