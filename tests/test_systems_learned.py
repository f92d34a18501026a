"""Recurrent networks and controlled bodies as dynamics are what they say they are."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import systems

KEY = jax.random.key(0)
STILL = jnp.zeros((2, 8))


def run(dynamics, theta, steps, key=KEY):
    """The states after each step, and the losses."""

    def body(state, key):
        state, loss = dynamics.step(theta, state, key)
        return state, (state, loss)

    state = dynamics.init(theta, jnp.asarray(steps), key)
    return jax.lax.scan(body, state, jax.random.split(key, steps))[1]


# --- LSTM ------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def textbook_lstm(cell, inputs):
    """The hidden states of one sequence, unit by unit."""
    size = cell.hidden_weights.shape[1]
    hidden, memory, outputs = np.zeros(size), np.zeros(size), []
    weights = np.concatenate([cell.input_weights, cell.hidden_weights], axis=1).astype(np.float64)
    for x in inputs:
        drive = weights @ np.concatenate([x, hidden]) + np.asarray(cell.input_bias + cell.hidden_bias)
        for unit in range(size):
            admit, keep, candidate, show = (drive[unit + gate * size] for gate in range(4))
            memory[unit] = sigmoid(keep) * memory[unit] + sigmoid(admit) * math.tanh(candidate)
            hidden[unit] = sigmoid(show) * math.tanh(memory[unit])
        outputs.append(hidden.copy())
    return np.array(outputs)


def test_language_model_has_as_many_parameters_as_the_papers():
    theta = systems.LanguageModel.create(KEY)
    assert ravel_pytree(theta)[0].size == 790
    for weights in (theta.embedding, theta.decoder):
        assert 0.09 < np.abs(weights).max() <= 0.1


def test_losses_are_those_of_a_plain_lstm():
    theta = systems.LanguageModel.create(KEY, symbols=6, embedding=2, hidden=3)
    theta = jax.tree.map(lambda x: 10 * x, theta)  # Far from linear.
    text = np.random.default_rng(0).integers(0, 6, size=(2, 9))
    states, losses = run(systems.LanguageModelling(jnp.asarray(text)), theta, 8)
    expected = []
    for line in text:
        hidden = textbook_lstm(theta.cell, np.asarray(theta.embedding)[line[:-1]])
        logits = hidden @ np.asarray(theta.decoder).T + np.asarray(theta.decoder_bias)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected.append(-logs[np.arange(8), line[1:]])
    np.testing.assert_allclose(losses, np.mean(expected, axis=0), rtol=2e-5)
    assert states.memory.hidden.shape == (8, 2, 3)


def test_a_text_that_is_too_short_is_read_again():
    theta = systems.LanguageModel.create(KEY, symbols=4, embedding=2, hidden=2)
    short, period = jnp.asarray([[0, 2, 1, 3, 0]]), 4
    long = jnp.concatenate([short[:, :period]] * 3, axis=1)
    losses = run(systems.LanguageModelling(short), theta, 9)[1]
    np.testing.assert_allclose(losses, run(systems.LanguageModelling(long), theta, 9)[1], rtol=1e-6)


# --- characters ------------------------------------------------------------------------------------------


def counts(text):
    return np.bincount(np.asarray(text).ravel(), minlength=len(systems.ALPHABET))


def test_real_characters_are_english():
    text = systems.real_characters(1000)
    assert text.shape == (1, 1001)
    letters = "".join(systems.ALPHABET[i] for i in np.asarray(text)[0])
    assert letters.startswith("heap queues [explanation by francois pinard] heaps are arrays")
    assert "  " not in letters
    frequent = np.argsort(counts(text))[::-1]
    assert [systems.ALPHABET[i] for i in frequent[:2]] == [" ", "e"]
    # A character tells about the next: less entropy than two of random text have.
    assert entropy_of_pairs(text) < 7.5
    with pytest.raises(ValueError, match="characters of real text"):
        systems.real_characters(10_000)


def test_random_characters_are_uniform_and_independent():
    text = systems.random_characters(20_000, KEY)
    expected = text.size / len(systems.ALPHABET)
    chi_square = np.sum((counts(text) - expected) ** 2 / expected)
    assert 22 < chi_square < 85  # 49 degrees of freedom; 49 +- 3.6 standard deviations.
    assert entropy_of_pairs(text) > 0.98 * 2 * math.log2(50)
    assert not np.array_equal(text, systems.random_characters(20_000, jax.random.key(1)))


def test_a_repeated_character_is_repeated():
    assert np.count_nonzero(counts(systems.repeated_character(1000))) == 1
    assert systems.repeated_character(1000).shape == (1, 1001)


def entropy_of_pairs(text):
    pairs = np.asarray(text)[0, :-1] * len(systems.ALPHABET) + np.asarray(text)[0, 1:]
    shares = np.unique(pairs, return_counts=True)[1] / pairs.size
    return -np.sum(shares * np.log2(shares))


# --- copying ---------------------------------------------------------------------------------------------


def test_the_target_is_the_input_delayed():
    task, theta = systems.CopyTask(batch=3, longest=8), systems.Copyist.create(KEY, hidden=4)
    state = task.init(theta, jnp.asarray(10), KEY)
    inputs, targets, counted = [], [], []
    for _ in range(10):
        for store, value in zip((inputs, targets, counted), task.exercise(state), strict=True):
            store.append(np.asarray(value))
        state, loss = task.step(theta, state, KEY)
        assert (loss > 0) == counted[-1]
    np.testing.assert_array_equal(targets[5:], inputs[:5])
    assert counted == [False] * 5 + [True] * 5
    assert np.all(np.array(inputs[5:]) == 2)
    assert set(np.unique(inputs[:5])) == {0, 1}


def test_guessing_costs_one_bit_per_character():
    task = systems.CopyTask(batch=4, longest=8)
    theta = jax.tree.map(jnp.zeros_like, systems.Copyist.create(KEY, hidden=4))
    assert np.mean(run(task, theta, 12)[1]) == pytest.approx(1.0)


def test_sequences_are_drawn_from_the_episodes_key():
    task, theta = systems.CopyTask(batch=2, longest=16), systems.Copyist.create(KEY, hidden=4)
    bits = [np.asarray(task.init(theta, jnp.asarray(32), jax.random.key(i)).bits) for i in (0, 0, 1)]
    np.testing.assert_array_equal(bits[0], bits[1])
    assert not np.array_equal(bits[0], bits[2])


# --- swimmer ---------------------------------------------------------------------------------------------


def swim(swimmer, state, actions):
    return jax.lax.scan(lambda state, action: (swimmer.bend(state, action), None), state, actions)[0]


@pytest.fixture
def strokes():
    return jax.random.uniform(jax.random.key(3), (200, 2), minval=-1.0, maxval=1.0)


def test_swimming_is_the_same_from_everywhere_in_every_direction(strokes):
    swimmer = systems.Swimmer()
    state = swimmer.init(STILL, jnp.asarray(200), KEY)
    turned, shift = 0.7, jnp.asarray([3.0, -2.0])
    other = state._replace(position=state.position + shift, heading=state.heading + turned)
    end, other = swim(swimmer, state, strokes), swim(swimmer, other, strokes)
    rotation = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    moved = end.position - state.position
    assert np.linalg.norm(moved) > 1e-2
    np.testing.assert_allclose(other.position - state.position - shift, rotation @ moved, atol=1e-5)
    np.testing.assert_allclose(other.heading - end.heading, turned, atol=1e-5)
    np.testing.assert_allclose(other.joints, end.joints, atol=1e-6)


def test_a_swimmer_at_rest_that_does_nothing_stays_where_it_is():
    swimmer = systems.Swimmer(spread=0.0)
    states, losses = run(swimmer, STILL, 50)
    assert not np.any(losses)
    for leaf in jax.tree.leaves(states):
        assert not np.any(leaf)


def stroke(swimmer, angles):
    """Where a swimmer that lies straight is after its joints have been through the angles."""
    state = systems.Swimmer(spread=0.0).init(STILL, jnp.asarray(1), KEY)
    state = state._replace(joints=angles[0])
    return jax.lax.scan(lambda s, a: (swimmer.reshape(s, a), s), state, angles[1:])


def test_a_stroke_undone_as_it_was_done_leads_nowhere_and_a_circle_of_shapes_leads_somewhere():
    """The scallop theorem (Purcell 1977)."""
    swimmer, phase = systems.Swimmer(), jnp.linspace(0, 2 * jnp.pi, 101)
    there_and_back = 1 - jnp.abs(phase / jnp.pi - 1)  # Up and down by the same angles.
    for one_way in ([1.3, 0.0], [1.3, -0.8]):  # One joint; both at once.
        end, before = stroke(swimmer, there_and_back[:, None] * jnp.asarray([one_way]))
        np.testing.assert_allclose(end.position, 0, atol=2e-6)
        np.testing.assert_allclose(end.heading, 0, atol=2e-6)
        assert np.abs(before.position).max() > 0.02  # It did move meanwhile.
    circle = jnp.stack([jnp.cos(phase), jnp.sin(phase)], axis=1)
    forth, back = (stroke(swimmer, angles)[0] for angles in (circle, circle[::-1]))
    assert np.linalg.norm(forth.position) > 0.05
    assert float(forth.heading) == pytest.approx(-float(back.heading), abs=1e-5)


def test_where_drag_is_the_same_in_all_directions_the_centre_of_drag_stays():
    """A body of rods that no direction is easier for can't swim: its mean point stays."""
    swimmer, phase = systems.Swimmer(drag_ratio=1.0), jnp.linspace(0, 2 * jnp.pi, 101)
    _, states = stroke(swimmer, jnp.stack([jnp.cos(phase), jnp.sin(phase)], axis=1))
    middle = np.stack([np.cos(states.heading), np.sin(states.heading)], axis=1)
    front, back = (
        np.stack([np.cos(angle), np.sin(angle)], axis=1)
        for angle in (states.heading + states.joints[:, 0], states.heading + states.joints[:, 1])
    )
    # Centres of the links are at 0, at (middle + front) / 2, and at -(middle + back) / 2.
    centre = np.asarray(states.position) + (front - back) / 6
    np.testing.assert_allclose(centre, centre[:1] + 0 * middle, atol=2e-3)
    assert np.ptp(np.asarray(states.position), axis=0).max() > 0.1


