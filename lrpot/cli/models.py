"""Commands that say what a model is."""

from rich.markup import escape

from lrpot.cli.common import Energy, Length, Model, app, console


@app.command()
def info(model: Model, length: Length = "bohr", energy: Energy = "Ha") -> None:
    """Say what MODEL is: a model file, or a folder of RuNNer or n2p2."""
    from lrpot.describe import describe
    from lrpot.interop.n2p2.convert import load_any

    for name, value in describe(load_any(model, length=length, energy=energy)).items():
        console.print(f"[bold]{name}[/]  {escape(value)}", highlight=False)
