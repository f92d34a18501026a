"""Aggregates have the values of closed forms and brute force, and Adam against itself is exactly 1."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from eval import Results, Row, Summary, TaskResult, compare
from eval.statistics.against_reference import tasks_won
from eval.statistics.many_runs import (
    bootstrap,
    expected_best,
    geometric_mean,
    interquartile_mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    resample,
    trials_matched,
)
from eval.statistics.paired_scores import loss_scores, speed_up_scores, task_names, time_speed_up_scores

NAN, INF = math.nan, math.inf


def mean(scores):
    return scores.mean((-2, -1))


def every_resample(seeds):
    """List all equally likely resamples of one task: the bootstrap without chance."""
    return np.array(list(itertools.product(range(seeds), repeat=seeds)))[:, None]


def results(losses, speed_ups=None, sweep=(), horizons=None, diverged=None, final=None, seconds=None):
    """Make a benchmark of losses[optimizer] = [tasks, seeds]; the first one is asked about."""
    losses = {name: np.array(values, float) for name, values in losses.items()}
    tasks, seeds = losses["adam"].shape
    speed_ups = {name: np.ones((tasks, seeds)) for name in losses} | (speed_ups or {})

    def row(name, at):
        values = tuple(losses[name][at])
        return Row(
            optimizer=name,
            label=f"tuned {name}" if name == "adam" else name,
            kind="tuned" if name == "adam" else "learned",
            rate=0.1 if name == "adam" else None,
            sweep=tuple(enumerate(sweep)) if name == "adam" else (),
            mean_loss=values,
            final_loss=values if final is None else tuple(map(float, final[name][at])),
            held_out_loss=values,
            steps_to_target=(None,) * seeds,
            speed_up=tuple(None if np.isnan(x) else float(x) for x in speed_ups[name][at]),
            diverged=tuple((diverged or {}).get(name, np.zeros((tasks, seeds), bool))[at]),
            train_curves=((),) * seeds,
            held_out_curves=((),) * seeds,
            seconds_per_step=None if seconds is None else seconds[name][at],
        )

    return Results(
        suite="",
        tests="",
        subjects=(next(iter(losses)),),
        reference="adam",
        seeds=seeds,
        seed=0,
        held_out="test",
        tasks=tuple(
            TaskResult(f"task-{at}", 1, (), (), tuple(row(name, at) for name in losses))
            if horizons is None
            else TaskResult("task", horizons[at], (), (), tuple(row(name, at) for name in losses))
            for at in range(tasks)
        ),
        origins={},
        environment={},
    )


def permuted(benchmark, tasks, seeds):
    """Reorder tasks, and the seeds of every task, of each optimizer alike."""

    def reorder(row, order):
        fields = ("mean_loss", "final_loss", "held_out_loss", "speed_up", "diverged")
        changes = {field: tuple(getattr(row, field)[i] for i in order) for field in fields}
        return dataclasses.replace(row, **changes)

    moved = [
        dataclasses.replace(
            benchmark.tasks[at], rows=tuple(reorder(x, order) for x in benchmark.tasks[at].rows)
        )
        for at, order in zip(tasks, seeds, strict=True)
    ]
    return dataclasses.replace(benchmark, tasks=tuple(moved))


# --- statistics ------------------------------------------------------------------------------------------


def test_the_interquartile_mean_of_one_to_eight_is_that_of_three_to_six():
    assert interquartile_mean(np.array([[8.0, 1, 6, 3], [2, 7, 4, 5]])) == 4.5
    assert interquartile_mean(np.array([[1.0, 2, 6]])) == 3  # A quarter of three is less than one run.
    assert interquartile_mean(np.array([[-1e9, 2, 4, INF]])) == 3


@pytest.mark.parametrize("runs", range(1, 22))
def test_the_interquartile_mean_is_scipys_trimmed_mean(runs):
    scores = np.random.default_rng(runs).normal(size=(3, 1, runs))
    np.testing.assert_allclose(interquartile_mean(scores), stats.trim_mean(scores[:, 0], 0.25, axis=1))
    whole = scores.reshape(1, 3, runs)
    np.testing.assert_allclose(interquartile_mean(whole), stats.trim_mean(whole[0], 0.25, axis=None))


def test_the_geometric_mean_undoes_its_logarithm_and_is_zero_with_a_zero():
    np.testing.assert_allclose(geometric_mean(np.array([[0.25, 4], [2, 32]])), 64 ** (1 / 4))
    np.testing.assert_array_equal(geometric_mean(np.array([[[0.0, 9]], [[0, INF]], [[1, INF]]])), [0, 0, INF])


def test_the_optimality_gap_counts_what_is_missing_and_no_excess():
    assert optimality_gap(np.array([[0.5, 1], [3, 0]])) == (0.5 + 1) / 4
    assert optimality_gap(np.array([[1.0, INF]])) == 0
    assert optimality_gap(np.array([[0.5, 1]]), target=2) == (1.5 + 1) / 2


@pytest.mark.parametrize("seeds", [3, 4])
@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_the_interval_is_a_percentile_of_all_resamples(statistic, seeds):
    scores, draws = np.array([[0.0, 1, 5, 25]])[:, :seeds], every_resample(seeds)
    values = sorted(float(statistic(scores[:, draw[0]])) for draw in draws)
    out = int(0.025 * len(draws))
    assert bootstrap(statistic, scores, draws).interval == (values[out], values[-1 - out])


def test_resamples_stay_within_their_task():
    draws = resample(3, 5)
    assert draws.shape == (2000, 3, 5)
    scores = np.array([[1.0] * 5, [20] * 5, [300] * 5])
    estimate = bootstrap(mean, scores, draws)
    assert estimate.interval == (estimate.value, estimate.value) == (107, 107)
    frequencies = np.bincount(draws.ravel(), minlength=5) / draws.size
    np.testing.assert_allclose(frequencies, 0.2, atol=4 * math.sqrt(0.16 / draws.size))


def test_intervals_hold_the_truth_as_often_as_they_say_and_are_no_wider_than_that_needs():
    random = np.random.default_rng(0)
    draws, repeats = resample(4, 30, count=1000), 300
    # So far apart that the middle half of the runs are those of the two tasks in the middle.
    levels = np.array([[0.0], [10], [20], [30]])
    intervals = np.array(
        [
            bootstrap(interquartile_mean, levels + random.normal(size=(4, 30)), draws).interval
            for _ in range(repeats)
        ]
    )
    held = np.mean((intervals[:, 0] <= 15) & (intervals[:, 1] >= 15))
    assert abs(held - 0.95) < 4 * math.sqrt(0.95 * 0.05 / repeats)
    # Without strata the tasks' levels would come in, and the width would be ten times as large.
    width = 2 * 1.96 / math.sqrt(60) * math.sqrt(29 / 30)
    np.testing.assert_allclose((intervals[:, 1] - intervals[:, 0]).mean(), width, rtol=0.05)


def test_the_same_seed_gives_the_same_interval_and_infinity_gives_no_nan():
    scores = np.random.default_rng(0).normal(size=(2, 5))
    first = bootstrap(mean, scores, resample(2, 5, seed=3))
    assert first == bootstrap(mean, scores, resample(2, 5, seed=3))
    assert first != bootstrap(mean, scores, resample(2, 5, seed=4))
    estimate = bootstrap(interquartile_mean, np.array([[1.0, 1, INF, 0, 1]]), resample(1, 5))
    assert estimate.value == 1
    assert estimate.interval == (pytest.approx(1 / 3), INF)


def test_the_probability_of_improvement_counts_pairs_within_each_task():
    random = np.random.default_rng(1)
    own, other = random.integers(0, 4, (2, 3, 6)).astype(float)  # Integers, so that there are ties.
    pairs = [
        [(x > y) + (x == y) / 2 for x, y in itertools.product(a, b)] for a, b in zip(own, other, strict=True)
    ]
    value = probability_of_improvement(own, other, resample(3, 6)).value
    np.testing.assert_allclose(value, np.mean(pairs))
    ranks = [stats.mannwhitneyu(a, b).statistic / 36 for a, b in zip(own, other, strict=True)]
    np.testing.assert_allclose(value, np.mean(ranks))
    np.testing.assert_allclose(probability_of_improvement(other, own, resample(3, 6)).value, 1 - value)


def test_the_probability_of_improvement_over_itself_is_exactly_a_half():
    scores = np.random.default_rng(2).normal(size=(7, 5))
    estimate = probability_of_improvement(scores, scores, resample(7, 5))
    assert estimate.value == 0.5
    assert estimate.interval[0] < 0.5 < estimate.interval[1]
    surely = probability_of_improvement(scores + 100, scores, resample(7, 5))
    assert (surely.value, surely.interval) == (1, (1, 1))


def test_the_interval_of_the_probability_of_improvement_holds_it_where_seeds_are_shared():
    random, repeats, held = np.random.default_rng(3), 200, 0
    draws = resample(4, 5, count=500)
    truth = stats.norm.cdf(3 / math.sqrt(2 * (2**2 + 1)))
    for _ in range(repeats):
        shared = 2 * random.normal(size=(4, 5))
        own, other = shared + random.normal(size=(2, 4, 5))
        low, high = probability_of_improvement(own + 3, other, draws).interval
        held += low <= truth <= high
    assert held / repeats > 0.95 - 4 * math.sqrt(0.95 * 0.05 / repeats)


def test_profiles_count_runs_at_or_above_and_fall_from_one_to_zero():
    random = np.random.default_rng(4)
    scores = random.integers(0, 9, (3, 4)).astype(float)
    thresholds = np.array([-INF, *np.linspace(-1, 10, 45), INF])
    profile = performance_profile(scores, thresholds, resample(3, 4))
    brute = [np.mean([score >= threshold for score in scores.ravel()]) for threshold in thresholds]
    np.testing.assert_allclose(profile.share, brute)
    for line in (profile.share, profile.low, profile.high):
        assert line[0] == 1
        assert line[-1] == 0
        assert (np.diff(line) <= 0).all()
    assert (profile.low <= profile.share).all()
    assert (profile.share <= profile.high).all()
    assert (profile.low < profile.high).any()


def test_the_bands_of_a_profile_are_percentiles_of_all_resamples():
    scores, thresholds = np.array([[0.0, 1, 2, 4]]), np.array([0.5, 2.0, 3.0])
    profile = performance_profile(scores, thresholds, every_resample(4))
    shares = np.sort(
        [(scores[0, draw[0]][:, None] >= thresholds).mean(0) for draw in every_resample(4)], axis=0
    )
    np.testing.assert_array_equal(profile.low, shares[6])
    np.testing.assert_array_equal(profile.high, shares[-7])


def test_the_expected_best_of_k_is_the_mean_over_all_choices():
    trials = np.random.default_rng(5).exponential(size=7)
    brute = [np.mean([min(chosen) for chosen in itertools.combinations(trials, k)]) for k in range(1, 8)]
    np.testing.assert_allclose(expected_best(trials), brute)
    assert expected_best(trials)[-1] == trials.min()
    np.testing.assert_allclose(expected_best([2, INF, 0.5]), [1.5, 1, 0.5])  # The worst finite one twice.
    np.testing.assert_array_equal(expected_best([INF, INF]), [INF, INF])


@pytest.mark.parametrize(
    ("loss", "matched"),
    [(1.6, 0), (1.5, 1), (1.01, 1), (1.0, 2), (0.5, 3), (0.5 * (1 + 1e-12), 3), (0.1, 3), (INF, 0), (NAN, 0)],
)
def test_the_trials_matched_are_the_most_whose_expected_best_is_no_better(loss, matched):
    assert trials_matched(loss, [2, INF, 0.5]) == matched


# --- of a benchmark --------------------------------------------------------------------------------------


def test_the_reference_against_itself_is_exactly_one_whatever_its_losses():
    losses = np.random.default_rng(6).exponential(size=(4, 5))
    losses[0, :2] = INF, NAN
    losses[1] = -losses[1]
    losses[2, 3] = 0
    speed_ups = np.ones((4, 5))
    speed_ups[0, :2] = NAN  # There is no target where the reference diverged.
    seconds = {"adam": [1e-3, 0.7, 1 / 3, 5e-5]}
    (adam,) = compare(results({"adam": losses}, {"adam": speed_ups}, sweep=(3.0, 1.0), seconds=seconds))
    assert adam.time_speed_up.tasks == 4
    for summary in (adam.speed_up, adam.time_speed_up, adam.mean_loss, adam.final_loss, adam.held_out_loss):
        assert summary.interquartile_mean.value == 1
        assert summary.interquartile_mean.interval == (1, 1)
        assert (summary.geometric_mean, summary.optimality_gap, summary.tasks) == (1, 0, 4)
    assert adam.probability_of_improvement.value == 0.5
    assert (adam.tasks_won, adam.tasks_won_final, adam.worst_task[1]) == (0, 0, 1)


def test_scores_are_ratios_in_which_larger_is_better():
    own, adam = [[1, INF, 2, INF, 0, 3, 0]], [[2, 2, 1, INF, 5, INF, 0]]
    benchmark = results({"own": own, "adam": adam})
    np.testing.assert_array_equal(loss_scores(benchmark, "own", "final_loss"), [[2, 0, 0.5, 1, INF, INF, 1]])
    negative = results({"own": [[-1, 1, -2, INF, -1]], "adam": [[1, -1, -2, -1, INF]]})
    np.testing.assert_array_equal(loss_scores(negative, "own", "mean_loss"), [[NAN, NAN, 1, 0, INF]])


def test_a_target_never_reached_is_a_speed_up_of_zero_and_no_target_one_of_one():
    speed_ups = {"own": np.array([[2, NAN, NAN]]), "adam": np.array([[1, 1, NAN]])}
    benchmark = results({"own": [[1, 1, 1]], "adam": [[1, 1, INF]]}, speed_ups)
    np.testing.assert_array_equal(speed_up_scores(benchmark, "own"), [[2, 0, 1]])
    np.testing.assert_array_equal(speed_up_scores(benchmark, "adam"), [[1, 1, 1]])


def test_a_comparison_counts_tasks_won_the_worst_one_and_what_diverged():
    own = [[1, 1], [2, 2], [5, 3], [INF, 1]]
    blown = np.array([[False, False], [False, False], [True, False], [True, False]])
    benchmark = results({"own": own, "adam": [[2, 2], [2, 2], [2, 2], [2, 2]]}, diverged={"own": blown})
    first, _ = compare(benchmark)
    assert (first.optimizer, first.tasks, first.tasks_won, first.share_won) == ("own", 4, 1, 0.25)
    assert first.worst_task == ("task-3", 0)
    assert (first.runs, first.diverged) == (8, 2)
    scores = np.array([2, 2, 1, 1, 2 / 5, 2 / 3, 0, 2])
    np.testing.assert_allclose(first.mean_loss.interquartile_mean.value, stats.trim_mean(scores, 0.25))
    # Won, tied, lost; in the last, one run of two.
    assert first.probability_of_improvement.value == (1 + 0.5 + 0 + 0.5) / 4
    assert compare(dataclasses.replace(benchmark, tasks=benchmark.tasks[:3]))[0].worst_task == ("task-2", 0.5)


def test_trials_are_matched_task_by_task_against_the_references_sweep():
    own = [[0.4, 0.6], [1.2, 1.2], [9, 9], [INF, 0.1]]
    benchmark = results({"own": own, "adam": [[0.5, 0.5]] * 4}, sweep=(2.0, INF, 0.5))
    first, adam = compare(benchmark)
    assert first.trials_matched == (3, 1, 0, 0)
    assert (first.typical_trials_matched, first.trials) == (0, 3)
    assert adam.trials_matched == (3, 3, 3, 3)
    untuned, _ = compare(results({"own": own, "adam": [[0.5, 0.5]] * 4}))
    assert (untuned.trials_matched, untuned.typical_trials_matched, untuned.trials) == ((), None, 0)


def test_a_task_with_negative_losses_is_left_out_of_the_ratios_only():
    benchmark = results({"own": [[1, 2, 3, 6], [-1, 1, 1, 1]], "adam": [[6, 6, 6, 6], [1, 1, 1, 1]]})
    first, _ = compare(benchmark)
    assert first.speed_up.tasks == 2
    assert (first.mean_loss.interquartile_mean.value, first.mean_loss.tasks) == ((2 + 3) / 2, 1)
    alone, _ = compare(dataclasses.replace(benchmark, tasks=benchmark.tasks[:1]))
    interval = alone.mean_loss.interquartile_mean.interval
    np.testing.assert_allclose(first.mean_loss.interquartile_mean.interval, interval, atol=0.5)
    lost, _ = compare(results({"own": [[-1, -1]], "adam": [[1, 2]]}))
    assert lost.mean_loss is None
    assert lost.worst_task is None
    assert lost.tasks_won == 1


def test_the_order_of_seeds_and_tasks_changes_nothing():
    random = np.random.default_rng(7)
    losses = {name: random.exponential(size=(5, 6)) for name in ("own", "adam")}
    losses["own"][2, 1] = INF
    speed_ups = {"own": np.where(random.random((5, 6)) < 0.2, NAN, random.exponential(size=(5, 6)))}
    benchmark = results(losses, speed_ups, sweep=(3.0, 1.0, 0.3))
    moved = permuted(benchmark, random.permutation(5), [random.permutation(6) for _ in range(5)])
    assert moved != benchmark
    for before, after in zip(compare(benchmark), compare(moved), strict=True):
        assert sorted(before.trials_matched) == sorted(after.trials_matched)
        for field in dataclasses.fields(before):
            a, b = getattr(before, field.name), getattr(after, field.name)
            if field.name == "trials_matched":
                continue
            if isinstance(a, Summary):
                np.testing.assert_allclose(a.geometric_mean, b.geometric_mean)
                np.testing.assert_allclose(a.optimality_gap, b.optimality_gap)
                a, b = a.interquartile_mean, b.interquartile_mean
            if dataclasses.is_dataclass(a):
                np.testing.assert_allclose(a.value, b.value)
                # Other resamples: the same law, so that the ends differ by chance only.
                np.testing.assert_allclose(a.interval, b.interval, atol=0.1)
            else:
                assert a == b or np.allclose(a[1], b[1])


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_single_seed_has_no_interval_and_a_single_task_has_one(tasks):
    single, _ = compare(results({"own": [[1]] * tasks, "adam": [[2]] * tasks}, sweep=(2.0, 4.0)))
    assert single.mean_loss.interquartile_mean.value == 2
    assert single.mean_loss.interquartile_mean.interval is None
    assert single.speed_up.interquartile_mean.interval is None
    assert single.probability_of_improvement.value == 1
    assert single.probability_of_improvement.interval is None
    more, _ = compare(results({"own": [[1, 2]] * tasks, "adam": [[2, 2]] * tasks}))
    low, high = more.mean_loss.interquartile_mean.interval
    assert low < high


def test_subjects_come_first_and_tasks_of_one_name_are_told_apart():
    benchmark = results({"adam": [[1], [1]], "own": [[1], [1]]}, horizons=(100, 400))
    benchmark = dataclasses.replace(benchmark, subjects=("own",))
    assert [one.optimizer for one in compare(benchmark)] == ["own", "adam"]
    assert task_names(benchmark) == ("task (100 steps)", "task (400 steps)")
    assert task_names(results({"adam": [[1], [1]]})) == ("task-0", "task-1")


def test_tasks_are_won_on_final_loss_apart_and_a_tie_is_not_won():
    ones = [[1, 1], [1, 1], [1, 1]]
    final = {"own": [[0.5, 1.4], [1, 1], [9, 9]], "adam": ones}
    first, _ = compare(results({"own": [[2, 2], [0.5, 0.5], [0.5, 0.5]], "adam": ones}, final=final))
    assert (first.tasks_won, first.tasks_won_final) == (2, 1)
    benchmark = results({"own": final["own"], "adam": ones})
    assert [tasks_won(benchmark, "own", "adam", "mean_loss", at) for at in ([0], [1, 2], range(3))] == [
        1,
        0,
        1,
    ]


def test_a_speed_up_in_time_is_that_in_steps_over_how_much_longer_a_step_takes():
    speed_ups = {"own": np.array([[4, NAN], [6, 3]])}
    seconds = {"own": [2e-3, 3e-4], "adam": [1e-3, 1e-4]}
    benchmark = results({"own": [[1, 1]] * 2, "adam": [[1, 1]] * 2}, speed_ups, seconds=seconds)
    np.testing.assert_allclose(time_speed_up_scores(benchmark, "own"), [[2, 0], [2, 1]])
    partly = results(
        {"own": [[1, 1]] * 2, "adam": [[1, 1]] * 2}, speed_ups, seconds=seconds | {"own": [None, 3e-4]}
    )
    assert compare(partly)[0].time_speed_up.tasks == 1
    assert compare(results({"own": [[1]], "adam": [[1]]}))[0].time_speed_up is None


def test_some_tasks_are_compared_as_if_there_were_no_others_but_keep_their_names():
    losses = {name: np.random.default_rng(8).exponential(size=(3, 4)) for name in ("own", "adam")}
    losses["own"][1] *= 2
    benchmark = results(losses, horizons=(100, 200, 400))
    (some,) = compare(benchmark, optimizers=["own"], tasks=[1])
    alone, _ = compare(dataclasses.replace(benchmark, tasks=benchmark.tasks[1:2]))
    assert some.worst_task == ("task (200 steps)", alone.worst_task[1])
    assert dataclasses.replace(some, worst_task=None) == dataclasses.replace(alone, worst_task=None)


def test_tasks_with_another_declared_horizon_are_told_apart():
    benchmark = results({"adam": [[1]] * 4}, horizons=(100, 100, 100, 400))
    declared = (1.0, 0.5, 2.0, 2.0)
    tasks = tuple(dataclasses.replace(t, declared=d) for t, d in zip(benchmark.tasks, declared, strict=True))
    names = task_names(dataclasses.replace(benchmark, tasks=tasks))
    assert names[1:3] == ("task (100 steps, declared 0.5x)", "task (100 steps, declared 2x)")
    assert task_names(dataclasses.replace(benchmark, tasks=tasks[:2])) == ("task", "task (declared 0.5x)")
    for distinct in (names, [task.stem for task in tasks]):
        assert len(set(distinct)) == 4
