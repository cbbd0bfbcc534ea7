"""Model files that are damaged, edited or odd: refused by name, at once, and never misread."""

import dataclasses
import hashlib
import json
import random
import re
import struct
import subprocess
import sys
import time
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import lrpot
from lrpot import InputError, load, save
from lrpot.descriptors import default_acsf


def build(recipe="hdnnp_4g", **settings):
    descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    settings = dict(descriptor=descriptor, hidden=(15,), key=jax.random.key(2)) | settings
    return lrpot.MODELS[recipe](("H", "O"), **settings)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a good file, with all parts that there are."""
    path = tmp_path_factory.mktemp("models") / "good"
    save(path, build(message_layers=1, charge_message_layers=1, charge_shells=2))
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.lrpot"


class Parts:
    """A file taken apart: its metadata, the description of the potential and the arrays."""

    def __init__(self, content):
        (length,) = struct.unpack("<Q", content[:8])
        self.metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        self.tree = json.loads(self.metadata["potential"])
        self.arrays = safetensors.numpy.load(content)

    def content(self, *, checksum=True):
        """The file put together by the library of the format, and sealed by hand."""
        metadata = self.metadata | {"potential": json.dumps(self.tree), "checksum": 64 * "0"}
        if not checksum:
            del metadata["checksum"]
        content = safetensors.numpy.save(self.arrays, metadata=metadata)
        return content.replace(64 * b"0", hashlib.sha256(content).hexdigest().encode())

    def at(self, *names):
        """A part of the description."""
        node = self.tree
        for name in names:
            kind = next(iter(node.keys() & {"fields", "dict", "tuple"}))
            node = node[kind][name]
        return node

    def put(self, name, array):
        """Another array under a name, and its shape in the description."""
        self.arrays[name] = array
        names = [int(one) if one.isdigit() else one for one in name.split(".")]
        self.at(*names)["array"] = [list(array.shape), str(array.dtype)]


def test_the_parts_put_together_again_are_the_potential(content, path):
    for checksum in (True, False):  # without one: as in files of earlier versions
        path.write_bytes(Parts(content).content(checksum=checksum))
        loaded = load(path)
        save(path, loaded)
        assert path.read_bytes() == content


def test_any_flipped_bit_is_refused(content, path):
    choose = random.Random(0)
    (length,) = struct.unpack("<Q", content[:8])
    places = [choose.randrange(8 * (8 + length)) for _ in range(25)]
    places += [choose.randrange(8 * len(content)) for _ in range(15)]
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            load(path)


def test_the_same_potential_gives_the_same_bytes(path):
    potential = build()
    backwards = dict(reversed(potential.terms.items()))
    contents = []
    for one in (potential, potential, dataclasses.replace(potential, terms=backwards)):
        save(path, one)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(content):
    told = Parts(content).metadata["checksum"]
    assert hashlib.sha256(content.replace(told.encode(), 64 * b"0")).hexdigest() == told


def test_a_file_is_one_of_safetensors_with_the_arrays_of_the_potential(content, path):
    path.write_bytes(content)
    arrays = safetensors.numpy.load(content)
    potential = load(path)
    np.testing.assert_array_equal(
        arrays["terms.short_range.networks.weights.0"],
        potential.terms["short_range"].networks.weights[0],
    )
    assert len(arrays) == len(jax.tree.leaves(potential))


def sparse(path, header, size):
    """A file of any size that takes no room: all behind its header is a hole."""
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(size)
    return 8 + len(text)


@pytest.mark.parametrize("kind", ["other", "spare array", "wide network", "long header"])
def test_a_huge_file_is_refused_before_it_is_read(kind, content, path):
    size = 8 << 30
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if kind == "other":
        header["__metadata__"] = {"format": "pt"}
    if kind == "long header":
        path.write_bytes(struct.pack("<Q", size - 8))
        with path.open("rb+") as file:
            file.truncate(size)
    else:
        end = max(one["data_offsets"][1] for key, one in header.items() if key != "__metadata__")
        name = "spare"
        if kind == "wide network":
            name = max(
                (key for key in header if key != "__metadata__"),
                key=lambda one: header[one]["data_offsets"],
            )
            end = header[name]["data_offsets"][0]
        for _ in range(2):  # the length of the header is known once it is written
            count = (size - sparse(path, header, size) - end) // 8
            header[name] = {
                "dtype": "F64",
                "shape": [count],
                "data_offsets": [end, end + 8 * count],
            }
        sparse(path, header, size=8 + len(json.dumps(header)) + end + 8 * count)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(InputError, match="damaged"):
        load(path)
    taken, memory = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory < 5e6  # bytes
    assert taken < 5  # s: eight gigabytes take longer to read


WRONG_SHAPES = {
    "terms.short_range.networks.biases.0": (2, 15, 1),
    "terms.short_range.networks.biases.1": (2, 15),
    "terms.short_range.networks.weights.0": (2, 14, 15),
    "terms.short_range.networks.weights.1": (2, 1, 1),
    "charge_model.networks.weights.0": (1, 10, 15),
    "charge_model.networks.biases.0": (1, 15),
    "charge_model.networks.biases.1": (2, 3),
    "charge_model.hardness_root": (1,),
    "charge_model.radii": (3,),
    "descriptor.scaling.factor": (2, 1),
    "descriptor.scaling.offset": (1, 10),
    "terms.short_range.charge_scaling.offset": (2, 1),
    "terms.short_range.scale": (1,),
    "terms.offsets.energies": (1,),
    "terms.messages.exchange.radial.1": (1, 3, 8),
    "terms.messages.exchange.gates.0": (32, 1),
    "terms.messages.exchange.mixed.0.1": (3, 8, 1),
    "terms.messages.readout.weights.0": (2, 1, 1),
    "charge_model.exchange.identity.biases.0": (2, 1),
}


def test_arrays_of_one_element_too_many_are_refused(content, path):
    parts = Parts(content)
    parts.tree["fields"]["elements"] = {"tuple": [1, 6, 8]}
    path.write_bytes(parts.content())
    with pytest.raises(InputError, match=r"elements` lacks \[6\] of the potential"):
        load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["charge_model.networks.weights.0", "descriptor.scaling.factor"])
def test_numbers_that_are_not_finite_are_named(name, value, content, path):
    parts = Parts(content)
    array = parts.arrays[name].copy()
    array.flat[3] = value
    parts.put(name, array)
    path.write_bytes(parts.content())
    with pytest.raises(InputError, match=f"`{name}` holds numbers that are not finite"):
        load(path)


def test_a_range_may_be_open_but_not_unknown(content, path):
    parts = Parts(content)
    assert np.isinf(parts.arrays["descriptor.scaling.maximum"]).all()
    parts.put("descriptor.scaling.maximum", np.full((2, 10), np.nan))
    path.write_bytes(parts.content())
    with pytest.raises(InputError, match=r"`descriptor\.scaling\.maximum` holds numbers"):
        load(path)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F4", "I64", "BOOL", "X"])
def test_other_numbers_than_floating_point_are_refused(dtype, content, path):
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["charge_model.radii"]["dtype"] = dtype
    if dtype == "BOOL":  # as many bytes
        header["charge_model.radii"]["shape"] = [16]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    with pytest.raises(InputError, match=f"`charge_model.radii` is of type {dtype}"):
        load(path)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16])
def test_such_numbers_are_not_stored(dtype, path):
    potential = build("hdnnp_2g")
    odd = jax.tree.map(lambda leaf: leaf.astype(dtype), potential)
    with pytest.raises(InputError, match=r"is of type (int32|bfloat16) and cannot be stored"):
        save(path, odd)
    assert not path.exists()


SHELLS = ("descriptor", "parts", 0, "shells")
WRONG_SETTINGS = {
    "an eta that is a text": (SHELLS, "shells", {"tuple": [{"tuple": ["3.7", 0.8]}]}),
    "an eta that is a list": (SHELLS, "shells", [[3.7, 0.8]]),
    "a shell of three numbers": (SHELLS, "shells", {"tuple": [{"tuple": [3.7, 0.8, 1.0]}]}),
    "a negative eta": (SHELLS, "shells", {"tuple": [{"tuple": [-3.7, 0.8]}]}),
    "no shells": (SHELLS, "shells", {"tuple": []}),
    "a negative cutoff": (SHELLS, "cutoff", -3.0),
    "a cutoff that is true": (SHELLS, "cutoff", True),
    "a cutoff of a text": (SHELLS, "cutoff", "3.0"),
    "an endless cutoff": (SHELLS, "cutoff", 1e999),
    "a cutoff of many digits": (SHELLS, "cutoff", 10**400),
    "an unknown cutoff function": (SHELLS, "function", "cosine"),
    "a function that is a number": (SHELLS, "function", 3),
    "narrow by a text": (("descriptor", "parts", 1), "narrow", "false"),
    "elements of text": ((), "elements", {"tuple": ["H", "O"]}),
    "elements beyond the table": ((), "elements", {"tuple": [1, 400]}),
    "an element twice": ((), "elements", {"tuple": [1, 1]}),
    "element 0": (("descriptor", "parts", 0, "channels"), "elements", {"tuple": [0, 8]}),
    "an accuracy that is not finite": (("charge_model", "coulomb"), "accuracy", float("nan")),
    "an unknown method": (("charge_model", "coulomb"), "method", "magic"),
    "iterations by half": (("charge_model",), "max_iterations", 0.5),
    "an unknown activation": (
        ("charge_model", "networks"),
        "activations",
        {"tuple": ["silly", "linear"]},
    ),
    "activations for another depth": (
        ("charge_model", "networks"),
        "activations",
        {"tuple": ["linear"]},
    ),
    "activations for other elements": (
        ("charge_model", "networks"),
        "activations",
        {"tuple": [{"tuple": ["silu"]}, "linear"]},
    ),
    "columns beyond": (("descriptor",), "columns", {"tuple": [{"tuple": [99] * 10}] * 2}),
    "no descriptor": ((), "descriptor", None),
    "a descriptor that is a charge model": ((), "descriptor", "charge_model"),
    "a screening that is inside out": (("terms", "coulomb", "screening"), "inner", 9.0),
    "a reach of messages of nothing": (("terms", "messages", "exchange"), "cutoff", 0.0),
}


LOAD = """
import json, pathlib, sys
import lrpot
messages = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        lrpot.load(path)
    except lrpot.InputError as error:
        messages[path.name] = str(error)
