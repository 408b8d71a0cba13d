"""What the two source documents report, as numbers: for comparison, never as our results."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedScale:
    """One scale's row in the model card.

    Attributes:
        accuracy: validation accuracy of the scale alone, a fraction.
        prototype_mean: mean of its Cantor prototypes.
        prototype_std: their standard deviation.
        prototype_range: lowest and highest of them.
        weights: weights of feature, cantor and crystal.
    """

    accuracy: float
    prototype_mean: float
    prototype_std: float
    prototype_range: tuple[float, float]
    weights: tuple[float, float, float]


# Source document 000: the model card of GeoFractalDavid-Basin-k12 (AbstractPhil, 2025).
ACCURACY = 0.7140
SECONDS = 18 * 60 + 45
EPOCHS = 10
AFTER_ONE_EPOCH = 0.70
TRAIN_ROWS = 1_281_167
VAL_ROWS = 50_000
ALPHA = {"initial": 0.3290, "final": -0.0764}
SCALES = {
    384: PublishedScale(0.6125, 0.0226, 0.0784, (-0.1377, 0.1894), (0.929, 0.020, 0.051)),
    512: PublishedScale(0.6067, 0.0226, 0.0784, (-0.1377, 0.1895), (0.885, 0.023, 0.092)),
    768: PublishedScale(0.7050, 0.0227, 0.0784, (-0.1373, 0.1897), (0.996, 0.001, 0.003)),
    1024: PublishedScale(0.5169, 0.0226, 0.0784, (-0.1375, 0.1896), (0.952, 0.005, 0.043)),
    1280: PublishedScale(0.4472, 0.0227, 0.0784, (-0.1375, 0.1898), (0.411, 0.003, 0.587)),
}

# Source document 004: RFT Stage Four (L. S. Grinstead, October 2025). It gives settings, no table.
STAGE4_STEPS = 1000
STAGE4_BATCH = 256
STAGE4_LR = 5e-4
STAGE4_SEED = 1234
