"""The scikit-learn estimator against scikit-learn's own checks, and in its pipelines."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from geobasin import GeoBasinClassifier, TrainConfig

SMALL = GeoBasinClassifier(
    k=2, scales=(16,), levels=2, epochs=20, batch=64, lr=1e-2, random_state=0
)

# Arrays of other libraries are an option of scikit-learn's that this estimator does not offer.
CHECKS = [
    pytest.param(estimator, check, id=check.func.__name__ + str(number))
    for number, (estimator, check) in enumerate(estimator_checks_generator(SMALL))
    if check.func.__name__ != "check_array_api_input"
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


def test_settings_are_those_of_training() -> None:
    settings = inspect.signature(GeoBasinClassifier).parameters
    for field in fields(TrainConfig):
        if field.name != "seed":
            assert settings[field.name].default == field.default, field.name


def test_it_works_in_a_pipeline_under_a_grid_search() -> None:
    pixels, labels = load_digits(n_class=4, return_X_y=True)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SMALL), {"geobasinclassifier__k": [1, 3]}, cv=2
    ).fit(pixels, labels)
    assert search.best_score_ > 0.9
    assert cross_val_score(SMALL, pixels, labels, cv=2).min() > 0.9


def test_probabilities_follow_the_decisions() -> None:
    pixels, labels = load_digits(n_class=3, return_X_y=True)
    names = np.array(["nil", "one", "two"])[labels]
    fitted = SMALL.fit(pixels, names)
    chances = fitted.predict_proba(pixels)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert (fitted.classes_[chances.argmax(1)] == fitted.predict(pixels)).all()
    scores = fitted.decision_function(pixels) / fitted.temperature
    ratios = np.log(chances[:, 0] / chances[:, 1])
    np.testing.assert_allclose(ratios, scores[:, 0] - scores[:, 1], atol=1e-9)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="1 class"):
        SMALL.fit(np.zeros((4, 2)), np.zeros(4))