print(json.dumps(messages))
"""


@pytest.fixture(scope="module")
def messages(content, tmp_path_factory):
    """Why files are refused where calls are not checked by jaxtyping, as they are in tests."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "good").write_bytes(content)
    for name, shape in WRONG_SHAPES.items():
        parts = Parts(content)
        assert name in parts.arrays
        parts.put(name, np.full(shape, 0.5))
        (folder / name).write_bytes(parts.content())
    for case, (where, name, value) in WRONG_SETTINGS.items():
        parts = Parts(content)
        node = parts.at(*where)["fields"]
        assert name in node
        node[name] = parts.tree["fields"]["charge_model"] if value == "charge_model" else value
        (folder / case).write_bytes(parts.content(checksum=len(case) % 2 == 0))
    command = [sys.executable, "-W", "error", "-c", LOAD, str(folder)]  # in single precision
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_file_that_is_right_is_not_refused(messages):
    assert "good" not in messages


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_arrays_that_do_not_fit_are_named(name, messages):
    parent = re.sub(r"(\.(weights|biases))?(\.\d+)*$", "", name)
    assert re.search(f"damaged, or it has been edited: `{re.escape(parent)}.*shape", messages[name])


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_settings_of_a_wrong_type_or_size_are_refused(case, messages):
    assert "is damaged" in messages[case]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b'"checksum"', b'"chexksum"'), "its metadata are chexksum"),
        (lambda text: text.replace(b'"potential":"', b'"format":"lrpot","potential":"'), "twice"),
        (lambda text: text.replace(b'"F64","shape":[]', b'"F64","shape":[3]'), "asks for 24"),
        (lambda text: text.replace(b'"F64","shape":[]', b'"F64","shape":[-1]'), "not described"),
        (lambda text: text.replace(b'"F64","shape":[]', b'"F64","shape":{}'), "not described"),
        (lambda text: text.replace(b'"F64","shape":[]', b'"F64","shape":[true]'), "not described"),
        (lambda text: text.replace(b'"data_offsets":[0,', b'"data_offsets":[8,'), "bytes|begin"),
        (lambda _: b"[]", "its header is no table"),
        (lambda _: b"[" * 100_000, "nested too deeply|no JSON"),
        (lambda text: text.replace(b'"format"', b'"fo\xffmat"'), "no JSON"),
        (lambda _: b'{"__metadata__": 3}', "metadata are no texts"),
    ],
)
def test_odd_headers_are_refused(change, message, content, path):
    (length,) = struct.unpack("<Q", content[:8])
    text = change(content[8 : 8 + length])
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    with pytest.raises(InputError, match=message):
        load(path)


