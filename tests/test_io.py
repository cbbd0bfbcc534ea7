import functools
import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import lrpot
from lrpot import InputError, System, load, save
from lrpot.descriptors import default_acsf

ICE = System(
    [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]],
    [8, 1, 1],
    cell=[[3.0, 0, 0], [0.5, 3.2, 0], [0.1, -0.4, 2.9]],
    total_charge=1.0,
)
VARIANTS = {
    "hdnnp_2g, weighted and narrow": (
        lrpot.hdnnp_2g,
        dict(descriptor=default_acsf(("H", "O"), cutoff=3.0, weighted=True, narrow=True)),
    ),
    "hdnnp_3g, weighted": (
        lrpot.hdnnp_3g,
        dict(neutralisation="weighted", widths="covalent", screening=(0.5, 2.0), activation="silu"),
    ),
}
RECIPES = {name: (recipe, {}) for name, recipe in lrpot.MODELS.items()} | VARIANTS


def build(name):
    recipe, options = RECIPES[name]
    options = dict(cutoff=3.0, hidden=(4, 3), key=jax.random.key(2)) | options
    potential = recipe(("H", "O"), **options)
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape), potential)


@pytest.fixture(scope="module", params=RECIPES)
def potential(request):
    return build(request.param)


@pytest.fixture(scope="module")
def small():
    return build("hdnnp_4g")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def content(small, tmp_path_factory):
    """The bytes of a good file."""
    path = tmp_path_factory.mktemp("models") / "good"
    save(path, small)
    return path.read_bytes()


def header_of(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, data, *, sealed=True):
    """A file with a header; sealed is what somebody does who knows the format."""
    header = json.loads(json.dumps(header))
    metadata = header.get("__metadata__", {})
    if not sealed or "checksum" not in metadata:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data
    metadata["checksum"] = 64 * "0"
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + data
    return content.replace(64 * b"0", hashlib.sha256(content).hexdigest().encode())


def without_checksum(content):
    """The file as lrpot wrote it before there were checksums."""
    header, data = header_of(content)
    del header["__metadata__"]["checksum"]
    return with_header(header, data)


def with_potential(content, change):
    """The file with a changed description of the potential."""
    header, data = header_of(content)
    tree = json.loads(header["__metadata__"]["potential"])
    change(tree)
    header["__metadata__"]["potential"] = json.dumps(tree)
    return with_header(header, data)


def assert_identical(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_potential_comes_back_bit_for_bit(potential, path):
    save(path, potential)
    loaded = load(path)
    assert_identical(loaded, potential)
    assert loaded.recipe == potential.recipe
    assert loaded.cutoff == potential.cutoff
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))


def test_a_loaded_potential_predicts_the_same_to_the_last_bit(path):
    energies = functools.partial(lrpot.evaluate, forces=False, stress=False)
    evaluate = jax.jit(energies)
    for name in lrpot.MODELS:
        potential = build(name)
        save(path, potential)
        neighbors = potential.neighbors(ICE)
        assert_identical(evaluate(load(path), ICE, neighbors), evaluate(potential, ICE, neighbors))
        assert evaluate._cache_size() == 1 + list(lrpot.MODELS).index(name)  # no new compilation


def test_float32_stays_float32(small, path):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), small)
    save(path, single)
    assert_identical(load(path), single)


def test_infinite_and_missing_statistics_survive(path):
    potential = lrpot.hdnnp_3g(("H",), key=jax.random.key(0), hidden=(3,))
    save(path, potential)
    loaded = load(path)
    assert_identical(loaded, potential)
    assert jnp.isinf(loaded.descriptor.scaling.maximum).all()
    assert loaded.charge_model.radii is None


def test_folders_are_made_and_an_existing_file_is_replaced(small, tmp_path):
    path = tmp_path / "new" / "folder" / "model"
    save(str(path), build("hdnnp_2g"))
    save(path, small)
    assert_identical(load(str(path)), small)
    assert [one.name for one in path.parent.iterdir()] == ["model"]


def test_only_parts_of_the_library_are_stored(small, path):
    class Odd(eqx.Module):
        value: jax.Array

    odd = eqx.tree_at(lambda p: p.terms, small, {**small.terms, "odd": Odd(jnp.ones(2))})
    with pytest.raises(InputError, match="`Odd` cannot be stored; lrpot stores"):
        save(path, odd)
    assert not path.exists()


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
def test_a_failure_while_saving_leaves_the_old_file_and_nothing_else(
    failing, small, path, monkeypatch
):
    old = build("hdnnp_2g")
    save(path, old)

    def fail(self, *args):
        if failing == "write_bytes":  # the disk is full half way
            with self.open("wb") as file:
                file.write(args[0][: len(args[0]) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, failing, fail)
        with pytest.raises(OSError, match="No space left"):
            save(path, small)
    assert list(path.parent.iterdir()) == [path]
    assert_identical(load(path), old)


def test_a_saved_file_is_as_readable_as_any_other_new_file(small, path):
    other = path.with_name("other")
    other.write_text("")
    save(path, small)
    assert path.stat().st_mode == other.stat().st_mode


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"There is no model file .*none"):
        load(tmp_path / "none")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a model file of lrpot"):
        load(tmp_path)