def test_joints_are_held_near_their_limits():
    swimmer = systems.Swimmer()
    state = swimmer.init(STILL, jnp.asarray(1), KEY)
    end = swim(swimmer, state, jnp.ones((300, 2)))
    held = swimmer.limit + swimmer.gear / swimmer.stiffness
    np.testing.assert_allclose(end.joints, held, rtol=1e-3)


# --- cart-pole -------------------------------------------------------------------------------------------


def test_energy_stays_without_friction_and_force():
    system = systems.CartPole(friction=0.0, spread=0.5)
    states, _ = run(system, jnp.zeros(6), 500)
    energy = np.asarray(jax.vmap(system.energy)(states))
    np.testing.assert_allclose(energy, energy[0], atol=1e-4)
    assert np.ptp(np.cos(states.angle)) > 0.1
    rubbed = np.asarray(jax.vmap(system.energy)(run(system.replace(friction=1.0), jnp.zeros(6), 500)[0]))
    assert rubbed[-1] < rubbed[0] - 0.05


def test_force_does_work():
    system = systems.CartPole(friction=0.0)
    state = system.init(jnp.zeros(6), jnp.asarray(1), KEY)
    force = jnp.asarray(3.0)
    for _ in range(20):
        moved = system.push(state, force)
        work = force * (moved.position - state.position)
        assert float(system.energy(moved) - system.energy(state)) == pytest.approx(float(work), abs=2e-5)
        state = moved


