"""The results as a page of Markdown: a pure function of ``results.json``."""

from __future__ import annotations

from typing import Any

from .figures import Series, Spread, brief, in_unit, judged_in, unit
from .peers import INT8, LITERT, OURS, TENSORFLOW
from .targets import LIMIT, TARGETS, Target

Results = dict[str, Any]

_SECTIONS = (
    ("network", "Network only", "One image at a time, warm, from tensor to probabilities."),
    (
        "photo",
        "One photo, warm",
        "A 12-megapixel JPEG's path → its five best classes, in a process that runs already.",
    ),
    (
        "bulk",
        "Many photos",
        "12-megapixel JPEG files → their five best classes, on all CPUs.",
    ),
    (
        "start",
        "Start",
        "A new process, from before it is made to its answer to a photo of 0.5 megapixels; the disk"
        " and ours' own cache are warm.",
    ),
    ("memory", "Memory", "The largest resident memory of that process, to its end."),
    ("start, 12 MP", "Start, with a 12-megapixel photo", "The same with a large photo."),
    ("memory, 12 MP", "Memory, with a 12-megapixel photo", "Of that process."),
)


def render(results: Results) -> str:
    """The whole report."""
    settings, machine = results["settings"], results["machine"]
    sections = [_section(results, *section) for section in _SECTIONS]
    return "\n\n".join(
        [
            "# The peers side by side",
            f"{settings['model']} on {machine['processor']}, {machine['cpus']} CPUs,"
            f" {machine['date']}. Made by `make bench`; every figure is the median of"
            f" {settings['rounds']} rounds, of the network alone of"
            f" {settings['rounds'] * settings['more']}, with the least and the greatest, and all"
            " are in [results.json](results.json).",
            _targets(results["series"]),
            "![One image and one photo](latency.png)\n\n![Many photos](bulk.png)\n\n"
            "![Start and memory](start.png)",
            *sections,
            _parts(results),
            _how(results),
            _machine(machine),
        ]
    )


def _targets(series: Series) -> str:
    rows = []
    for target in TARGETS:
        ratio = target.ratio(series, target.mode)
        against = "cores / (decode + network)" if target.peer == LIMIT else target.peer
        figure, verdict = "not timed", "–"
        if ratio:
            figure = f"**{brief(ratio.median)}** ({brief(ratio.low)} to {brief(ratio.high)})"
            verdict = "met" if target.met(ratio) else "**not met**"
        others = ", ".join(
            f"{_mode(name)} {brief(other.median)}" for name, other in target.others(series)
        )
        bound = f"{'≥' if target.faster else '≤'} {target.bound:g}"
        rows.append([target.title, _mode(target.mode), against, bound, figure, verdict, others])
    return "## Targets\n\n" + _table(
        ["", "ours", "against", "target", "ratio", "", "other modes of ours"], rows, ""
    )


def _mode(name: str) -> str:
    return name.removeprefix(OURS).strip()


def _section(results: Results, part: str, title: str, text: str) -> str:
    series = results["series"].get(part, {})
    verdicts = results["verdicts"].get(judged_in(part), {})
    headings = ["", unit(part), "min – max", "× TensorFlow", "× LiteRT", "answers"]
    rows = []
    for name, verdict in verdicts.items():
        if name not in series:
            why = f"**another answer**: {_say(verdict)}"
            rows.append([_shown(name), "not timed", "", "", "", why])
            continue
        values = in_unit(part, series[name])
        ratio = [
            Target(part, "", name, peer, 1, faster=part == "bulk").ratio(results["series"], name)
            for peer in (TENSORFLOW, LITERT)
        ]
        rows.append(
            [
                _shown(name),
                brief(values.median),
                f"{brief(values.low)} – {brief(values.high)}",
                *(brief(r.median) if r else "–" for r in ratio),
                _say(verdict),
            ]
        )
    return f"## {title}\n\n{text}\n\n" + _table(headings, rows, "-::::-")


def _shown(name: str) -> str:
    return f"**{name}**" if name.startswith(OURS) else name


def _say(verdict: dict[str, Any]) -> str:
    """The differences that the answers were judged by."""
    wrong = (
        f"{verdict['wrong']} of {verdict['pictures']} differ" if verdict["wrong"] else "all equal"
    )
    which = "mean" if verdict["tolerance"] is None else "max"
    largest = verdict["mean" if which == "mean" else "largest"]
    return f"top-1 {wrong}, {which} \\|Δp\\| {largest:.1e}"


