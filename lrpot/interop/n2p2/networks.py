"""Weight files: per-element networks of any shape, stacked, and back."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.interop.n2p2.settings import Line, Settings, parse_float, read_lines
from lrpot.networks import ElementNetworks

ACTIVATION_LETTERS = {
    "l": "linear",
    "t": "tanh",
    "s": "sigmoid",
    "p": "softplus",
    "r": "relu",
    "g": "gauss",
    "c": "cos",
    "S": "one_minus_sigmoid",
    "e": "exp_minus",
    "h": "square",
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """Hidden sizes of one network and the activations of all its layers."""

    hidden: tuple[int, ...]
    activations: tuple[str, ...]


def read_shapes(settings: Settings, elements: Sequence[int], network: str) -> dict[int, Shape]:
    """Shape of the network of each element; `network` is `short` or `electrostatic`."""
    depth = settings.one(f"global_hidden_layers_{network}").at_most(1).integer_at(0)
    nodes_line = settings.one(f"global_nodes_{network}")
    letters_line = settings.one(f"global_activation_{network}")
    depths = dict.fromkeys(elements, depth)
    for line in settings.all(f"element_hidden_layers_{network}"):
        depths[_member(line, elements)] = line.at_most(2).integer_at(1)
    nodes = {element: _integers(nodes_line, 0) for element in elements}
    letters = {element: _letters(letters_line, 0) for element in elements}
    for line in settings.all(f"element_nodes_{network}"):
        nodes[_member(line, elements)] = _integers(line, 1)
    for line in settings.all(f"element_activation_{network}"):
        letters[_member(line, elements)] = _letters(line, 1)
    shapes = {}
    for element in elements:
        count, hidden, names = depths[element], nodes[element], letters[element]
        if count < 1:
            nodes_line.fail(
                f"{SYMBOLS[element]} has {count} hidden layers; at least one is needed."
            )
        if len(hidden) != count or len(names) != count + 1:
            nodes_line.fail(
                f"{SYMBOLS[element]} has {count} hidden layers, but {len(hidden)} numbers of nodes "
                f"and {len(names)} activations (one for each layer and one for the output)."
            )
        if min(hidden) < 1:
            nodes_line.fail(f"{SYMBOLS[element]} has a hidden layer without nodes.")
        shapes[element] = Shape(hidden, names)
    _check_overrides(settings, network)
    return shapes


def _check_overrides(settings: Settings, network: str) -> None:
    """n2p2 ignores the last number of an override; refuse files that mean something else by it."""
    for line in settings.all(f"element_nodes_{network}"):
        overall = _integers(settings.one(f"global_nodes_{network}"), 0)
        if line.integer_at(len(line.arguments) - 1) != overall[-1]:
            line.fail(
                "n2p2 takes the size of the last hidden layer from "
                f"`global_nodes_{network}` ({overall[-1]}), whatever stands here. Give the same "
                "number in both places."
            )
    for line in settings.all(f"element_activation_{network}"):
        overall = settings.one(f"global_activation_{network}").arguments
        if line.arguments[-1] != overall[-1]:
            line.fail(
                "n2p2 takes the activation of the output from "
                f"`global_activation_{network}` ({overall[-1]}), whatever stands here. Give the "
                "same letter in both places."
            )


def read_networks(
    folder: Path,
    prefix: str,
    shapes: dict[int, Shape],
    n_inputs: dict[int, int],
    *,
    width: int,
    extra: bool = False,
    divide: bool = False,
) -> ElementNetworks:
    """Networks of all elements from `PREFIX.ZZZ.data`.

    Args:
        folder: Where the files are.
        prefix: `weights` or `weightse`.
        shapes: By element.
        n_inputs: Number of symmetry functions by element.
        width: Number of features of the descriptor; networks with fewer get weights of 0.
        extra: Whether there is one more input, the charge, behind all features.
        divide: `normalize_nodes`: the sums of each layer are divided by its number of inputs.
    """
    depth = max(len(shape.hidden) for shape in shapes.values()) + 1
    stacks: list[tuple[list[np.ndarray], list[np.ndarray], tuple[str, ...]]] = []
    for element, shape in shapes.items():
        sizes = (n_inputs[element] + extra, *shape.hidden, 1)
        weights, biases = _read_one(folder / f"{prefix}.{element:03d}.data", sizes)
        if divide:
            for layer, size in enumerate(sizes[:-1]):
                weights[layer], biases[layer] = weights[layer] / size, biases[layer] / size
        first = np.zeros((width + extra, sizes[1]))
        first[: n_inputs[element]] = weights[0][: n_inputs[element]]
        if extra:
            first[-1] = weights[0][-1]
        weights[0] = first
        idle = depth - len(weights)
        weights += [np.ones((1, 1))] * idle
        biases += [np.zeros(1)] * idle
        stacks.append((weights, biases, shape.activations + ("linear",) * idle))
    return ElementNetworks(
        tuple(shapes),
        tuple(jnp.asarray(_stack([one[0][layer] for one in stacks])) for layer in range(depth)),
        tuple(jnp.asarray(_stack([one[1][layer] for one in stacks])) for layer in range(depth)),
        tuple(_common(tuple(one[2][layer] for one in stacks)) for layer in range(depth)),
    )


def network_of(
    networks: ElementNetworks, element: int
) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """Weights, biases and activation letters of one element, without idle nodes and layers."""
    row = networks.elements.index(element)
    weights = [np.array(one[row], float) for one in networks.weights]
    biases = [np.array(one[row], float) for one in networks.biases]
    names = [one if isinstance(one, str) else one[row] for one in networks.activations]
    n_outputs = networks.biases[-1].shape[-1]
    while len(weights) > 2 and _is_idle(weights[-1], biases[-1], names[-1]):
        weights, biases, names = weights[:-1], biases[:-1], names[:-1]
    weights[-1], biases[-1] = weights[-1][:, :n_outputs], biases[-1][:n_outputs]
    for layer in range(len(weights) - 1):
        dead = (
            (weights[layer] == 0).all(axis=0)
            & (biases[layer] == 0)
            & (weights[layer + 1] == 0).all(axis=1)
        )
        if dead.all():
            dead[0] = False
        weights[layer], biases[layer] = weights[layer][:, ~dead], biases[layer][~dead]
        weights[layer + 1] = weights[layer + 1][~dead]
    return weights, biases, names


def write_network(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> str:
    """Content of one weight file."""
    numbers = np.concatenate(
        [
            np.concatenate([weight.ravel(), bias])
            for weight, bias in zip(weights, biases, strict=True)
        ]
    )
    return "".join(f"{number:24.16E}\n" for number in numbers)


def _read_one(path: Path, sizes: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    numbers = []
    for count, text in read_lines(path):
        words = text.split("#")[0].split()
        if words:
            numbers.append(parse_float(words[0], Line(path, count, ())))
    needed = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    if len(numbers) != needed:
        raise InputError(
            f"{path} holds {len(numbers)} numbers, but a network of {'-'.join(map(str, sizes))} "
            f"nodes has {needed}. The sizes follow from the symmetry functions and "
            "`global_nodes_…` of input.nn."
        )
    weights, biases, start = [], [], 0
    for fan_in, fan_out in itertools.pairwise(sizes):
        block = np.array(numbers[start : start + (fan_in + 1) * fan_out])
        weights.append(block[: fan_in * fan_out].reshape(fan_in, fan_out))
        biases.append(block[fan_in * fan_out :])
        start += len(block)
    return weights, biases


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of different shape in one, filled up with 0."""
    shape = np.max([array.shape for array in arrays], axis=0)
    return np.stack([np.pad(one, [(0, n) for n in shape - one.shape]) for one in arrays])


def _is_idle(weights: np.ndarray, biases: np.ndarray, name: str) -> bool:
    first = np.zeros_like(weights)
    first[0, 0] = 1.0
    return name == "linear" and np.array_equal(weights, first) and not biases.any()


def _common(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(set(names)) == 1 else names


def _member(line: Line, elements: Sequence[int]) -> int:
    element = line.element_at(0)
    if element not in elements:
        line.fail(f"{SYMBOLS[element]} is not among the elements of the potential.")
    return element


def _integers(line: Line, start: int) -> tuple[int, ...]:
    return tuple(line.integer_at(position) for position in range(start, len(line.arguments)))


def _letters(line: Line, start: int) -> tuple[str, ...]:
    for letter in line.arguments[start:]:
        if letter not in ACTIVATION_LETTERS:
            line.fail(f"unknown activation {letter!r}; known are {', '.join(ACTIVATION_LETTERS)}.")
    return tuple(ACTIVATION_LETTERS[letter] for letter in line.arguments[start:])
