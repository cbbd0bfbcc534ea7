"""Tables for the terminal."""

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from lrpot.data import Report
from lrpot.training import Errors, Evaluation

_ROWS = {
    "energy": ("Energy (meV/atom)", 2),
    "forces": ("Forces (meV/Å)", 0),
    "stress": ("Stress (meV/Å³)", 2),
    "charges": ("Charges (me)", 1),
    "dipole": ("Dipole (me Å)", 0),
    "quadrupole": ("Quadrupole (me Å²)", 0),
}


def errors_table(
    columns: Mapping[str, Mapping[str, Errors]], *, title: str = "RMSE (MAE)"
) -> Table:
    """Errors side by side: one row per quantity, one column per model or group of atoms."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for label, (name, digits) in _ROWS.items():
        cells = [_cell(errors.get(label), digits) for errors in columns.values()]
        if any(label in errors for errors in columns.values()):
            table.add_row(name, *cells)
    return table


def groups_table(evaluation: Evaluation) -> Table:
    """Errors of one model: all, by element and by total charge."""
    columns = {"all": evaluation.total, **evaluation.by_element}
    columns |= {f"charge {name}": errors for name, errors in evaluation.by_total_charge.items()}
    return errors_table(columns)


_RANGES = {
    "energy": "Energy left by a linear fit (eV/atom)",
    "largest_force": "Largest force (eV/Å)",
    "smallest_distance": "Smallest distance (Å)",
    "pressure": "Pressure (eV/Å³)",
    "charge_sum": "Sum of charges off by (e)",
    "net_force": "Net force (eV/Å)",
    "torque": "Torque (eV)",
    "asymmetry": "Asymmetry of the stress (eV/Å³)",
}


def report_tables(report: Report, *, show: int = 5) -> list[Table]:
    """What is in a data set, how its values range, and what is odd, `show` cases of each kind."""
    content = Table(title=f"{report.count} structures", title_justify="left", show_header=False)
    content.add_row("Labels", ", ".join(f"{name} {count}" for name, count in report.labels.items()))
    elements = [
        f"{name} {one['atoms']} in {one['structures']}" for name, one in report.elements.items()
    ]
    content.add_row("Atoms", ", ".join(elements))
    charges = [f"{name} e: {count}" for name, count in report.total_charges.items()]
    content.add_row("Total charges", ", ".join(charges))
    for remark in report.remarks:
        content.add_row("Note", remark)
    ranges = Table("", title="Ranges over the structures", title_justify="left")
    for column in ("least", "median", "largest"):
        ranges.add_column(column, justify="right")
    for name, values in report.ranges.items():
        ranges.add_row(_RANGES[name], *(f"{value:.4g}" for value in values))
    findings = Table(title="Findings", title_justify="left", show_header=False, show_lines=True)
    for one in report.findings:
        cases = [f"{name}: {text}" if text else name for name, text in one.cases[:show]]
        if len(one.cases) > show:
            cases.append(f"… and {len(one.cases) - show} more")
        findings.add_row(f"{len(one.cases)} {one.kind}", escape("\n".join([one.meaning, *cases])))
    if not report.findings:
        findings.add_row("Nothing odd was found.")
    return [content, ranges, findings]


def far_hydrogen_table(charges: Mapping[str, Mapping[str, float]]) -> Table:
    """Mean charge of one atom in two molecules, by source; the first source is the reference."""
    table = Table(title="Charge of the hydrogen 12 Å from the proton (e)", title_justify="left")
    first, second = next(iter(charges.values()))
    for name in ("", first, second, "difference", "of reference"):
        table.add_column(name, justify="right" if name else "left")
    expected = None
    for source, values in charges.items():
        difference = values[second] - values[first]
        expected = difference if expected is None else expected
        table.add_row(
            source,
            f"{values[first]:+.3f}",
            f"{values[second]:+.3f}",
            f"{difference:+.3f}",
            f"{difference / expected:.0%}",
        )
    return table


def _cell(errors: Errors | None, digits: int) -> str:
    if errors is None:
        return "–"
    return f"{1e3 * errors.rmse:.{digits}f} ({1e3 * errors.mae:.{digits}f})"
