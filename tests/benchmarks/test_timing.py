"""What the benchmarks count, and that their timing is fair."""

import pytest

from benchmarks.extract_throughput import FLOP_PER_IMAGE
from benchmarks.time_to_accuracy import ratios, train_while_improving
from benchmarks.timing import interleave, ratio_summary


def test_functions_take_turns_and_the_first_round_is_not_timed() -> None:
    calls: list[str] = []
    seconds = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_neighbours_in_time() -> None:
    # A machine that slows down tenfold half-way changes no ratio.
    assert ratio_summary([2.0, 20.0, 30.0], [1.0, 10.0, 10.0]) == {"median": 2.0, "min": 2.0, "max": 3.0}


def test_operations_of_the_network_are_those_that_torchvision_lists() -> None:
    # torchvision lists 0.714 G multiply-adds for the whole network, 0.0586 G of them in its three linear layers.
    linear = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    assert FLOP_PER_IMAGE / 2 + linear == pytest.approx(0.714e9, abs=0.001e9)


@pytest.mark.parametrize(
    ("top1", "patience", "limit", "epochs"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.9], 2, 6, 4),  # the third and fourth were no better than the second
        ([0.1, 0.2, 0.3, 0.4, 0.3, 0.3], 2, 6, 6),  # still improving at the fourth
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2, 5, 5),  # still improving, but that is the limit
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0, 6, 2),
    ],
)
def test_the_reports_recipe_is_trained_for_as_long_as_it_improves(top1, patience, limit, epochs) -> None:
    history = train_while_improving(
        lambda count: [{"epoch": i + 1, "val_top1": value} for i, value in enumerate(top1[:count])],
        epochs=2,
        patience=patience,
        limit=limit,
    )
    assert len(history) == epochs


def test_the_reports_hundred_epochs_are_of_all_images_and_its_best_epoch_of_those_trained_on() -> None:
    report = [{"epoch": epoch, "val_top1": top1} for epoch, top1 in ((1, 0.5), (2, 0.7), (3, 0.6))]
    ours = [{"epoch": epoch, "val_top1": top1} for epoch, top1 in ((1, 0.6), (2, 0.7), (3, 0.8))]
    run = {"wall_seconds": 40.0, "seen": [10.0, 20.0, 30.0], "history": ours}
    # 100 images are 4 batches of 32, the 64 that are not held out are 2; a step takes 2 s on the average.
    found = ratios([1.0, 3.0], 100, 64, report, [run])
    assert found["ratio"]["median"] == 100 * 4 * 2 / 20
    assert found["ratio_best_epoch"]["median"] == 2 * 2 * 2 / 20
    assert found["ratio_fast"]["median"] == 100 * 4 * 2 / 40
    assert found["seconds_to_reports_best"] == [20.0]


def test_a_run_that_does_not_reach_the_reports_best_has_no_ratio_to_it() -> None:
    run = {"wall_seconds": 40.0, "seen": [10.0], "history": [{"epoch": 1, "val_top1": 0.6}]}
    reached = run | {"history": [{"epoch": 1, "val_top1": 0.7}]}
    found = ratios([1.0, 1.0, 1.0], 32, 32, [{"epoch": 1, "val_top1": 0.7}], [reached, run])
    assert set(found) == {"ratio_fast"}