def test_upright_at_the_centre_costs_nothing_and_hanging_costs_one():
    system = systems.CartPole(spread=0.0)
    hanging = system.init(jnp.zeros(6), jnp.asarray(1), KEY)
    assert float(system.step(jnp.zeros(6), hanging, KEY)[1]) == pytest.approx(1.0)
    upright = hanging._replace(angle=jnp.zeros(()))
    assert float(system.step(jnp.zeros(6), upright, KEY)[1]) == pytest.approx(0.0, abs=1e-6)


# --- MuJoCo ----------------------------------------------------------------------------------------------

HAS_MUJOCO = all(importlib.util.find_spec(name) for name in ("gymnasium", "mujoco"))


@pytest.mark.skipif(HAS_MUJOCO, reason="MuJoCo is installed")
def test_without_mujoco_the_error_says_what_to_install():
    with pytest.raises(systems.GymnasiumUnavailableError, match=r"pip install 'gymnasium\[mujoco\]'"):
        systems.GymnasiumSwimmer().init(STILL, jnp.asarray(1000), KEY)


@pytest.mark.skipif(not HAS_MUJOCO, reason="needs gymnasium[mujoco]")
def test_mujocos_swimmer_gives_the_rewards_that_gymnasium_gives():
    import gymnasium

    system, steps = systems.GymnasiumSwimmer(), 20  # Later, rounding to float32 shows.
    thetas = jax.random.normal(KEY, (3, 2, 8))
    losses = jax.jit(jax.vmap(lambda theta: run(system, theta, steps)[1]))(thetas)
    start = system.init(STILL, jnp.asarray(steps), KEY)
    for theta, mine in zip(np.asarray(thetas), losses, strict=True):
        environment = gymnasium.make("Swimmer-v5").unwrapped
        environment.reset(seed=0)
        environment.set_state(*(np.asarray(x, np.float64) for x in start))
        for loss in mine:
            observation = np.concatenate([environment.data.qpos[2:], environment.data.qvel])
            _, reward, *_ = environment.step(np.clip(theta @ observation, -1, 1))
            np.testing.assert_allclose(-loss, reward, atol=2e-3)
