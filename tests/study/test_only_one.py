"""Of images that one side alone gets right, the clearest are told first, each with what most of the others say."""

import numpy as np

from alexnet_skip.study.only_one import clearest

LABELS = np.array([0, 1, 2, 0])


def chances(*rows) -> np.ndarray:
    return np.array(rows, float)


def test_the_true_class_that_gains_most_is_first_and_chances_are_means_over_seeds():
    right = [chances((0.6, 0.4, 0), (0, 1, 0), (0, 0, 1), (0.9, 0.1, 0))] * 2
    wrong = [
        chances((0.4, 0.6, 0), (0, 1, 0), (0, 0, 1), (0.0, 1, 0)),
        chances((0.2, 0.5, 0.3), (0, 1, 0), (0, 0, 1), (0.2, 0.8, 0)),
    ]
    found = clearest(np.array([0, 3]), LABELS, right, wrong, 5)
    assert [one.row for one in found] == [3, 0]
    np.testing.assert_allclose([(one.chance, one.other_chance) for one in found], [(0.9, 0.9), (0.6, 0.55)])
    assert [one.row for one in clearest(np.array([0, 3]), LABELS, right, wrong, 1)] == [3]
    assert clearest(np.array([], int), LABELS, right, wrong, 5) == []


def test_what_an_image_is_taken_for_is_what_most_seeds_say_though_their_mean_says_the_truth():
    right = [chances((1, 0, 0))] * 3
    wrong = [chances((0.49, 0.51, 0)), chances((0.49, 0.51, 0)), chances((0.4, 0, 0.6))]
    (found,) = clearest(np.array([0]), np.array([0]), right, wrong, 5)
    assert np.mean(wrong, axis=0).argmax() == 0
    assert (found.label, found.taken_for) == (0, 1)