@pytest.mark.parametrize(
    "odd",
    [{"tuple": ""}, {"tuple": {}}, {"tuple": [], "fields": {}}, {"tuple": [], "dict": {}}, {}],
)
def test_lists_that_are_none_are_refused(odd, content, path):
    """An empty text or table counted as an empty list: nothing was frozen any more."""
    parts = Parts(content)
    parts.tree["fields"]["terms"]["dict"]["offsets"]["fields"]["frozen"] = odd
    path.write_bytes(parts.content())
    with pytest.raises(InputError, match="does not hold together"):
        load(path)


def test_two_potentials_of_different_kinds_are_no_committee(content, path):
    parts = Parts(content)
    parts.tree = {"class": "Committee", "fields": {"members": {"tuple": []}, "factors": {}}}
    path.write_bytes(parts.content())
    with pytest.raises(InputError, match="damaged"):
        load(path)


def test_factors_of_a_committee_have_names_and_no_shape(path):
    potential = build("hdnnp_2g")
    committee = lrpot.Committee([potential, potential])
    save(path, committee)
    good = path.read_bytes()
    assert len(load(path).members) == 2
    parts = Parts(good)
    parts.put("factors.energy", np.ones(2))
    path.write_bytes(parts.content())
    with pytest.raises(InputError, match=r"`factors` of `Committee` is .*'energy': f64\[2\]"):
        load(path)
