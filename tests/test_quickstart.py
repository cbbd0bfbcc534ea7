"""The main job: in small whenever tests run, and whole against its figures when asked for."""

from importlib import resources

import ase.io
import numpy as np
import pytest
from rich.table import Table

import lrpot
from lrpot import quickstart as module
from lrpot.data import read_structures
from lrpot.descriptors import default_acsf
from lrpot.md import LOG

PLOTS = {
    "learning_2g.png",
    "learning_4g.png",
    "learning_local_charges.png",
    "parity.png",
    "charges.png",
    "energy.png",
}


def test_the_packaged_data_are_what_their_readme_says():
    labels = ("energy", "forces", "charges", "dipole")
    with resources.as_file(resources.files("lrpot") / "quickstart_data") as folder:
        train, test = (
            read_structures(folder / f"carbon_{part}.xyz", require=labels)
            for part in ("train", "test")
        )
    for structures, count in ((train, 100), (test, 40)):
        charges = [float(one.system.total_charge) for one in structures]
        assert (charges.count(0.0), charges.count(1.0)) == (count, count)
        for one, charge in zip(structures, charges, strict=True):
            formula = sorted(np.asarray(one.system.numbers).tolist())
            assert formula == [1] * (2 + int(charge)) + [6] * 10
            assert np.abs(one.forces.sum(axis=0)).max() < 1e-3


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The main job with few functions, few structures, two epochs and 20 fs; and what it says."""
    folder, said = tmp_path_factory.mktemp("quickstart"), []

    def few(path, **settings):
        structures = read_structures(path, **settings)
        chosen = [one for one in structures if one.system.n_atoms == 12][::20]
        return chosen + [one for one in structures if one.system.n_atoms == 13][::20]

    def functions(elements, **settings):
        return default_acsf(elements, **settings, spacing=1.5, shells=1, zetas=(1.0,))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read_structures", few)
        patch.setattr(module, "default_acsf", functions)
        found = module.quickstart(
            folder,
            charge_epochs=2,
            energy_epochs=2,
            md_steps=40,
            say=said.append,
            progress=False,
        )
    return found, said


def test_the_main_job_leaves_models_trajectory_and_plots(small):
    found, _ = small
    assert lrpot.load(found.folder / "2g.lrpot").recipe == "hdnnp_2g"
    assert lrpot.load(found.folder / "4g.lrpot").recipe == "hdnnp_4g"
    assert {path.name for path in (found.folder / "plots").iterdir()} == PLOTS
    assert all(path.stat().st_size > 10_000 for path in (found.folder / "plots").iterdir())
    frames = ase.io.read(found.folder / "md" / "trajectory.xyz", ":")
    assert [len(atoms) for atoms in frames] == [13] * 3
    assert (found.folder / "md" / "log.csv").read_text().startswith(",".join(LOG))
    assert sum(found.seconds.values()) > 0


def test_the_main_job_compares_both_models(small):
    found, said = small
    assert set(found.errors) == {"2G", "4G"}
    assert "charges" in found.errors["4G"].total
    assert "charges" not in found.errors["2G"].total
    tables = [one for one in said if isinstance(one, Table)]
    assert [column.header for column in tables[0].columns] == ["", "2G", "4G"]
    sources = list(tables[1].columns[0].cells)
    assert sources == ["reference", "4G", "local charges"] == list(found.far_hydrogen)
    assert any(str(found.folder) in one for one in said if isinstance(one, str))


def test_the_reference_far_hydrogen_feels_the_proton(small):
    """0.080 e in C10H2 and 0.157 e in C10H3+, over all test structures; here over few."""
    reference = small[0].far_hydrogen["reference"]
    assert 0.06 < reference["C10H2"] < 0.10
    assert 0.13 < reference["C10H3⁺"] < 0.18


@pytest.mark.slow
def test_the_main_job_reaches_its_figures(tmp_path):
    """Errors below those of n2p2 with its own settings, and the long range that 4G is for."""
    found = module.quickstart(tmp_path, progress=False)
    second, fourth = (found.errors[name].total for name in ("2G", "4G"))
    assert fourth["charges"].rmse < 9.4e-3
    assert fourth["energy"].rmse < 3.5e-3
    assert fourth["forces"].rmse < 0.158
    assert second["energy"].rmse < 5.5e-3
    assert second["forces"].rmse < 0.259
    far = {name: values["C10H3⁺"] - values["C10H2"] for name, values in found.far_hydrogen.items()}
    assert abs(far["4G"] / far["reference"] - 1) < 0.15
    assert abs(far["local charges"]) < 0.5 * far["reference"]
    assert abs(found.trajectory.drift()) < 1e-5