def test_a_truncated_file_is_refused_at_any_length(content, path):
    header_end = 8 + struct.unpack("<Q", content[:8])[0]
    for length in (0, 1, 7, 8, 9, header_end - 1, header_end, header_end + 8, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="not a model file of lrpot, or it is damaged"):
            load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="damaged"):
        load(path)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a model file of lrpot, or it is damaged"):
        load(path)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_of_the_header_is_refused_or_harmless(data, content, tmp_path_factory):
    """Never another exception; what loads is a potential."""
    length = struct.unpack("<Q", content[:8])[0]
    place = data.draw(st.integers(0, 8 + length - 1))
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(bytes(damaged))
    try:
        loaded = load(path)
    except InputError:
        return
    assert isinstance(loaded, lrpot.Potential)


def test_a_pickle_is_refused_and_not_run(path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(path) + ".ran",))

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="not a model file of lrpot"):
        load(path)
    assert not Path(str(path) + ".ran").exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["bare", "torch"])
def test_another_safetensors_file_is_refused(metadata, path):
    path.write_bytes(safetensors.numpy.save({"weight": np.ones(3)}, metadata=metadata))
    with pytest.raises(InputError, match="is a safetensors file, but not one of lrpot"):
        load(path)


def test_a_safetensors_file_of_types_unknown_to_numpy_is_refused(path):
    header = {"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    path.write_bytes(with_header(header, b"\0" * 4))
    with pytest.raises(InputError, match="is a safetensors file, but not one of lrpot"):
        load(path)


def test_a_newer_version_is_refused(content, path):
    header, data = header_of(content)
    header["__metadata__"]["version"] = "2"
    path.write_bytes(with_header(header, data))
    with pytest.raises(InputError, match=r"has version 2 of the model format; .*Update lrpot"):
        load(path)


def unknown_class(tree):
    tree["class"] = "Popen"


def unknown_inner_class(tree):
    tree["fields"]["descriptor"]["class"] = "os.system"


def missing_field(tree):
    del tree["fields"]["descriptor"]


def unknown_field(tree):
    tree["fields"]["magic"] = 3


def no_class(tree):
    tree.clear()


def wrong_shape(tree):
    tree["fields"]["charge_model"]["fields"]["hardness_root"]["array"][0] = [3]


def wrong_type(tree):
    tree["fields"]["charge_model"]["fields"]["hardness_root"]["array"][1] = "int32"


def wrong_setting(tree):
    tree["fields"]["charge_model"]["fields"]["coulomb"]["fields"]["accuracy"] = 7.0


def no_number(tree):
    tree["fields"]["charge_model"]["fields"]["coulomb"]["fields"]["accuracy"] = "small"


def no_terms(tree):
    tree["fields"]["terms"] = 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_class, "is damaged, or it has been edited: .*unknown part 'Popen'"),
        (unknown_inner_class, "unknown part 'os.system'"),
        (missing_field, "is damaged"),
        (unknown_field, "is damaged"),
        (no_class, "is damaged"),
        (wrong_shape, r"charge_model.hardness_root is float64\(2,\)"),
        (wrong_type, r"charge_model.hardness_root is float64\(2,\)"),
        (wrong_setting, "`accuracy` is a relative force error"),
        (no_number, "is damaged"),
        (no_terms, "is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_description_is_refused(change, words, content, path):
    path.write_bytes(with_potential(content, change))
    with pytest.raises(InputError, match=words):
        load(path)


def test_a_part_under_its_former_name_is_read(content, path):
    def former(tree):
        tree["fields"]["charge_model"]["fields"]["coulomb"]["class"] = "DirectSum"

    path.write_bytes(with_potential(content, former))
    assert type(load(path).charge_model.coulomb) is lrpot.electrostatics.CoulombSum


def test_a_description_that_is_no_json_is_refused(content, path):
    header, data = header_of(content)
    for text in ("{", "3", "[]", "[" * 100_000):
        header["__metadata__"]["potential"] = text
        path.write_bytes(with_header(header, data))
        with pytest.raises(InputError, match=r"damaged|exactly one potential"):
            load(path)


def test_a_file_without_a_description_is_refused(content, path):
    header, data = header_of(content)
    del header["__metadata__"]["potential"]
    path.write_bytes(with_header(header, data))
    with pytest.raises(InputError, match="damaged"):
        load(path)


def test_a_part_of_a_potential_and_spare_arrays_are_refused(content, path):
    header, data = header_of(content)
    tree = json.loads(header["__metadata__"]["potential"])
    header["__metadata__"]["potential"] = json.dumps(
        tree["fields"]["descriptor"]["fields"]["parts"]
    )
    path.write_bytes(with_header(header, data))
    with pytest.raises(InputError, match="does not hold exactly one potential"):
        load(path)
    header, data = header_of(content)
    end = len(data)
    header["spare"] = {"dtype": "F64", "shape": [1], "data_offsets": [end, end + 8]}
    path.write_bytes(with_header(header, data + b"\0" * 8))
    with pytest.raises(InputError, match="does not hold exactly one potential"):
        load(path)
