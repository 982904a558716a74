"""Tables in Markdown and LaTeX. Results of different protocols never share one; published numbers stand apart."""

from collections.abc import Sequence

from infinitemesh.evaluate.align import Alignment
from infinitemesh.evaluate.published import Group, groups_of
from infinitemesh.evaluate.results import Result, Summary, describe_failures, lower_is_better

TITLES = {
    "chamfer": "Chamfer",
    "iou": "IoU",
    "iou_exact": "IoU (exact)",
    "normal_consistency": "Normals",
    "psnr": "PSNR",
    "psnr_object": "PSNR on the object",
    "ssim": "SSIM",
    "mask_iou": "Mask IoU",
    "silhouette_coherence": "Outline coherence",
    "consistency_psnr": "Consistency PSNR",
    "consistency_ssim": "Consistency SSIM",
    "consistency_mask_iou": "Consistency mask IoU",
    "lpips_squeeze": "LPIPS-squeeze",
    "lpips_alex": "LPIPS-alex",
    "lpips_vgg": "LPIPS-vgg",
}
FRAMED_WORDS = (
    "A photograph's result is compared in place: the truth's own outline in the photograph, cut by the framing rule "
    "(longer side 1.08 units, depth centred by the truth's box), and the known camera say where the truth stands in "
    "the pipeline's frame; both are brought to the truth's scale. The result has no part in it."
)
DECIMALS = {"chamfer": 4, "psnr": 2, "psnr_object": 2, "consistency_psnr": 2}


def markdown_report(results: Sequence[Result], *, published: bool = True) -> str:
    """One section a protocol: the table, what was measured how, failures by name, and published numbers apart."""
    sections = []
    for label in dict.fromkeys(result.protocol.label for result in results):
        group = [result for result in results if result.protocol.label == label]
        sections.append(_section(group, published))
    return "\n".join(sections)


