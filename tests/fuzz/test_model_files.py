"""Model files with damaged bytes, and edited ones whose checksum is right again."""

import hashlib
import json
import os
import struct

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lrpot
from lrpot import InputError
from lrpot.descriptors import default_acsf

EXAMPLES = int(os.environ.get("LRPOT_FUZZ", "50"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="LRPOT_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
)

ODD = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**400, 0.5, -2.5, 1e308, 1e-300, float("nan"),
    float("inf"), float("-inf"), "", "1", "cos", "x" * 1000, "Å\0", [], [1, 8], {}, {"tuple": []},
    {"tuple": [1]}, {"dict": {}}, {"array": [[2], "float64"]}, {"array": []},
    {"class": "Potential"}, {"class": "os.system", "fields": {}}, {"class": [], "fields": {}},
    {"fields": {}},
]  # fmt: skip


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a good file."""
    descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    potential = lrpot.hdnnp_4g(
        ("H", "O"), descriptor=descriptor, hidden=(3,), charge_shells=2, key=jax.random.key(0)
    )
    path = tmp_path_factory.mktemp("models") / "good"
    lrpot.save(path, potential)
    return path.read_bytes()


def taken_apart(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def sealed(header, data):
    """A file with the right checksum, if its metadata still have one."""
    told = header.get("__metadata__")
    seal = isinstance(told, dict) and isinstance(told.get("checksum"), str)
    if seal:
        told["checksum"] = 64 * "0"
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + data
    if not seal:
        return content
    return content.replace(64 * b"0", hashlib.sha256(content).hexdigest().encode(), 1)


@st.composite
def damage(draw, content):
    """Bytes flipped, cut out, put in or doubled."""
    place, length = draw(st.integers(0, len(content) - 1)), draw(st.integers(1, 40))
    if draw(st.booleans()):  # half of it in the header
        place %= 8 + struct.unpack("<Q", content[:8])[0]
    kind = draw(st.sampled_from(["flip", "cut", "put", "double", "end"]))
    before, after = content[:place], content[place:]
    if kind == "flip":
        return before + bytes([after[0] ^ draw(st.integers(1, 255))]) + after[1:]
    if kind == "cut":
        return before + after[length:]
    if kind == "put":
        return before + draw(st.binary(min_size=1, max_size=20)) + after
    return before + after[:length] + after if kind == "double" else before


@fuzz
@given(data=st.data())
def test_damaged_bytes_are_always_noticed(data, content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged"
    damaged = data.draw(damage(content))
    path.write_bytes(damaged)
    if damaged == content:
        lrpot.load(path)
        return
    with pytest.raises(InputError):
        lrpot.load(path)


def places(node, found=()):
    """All places in a tree of tables and lists."""
    yield found
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        if isinstance(value, dict | list):
            yield from places(value, (*found, key))
        else:
            yield (*found, key)


def changed(draw, tree):
    """The tree with one part replaced, doubled, renamed or taken away."""
    place = draw(st.sampled_from(list(places(tree))[1:]))
    node = tree
    for key in place[:-1]:
        node = node[key]
    key = place[-1]
    kind = draw(st.sampled_from(["odd", "odd", "number", "number", "delete", "rename", "list"]))
    if kind == "delete":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        node[draw(st.sampled_from([f"{key}x", "class", "fields", "", "0"]))] = node.pop(key)
    elif kind == "list":
        node[key] = [node[key]] * draw(st.integers(0, 3))
    elif kind == "number" and isinstance(node[key], int | float):
        node[key] = draw(st.one_of(st.integers(-2, 100), st.floats(-1e3, 1e3)))
    else:
        node[key] = draw(st.sampled_from(ODD))
    return tree


def equal(one, other):
    """Whether two descriptions say the same; 1 and 1.0 do."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def of_today(potential):
    """A description with what the first model files did not say: no exchange, a frozen scale."""
    model = potential["fields"]["charge_model"]["fields"]
    model.setdefault("exchange", None)
    names = model["frozen"]["tuple"]
    model["frozen"]["tuple"] = [*(name for name in names if name != "scale"), "scale"]
    return potential


@fuzz
@given(data=st.data())
def test_what_an_edited_file_says_is_loaded_or_refused(data, content, tmp_path_factory):
    header, numbers = taken_apart(content)
    if data.draw(st.integers(0, 3)):
        tree = changed(data.draw, json.loads(header["__metadata__"]["potential"]))
        header["__metadata__"]["potential"] = json.dumps(tree)
    else:
        header = changed(data.draw, header)
    path = tmp_path_factory.getbasetemp() / "edited"
    path.write_bytes(sealed(header, numbers))
    try:
        potential = lrpot.load(path)
    except InputError:
        return
    # It is what the file says, to the last setting and number.
    again = path.with_name("again")
    lrpot.save(again, potential)
    found, same = taken_apart(again.read_bytes())
    told = json.loads(header["__metadata__"]["potential"])
    assert equal(json.loads(found["__metadata__"]["potential"]), of_today(told))
    assert len(same) == len(numbers)
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(potential))
