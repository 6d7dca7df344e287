"""Draw the loss curve of a training run."""

from collections.abc import Sequence
from pathlib import Path


def plot_curve(journal: Sequence[dict[str, float]], path: Path) -> None:
    """Loss in nats per token against steps, on a logarithmic scale: training, and the held-out questions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=110)
    window = max(1, len(journal) // 100)
    smooth = [
        (chunk[-1]["step"], sum(entry["loss"] for entry in chunk) / len(chunk))
        for chunk in (journal[i : i + window] for i in range(0, len(journal), window))
    ]
    axes.plot(*zip(*smooth, strict=True), label=f"training (mean of {window} steps)")
    watched = [(entry["step"], entry["held_out_loss"]) for entry in journal if "held_out_loss" in entry]
    axes.plot(*zip(*watched, strict=True), "o-", markersize=3, label="62 held-out questions")
    axes.set(xlabel="step", ylabel="loss, nats per answer token", yscale="log", title="The guide, trained from scratch")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