def markdown_table(results: Sequence[Result], *, intervals: bool = True) -> str:
    """Rows are systems, columns metrics: mean [95 % interval] (median)."""
    columns = _columns(results)
    costs = any(result.seconds for result in results)
    head = ["System", *(f"{title(name)} {'↓' if lower_is_better(name) else '↑'}" for name in columns)]
    head += ["Objects"] + (["s", "MiB"] if costs else [])
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for result in results:
        summaries = result.summaries
        cells = [result.system, *(_cell(name, summaries.get(name), intervals) for name in columns), _count(result)]
        if costs:
            cells += ["" if result.seconds is None else f"{result.seconds:.2f}"]
            cells += ["" if result.peak_mib is None else f"{result.peak_mib:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def latex_table(results: Sequence[Result]) -> str:
    """booktabs; one tabular a protocol."""
    return "\n".join(
        _latex([result for result in results if result.protocol.label == label])
        for label in dict.fromkeys(result.protocol.label for result in results)
    )


def title(metric: str) -> str:
    return TITLES.get(metric, f"F@{metric[2:]}" if metric.startswith("f@") else metric)


def describe_protocol(result: Result) -> str:
    """Everything that the numbers depend on, in words."""
    protocol = result.protocol
    parts = [f"Protocol {protocol.label} ({protocol.sha256[:12]}), {len(result.records)} objects, seed {result.seed}."]
    if protocol.truth_side is not None:
        parts.append(f"Truth centred, longest side {protocol.truth_side:g}.")
    if protocol.views is None:
        parts.append(
            "The result's box is fitted to the truth's." if protocol.fit_box else "The result is not rescaled."
        )
        parts.append(_alignment_words(protocol.alignment))
        if protocol.framed:
            parts.append(FRAMED_WORDS)
    if protocol.surface is not None:
        rule = protocol.surface
        points = f"{rule.samples:,} points" if rule.points == "surface" else f"depth points, voxel {rule.voxel:g}"
        kind = {
            "mean": "mean of the one-way means",
            "sum": "sum of the one-way means",
            "squared": "sum of mean squares",
        }
        parts.append(f"Chamfer: {kind[rule.chamfer]}, {points}.")
    if protocol.volume is not None:
        rule = protocol.volume
        parts.append(f"IoU: {rule.resolution}^3 on [-{rule.half_extent:g}, {rule.half_extent:g}]^3 by {rule.inside}.")
    if protocol.images is not None:
        rig = protocol.images
        camera = f"fov {rig.fov_deg:g}, distance {rig.camera_distance:.3f}" if rig.projection == "perspective" else ""
        elevations = "/".join(f"{e:g}" for e in rig.elevations_deg)
        parts.append(
            f"Pictures: {len(rig.camera)} {rig.projection} views ({camera}), elevations {elevations}, {rig.size} px, "
            f"background {rig.background:g}, unlit, 8 bits."
        )
    if protocol.views is not None:
        azimuths = ", ".join(f"{a:g}" for a in protocol.views.azimuths_deg)
        frame = "" if protocol.views.frame == "exact" else ", truth scaled and shifted to the front view's box"
        parts.append(f"Orthographic views at azimuths {azimuths}, {protocol.views.size} px, over white{frame}.")
    if any(result.failures.values()):
        parts.append("A failure scores as a point in the middle of the truth's box, seen in empty pictures.")
    return " ".join(parts)


def _alignment_words(how: Alignment) -> str:
    if how.starts == "none":
        return "No alignment."
    scales = f" at scales {', '.join(f'{s:g}' for s in how.scales)}" if len(how.scales) > 1 else ""
    icp = f", ICP{' with scale' if how.icp_scale else ''}" if how.icp else ""
    return f"Alignment: {how.starts}{scales}{icp}, best by {how.choose}."


def published_tables(protocol_name: str) -> str:
    """What others reported under a protocol of this kind; never one ranking with ours."""
    return "\n".join(_published(group) for group in groups_of(protocol_name))


def azimuth_table(result: Result) -> str:
    """View protocols: one row an azimuth."""
    rows = result.per_azimuth
    if not rows:
        return ""
    columns = list(next(iter(rows.values())))
    lines = ["| Azimuth | " + " | ".join(title(name) for name in columns) + " |", "|" + " --- |" * (len(columns) + 1)]
    for azimuth, means in rows.items():
        lines.append(f"| {azimuth:g} | " + " | ".join(_number(name, means[name]) for name in columns) + " |")
    return "\n".join(lines) + "\n"


def _section(results: Sequence[Result], published: bool) -> str:
    parts = [f"## {results[0].protocol.label}\n", markdown_table(results), describe_protocol(results[0]) + "\n"]
    for result in results:
        if table := azimuth_table(result):
            parts.append(f"{result.system}, by azimuth:\n\n{table}")
        lines = describe_failures(result)
        parts += [f"- {result.system}: {line}" for line in lines] + ([""] if lines else [])
    if published and (tables := published_tables(results[0].protocol.name)):
        parts.append(tables)
    return "\n".join(parts)


def _columns(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(name for result in results for name in result.summaries))


def _cell(name: str, summary: Summary | None, intervals: bool) -> str:
    if summary is None:
        return ""
    mean = _number(name, summary.mean)
    if not intervals:
        return mean
    return f"{mean} [{_number(name, summary.low)}, {_number(name, summary.high)}] ({_number(name, summary.median)})"


def _number(name: str, value: float) -> str:
    return f"{value:.{DECIMALS.get(name, 3)}f}"


def _count(result: Result) -> str:
    failed = sum(len(names) for names in result.failures.values())
    return f"{len(result.records)}" + (f" ({failed} failed)" if failed else "")


def _latex(results: Sequence[Result]) -> str:
    columns = _columns(results)
    head = " & ".join(["System", *(_tex(title(name)) + _arrow(name) for name in columns)])
    lines = [f"% {results[0].protocol.label}: {_tex(describe_protocol(results[0]))}"]
    lines += [f"\\begin{{tabular}}{{l{'r' * len(columns)}}}", "\\toprule", head + r" \\", "\\midrule"]
    for result in results:
        summaries = result.summaries
        cells = [_number(name, summaries[name].mean) if name in summaries else "--" for name in columns]
        lines.append(" & ".join([_tex(result.system), *cells]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _arrow(name: str) -> str:
    return r" $\downarrow$" if lower_is_better(name) else r" $\uparrow$"


def _tex(text: str) -> str:
    for character in "\\&%$#_{}^~":
        text = text.replace(character, {"\\": "/", "^": "\\^{}", "~": "\\~{}"}.get(character, "\\" + character))
    return text


def _published(group: Group) -> str:
    lines = [f"Published, not re-measured. {group.about}\n"]
    lines += ["| System | " + " | ".join(group.columns) + " | Source |", "|" + " --- |" * (len(group.columns) + 2)]
    for row in group.rows:
        cells = ["" if value is None else f"{value:g}" for value in row.values]
        lines.append(f"| {row.system} | " + " | ".join(cells) + f" | {row.source} |")
    return "\n".join(lines) + "\n"
