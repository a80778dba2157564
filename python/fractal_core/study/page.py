"""docs/fam-results.md: what a study found, in words and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fractal_core.study.results import RULE, SEEDS, StudyResults, TaskResults, Verdict

if TYPE_CHECKING:
    from fractal_core.study.results import Entry

__all__ = ["conclusion", "markdown", "number"]

_CONTROLS = {
    "matched": "its mean momentum as a constant",
    "shuffled": "its own momenta in a random order of steps",
    "placebo": "the same rule on white noise",
    "permuted": "the same rule on entries in a random order",
}


def number(value: float | None) -> str:
    """Four digits; a dash where there is none or it is infinite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4g}"


def conclusion(results: StudyResults) -> str:
    """Whether FAM helps, in one paragraph."""
    useful = results.useful()
    titles = {entry.name: entry.title for task in results.tasks for entry in task.entries}
    verdicts = [results.verdict(name) for name in results.adaptive()]
    better, worse = sum(len(v.better) for v in verdicts), sum(len(v.worse) for v in verdicts)
    count = len(verdicts) * len(results.tasks)
    against = (
        f"Of {count} comparisons with such a constant, by variant and task, FAM was better in {better} and worse in "
        f"{worse} by more than the spread over seeds."
    )
    if results.settings["seeds"] < SEEDS:
        given = results.settings["seeds"]
        return f"**No verdict.** The rule asks for {SEEDS} seeds, and this study has {given}. {against}"
    if useful:
        return f"By the rule below, useful: {'; '.join(titles[name] for name in useful)}. {against}"
    return (
        "**FAM does not help.** No variant beat a constant momentum of the same mean on tasks of two kinds. "
        f"{against} `fc.optim.FAM` is kept as an experimental diagnostic: use AdamW, and `fc.optim.Spectra` to look at "
        "spectra."
    )


def markdown(results: StudyResults) -> str:
    """The whole page."""
    parts = [
        "# Does frequency-adaptive momentum help?",
        "Written by `fractal-core optim-study --write-docs`; not edited by hand.",
        conclusion(results),
        f"## The rule, set before\n\n{RULE}",
        _protocol(results),
        _against(results),
        *(_task(task) for task in results.tasks),
        _machine(results),
    ]
    return "\n\n".join(parts) + "\n"


def _protocol(results: StudyResults) -> str:
    s = results.settings
    missing = "".join(f"\n* Not run here: {name} ({how})." for name, how in results.missing.items())
    return (
        "## What was done\n\n"
        f"* Each optimizer tried {s['rates']} rates a factor of √10 apart with {s['search_seeds']} seeds, and up to "
        f"{s['extensions']} more while the best one lay at an edge; the rate with the lowest validation loss then ran "
        f"with {s['seeds']} other seeds. Tables show test losses of those.\n"
        "* One schedule for all: warm-up over a tenth of the steps, then a cosine to 0; schedule-free ones have their "
        "own warm-up. No weight decay. FAM adapts after the warm-up; its groups are those of `get_parameter_groups`, "
        "and `average of gradients` is FAM without a signal, on the same groups.\n"
        "* Muon has the hidden matrices, and AdamW at a tenth of its rate the rest. FSGDM is written from the paper's "
        "formula, with its defaults.\n"
        "* Controls run at FAM's own rate, with FAM's seeds: "
        + "; ".join(f"*{name}*, {what}" for name, what in _CONTROLS.items())
        + ". The last is for signals of space alone, in which order matters.\n"
        "* Steps and seconds count up to the validation loss at which the average of gradients ends, in the median of "
        "runs; a dash where most never get there. Seconds are the processor's, of training alone, on one thread.\n"
        "* Small models and few steps: this shows whether the adaptation does something, and does not rank optimizers "
        f"for long training.{missing}"
    )


def _against(results: StudyResults) -> str:
    rows = [
        "## FAM against its controls\n",
        "Tasks on which it is better, and worse, by more than the larger interquartile range.\n",
        "| FAM | control | better | worse |",
        "|---|---|---|---|",
    ]
    for name in results.adaptive():
        title = results.tasks[0].entry(name).title
        for control in results.tasks[0].controls[name]:
            found = results.verdict(name, control)
            rows.append(f"| {title} | {control} | {_listed(found, 0)} | {_listed(found, 1)} |")
    return "\n".join(rows)


def _listed(verdict: Verdict, which: int) -> str:
    return ", ".join((verdict.better, verdict.worse)[which]) or "none"


def _task(task: TaskResults) -> str:
    accurate = any(entry.accuracy is not None for entry in task.entries)
    facts = "; ".join(f"{name}: {value}" for name, value in task.facts.items())
    rows = [
        f"## {task.name}\n",
        f"{task.title[0].upper()}{task.title[1:]}; {task.steps} steps. {facts}. Target: {number(task.target)}.\n",
        f"| optimizer | rate | rates tried | test loss | IQR |{' accuracy |' if accurate else ''} steps | seconds |",
        "|---|---|---|---|---|" + ("---|" if accurate else "") + "---|---|",
    ]
    for entry in task.entries:
        rows.append(_row(entry, task, accurate=accurate))
    rows += [
        "",
        "| FAM | mean momentum | itself | " + " | ".join(_CONTROLS) + " |",
        "|---|---|---|" + "---|" * len(_CONTROLS),
    ]
    for name, controls in task.controls.items():
        entry = task.entry(name)
        cells = [_with_spread(entry), *(_with_spread(controls.get(control)) for control in _CONTROLS)]
        rows.append(f"| {entry.title} | {number(entry.momentum)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _row(entry: Entry, task: TaskResults, *, accurate: bool) -> str:
    steps, seconds = entry.to_target(task.target)
    tried = f"{len(entry.tried)}{', at an edge' if entry.at_edge else ''}"
    accuracy = ([] if entry.accuracy is None else [f"{entry.accuracy:.1%}"]) if accurate else []
    cells = [
        entry.title,
        number(entry.rate),
        tried,
        number(entry.test.median),
        number(entry.test.iqr),
        *accuracy,
        number(steps),
        "–" if math.isinf(seconds) else f"{seconds:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _with_spread(entry: Entry | None) -> str:
    return "" if entry is None else f"{number(entry.test.median)} ± {number(entry.test.iqr)}"


def _machine(results: StudyResults) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return f"## The machine\n\n{facts}. The study took {results.seconds / 60:.0f} minutes."