def _parts(results: Results) -> str:
    """What a photo costs one thread of ours, and so what bulk could be."""
    series, cpus = results["series"], results["machine"]["cpus"]
    rows = []
    for name, limit in series.get("limit", {}).items():
        decode = Spread.of([value * 1e3 for value in series["decode"][name]])
        network = Spread.of(
            [(each * cpus - d) * 1e3 for each, d in zip(limit, series["decode"][name], strict=True)]
        )
        most = Spread.of([1 / value for value in limit])
        share = Target("bulk", "", name, LIMIT, 1, faster=True).ratio(series, name)
        rows.append(
            [
                _shown(name),
                *(f"{brief(s.median)}" for s in (decode, network, most)),
                f"{share.median:.1%} ({share.low:.1%} to {share.high:.1%})" if share else "–",
            ]
        )
    text = (
        "What a photo costs one thread, each part measured alone in the same rounds; the CPUs over"
        " their sum is what `classify_many` could reach if nothing else took time."
    )
    headings = ["", "file → tensor, ms", "network, ms", "at most, images/s", "reached"]
    return f"## Ours, taken apart\n\n{text}\n\n" + _table(headings, rows, "-::::")


def _how(results: Results) -> str:
    settings = results["settings"]
    return _HOW.format(
        **settings["turn"],
        int8="" if INT8 in results["series"].get("network", {}) else _NO_INT8,
        **{name: settings[name] for name in _FACTS},
        made="drawn by code" if settings["drawn"] else "scaled from other photos",
        megabytes=settings["mean_bytes"] / 1e6,
    )


_FACTS = ("more", "photos", "tolerance", "width", "height", "candidates", "least_lead")
_NO_INT8 = "\n  Its modes are absent: there was no such file, or it was not timed."
_HOW = """## How it was measured

Every peer is a script in [`benchmarks/peers`](../peers) that says what its users would write, with
the library's defaults and all CPUs:

- **TensorFlow, hub module**: `hub.load`, and the recipe of the Hub's own retraining example:
  `tf.io.decode_jpeg`, `tf.image.convert_image_dtype` to float, `tf.image.resize`; many photos
  through `tf.data` (`map` with AUTOTUNE, batches of 16, `prefetch`). *resize first* resizes before
  it scales to [0, 1]: the same numbers, with less to compute.
- **LiteRT**: the module converted to float32 `.tflite`, the interpreter with XNNPACK and a thread a
  CPU; OpenCV decodes in full and resizes. Many photos: a thread a CPU, each with an interpreter.
- **OpenVINO**: the ONNX file with the latency hint; for many photos with the throughput hint and
  `AsyncInferQueue`, and OpenCV in a thread a CPU. Its default is bfloat16 where the processor has
  it; *f32* asks for float32.
- **onnxruntime, plain**: the ONNX file in a default session; for many photos OpenCV and the session
  in a thread a CPU.
- **fungi-onnx**: `FungiClassifier` in an environment where TensorFlow is not installed: `classify`
  and `classify_many`. *exact*, the default, decodes in full and is the module's own recipe; *fast*
  decodes large JPEGs at reduced size. *int8* is the file of `fungi-onnx-export quantize`.{int8}

The peers take turns: within a round each has one, in an order that is drawn anew; of the network
alone, where a turn is short, there are {more} times as many rounds as of the rest. Ratios are taken
within a round; the tables give their median. A time is the median of a turn's {network} tensors or
{photo} photos; in bulk a turn has {bulk} photos. Warm processes stay alive and are idle while it is
not their turn. A start is timed by a small process of its own, from before the new process is made
until its answer can be read; memory is the kernel's count for that process.

The right answers are those of the hub module in TensorFlow, on the same tensor or with the recipe
of its tutorials (full decode, bilinear in float). A float32 network may differ by {tolerance:g} in
any probability of {photos} pictures; all else must have the right first answer to every photo, and
|Δp| is then that of this first answer. Who has not is **not timed**. TensorFlow decodes with a
quicker, less exact cosine transform by default, so that nobody else has quite its pixels.

The {photos} photos are {width} × {height} JPEGs of {megabytes:.1f} MB on average, of quality 90 and
4:2:0, {made}, with a sensor's grain: those of {candidates} with the clearest answers,
where the first leads the second by at least {least_lead:.2f}. So this page says who is quick at the
same work; how often a view changes an answer is in
[docs/pictures.md](../../docs/pictures.md). The more detail a photo has, the slower is every full
decode."""


def _machine(machine: dict[str, Any]) -> str:
    versions = machine["versions"]
    names = dict.fromkeys([*versions["peers"], *versions["ours"]])
    rows = [[name, *(versions[where].get(name, "–") for where in versions)] for name in names]
    facts = [
        ["processor", f"{machine['processor']} ({', '.join(machine['instructions'])})"],
        ["CPUs, memory", f"{machine['cpus']}, {machine['memory_gib']:g} GiB"],
        ["system", machine["system"]],
        ["Python", machine["python"]],
        ["load before", ", ".join(f"{load:.2f}" for load in machine["load_before"])],
    ]
    return (
        "## The machine\n\n"
        + _table(["", ""], facts, "")
        + "\n\n"
        + _table(["version", "the peers' environment", "ours"], rows, "")
        + "\n"
    )


def _table(headings: list[str], rows: list[list[str]], align: str) -> str:
    """Markdown; ``align`` has a ``:`` for each column that is set to the right."""
    marks = ["---:" if align[k : k + 1] == ":" else "---" for k in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [headings, marks, *rows])
