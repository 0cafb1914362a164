"""Tables of the benchmarks, as Markdown on the console."""

from collections.abc import Mapping, Sequence

from Stage2.reporting.tables import markdown_table


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n\n{markdown_table(header, rows)}", flush=True)


def print_ratios(title: str, spent: Mapping[str, float], names: Mapping[str, str] | None = None) -> None:
    """A table of seconds by variant against "published"."""
    names = names or {name: name for name in spent}
    rows = [(label, f"{1e3 * spent[n]:.3f}", f"{spent['published'] / spent[n]:.2f}") for n, label in names.items()]
    print_table(title, ("", "ms", "published / this"), rows)


def print_networks(
    title: str, seconds: Mapping[str, float], flops: float, device: str, memory: Mapping[str, float] | None = None
) -> None:
    """A table of seconds by variant against the first, with the limit that matrix products set, and of peak memory."""
    import torch

    from Stage1.timing import matmul_rates

    rates, base = matmul_rates(device), next(iter(seconds))
    header = ["", "s", f"{base} / this", "s at matmul rate"] + ["peak memory, MiB", f"of {base}"] * bool(memory)
    rows = []
    for name, taken in seconds.items():
        limit = flops / rates["bf16" if "bf16" in name else "fp32"]
        row = [name, f"{taken:.3f}", f"{seconds[base] / taken:.2f}", f"{limit:.3f}"]
        rows.append(row + ([f"{memory[name]:.0f}", f"{memory[name] / memory[base]:.2f}"] if memory else []))
    print_table(f"{title}, {device} ({torch.get_num_threads()} threads)", header, rows)
    listed = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    print(f"\n{flops / 1e9:.0f} GFLOP each; measured matrix products: {listed}.")
