"""A methods paragraph ready to paste, and the works to cite, from what the steps of a run say of themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from helpers import __version__
from helpers.runs.plan import Job
from helpers.runs.run import read_done

_Done = list[dict[str, Any]]

#: Short name → the work.
WORKS = {
    "VollSeg": "Kapoor V., Carabaña C. (2021). Cell tracking in 3D using deep learning segmentations. Proceedings of the 20th Python in Science Conference, 154–161. doi:10.25080/majora-1b6fd038-014",
    "StarDist": "Weigert M., Schmidt U., Haase R., Sugawara K., Myers G. (2020). Star-convex polyhedra for 3D object detection and segmentation in microscopy. WACV 2020, 3666–3673. doi:10.1109/WACV45572.2020.9093435",
    "CSBDeep": "Weigert M. et al. (2018). Content-aware image restoration: pushing the limits of fluorescence microscopy. Nature Methods 15, 1090–1097. doi:10.1038/s41592-018-0216-7",
    "Noise2Void": "Krull A., Buchholz T.-O., Jug F. (2019). Noise2Void: learning denoising from single noisy images. CVPR 2019, 2129–2137. doi:10.1109/CVPR.2019.00223",
    "Cellpose": "Stringer C., Wang T., Michaelos M., Pachitariu M. (2021). Cellpose: a generalist algorithm for cellular segmentation. Nature Methods 18, 100–106. doi:10.1038/s41592-020-01018-x",
    "LAP": "Jaqaman K. et al. (2008). Robust single-particle tracking in live-cell time-lapse sequences. Nature Methods 5, 695–702. doi:10.1038/nmeth.1237",
    "TrackMate": "Ershov D. et al. (2022). TrackMate 7: integrating state-of-the-art segmentation algorithms into tracking pipelines. Nature Methods 19, 829–832. doi:10.1038/s41592-022-01507-1",
    "Ultrack": "Bragantini J., Lange M., Royer L. (2024). Large-scale multi-hypotheses cell tracking using ultrametric contours maps. ECCV 2024. arXiv:2308.04526",
    "CTC": "Ulman V. et al. (2017). An objective comparison of cell-tracking algorithms. Nature Methods 14, 1141–1152. doi:10.1038/nmeth.4473",
    "Lomb-Scargle": "VanderPlas J. T. (2018). Understanding the Lomb–Scargle periodogram. The Astrophysical Journal Supplement Series 236, 16. doi:10.3847/1538-4365/aab766",
}


def methods(jobs: Iterable[Job]) -> tuple[str, list[str]]:
    """Return the paragraph, and the works it names, for the steps that are done.

    Parameters
    ----------
    jobs : iterable of Job
        All jobs of the experiment.
    """
    by_step: dict[str, _Done] = defaultdict(list)
    for job in jobs:
        if done := read_done(job.folder):
            by_step[job.parameters.name].append(done)
    sentences, cited = [], []
    for step, write in _SENTENCES.items():
        if step in by_step:
            sentence, works = write(by_step[step])
            sentences.append(sentence)
            if step == "train_denoiser" and not _used(by_step, "use_denoiser"):
                sentences.append("It was not used for the segmentation.")
            cited += [work for work in works if work not in cited]
    if not sentences:
        return "", []
    opening = f"Images were analysed with Volltrack {__version__} ({_versions(by_step)})."
    return " ".join([opening, *sentences]), [WORKS[work] for work in cited]


def _used(by_step: dict[str, _Done], parameter: str) -> bool:
    return any(one["parameters"].get(parameter) for of_step in by_step.values() for one in of_step)


def _versions(by_step: dict[str, _Done]) -> str:
    found: dict[str, str] = {}
    for of_step in by_step.values():
        for done in of_step:
            found |= done["packages"]
    own = {"n2v": "train_denoiser", "cellpose": "segment_cellpose"}
    named = ("tensorflow", "stardist", "csbdeep", "n2v", "cellpose", "numpy", "scipy", "scikit-image")
    named = tuple(name for name in named if name not in own or own[name] in by_step)
    return ", ".join(f"{name} {found[name]}" for name in named if name in found) or "versions not recorded"


def _n(done: _Done, name: str) -> int:
    return sum(one["results"].get(name) or 0 for one in done)


def _p(done: _Done, name: str) -> str:
    """Return a parameter's value, or its values where movies differ."""
    values = list(dict.fromkeys(str(one["parameters"].get(name)) for one in done))
    return " or ".join(values)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _dataset(done: _Done) -> tuple[str, list[str]]:
    size = " × ".join(str(n) for n in done[0]["parameters"].get("patch_size") or ())
    return (
        f"A training set of {_n(done, 'train_patches')} patches of {size} voxels, and {_n(done, 'validation_patches')} for validation "
        f"from other stacks, was cut from pairs of raw and annotated stacks (intensities normalised between "
        f"percentiles {_p(done, 'percentile_low')} and {_p(done, 'percentile_high')}).",
        [],
    )


def _denoiser(done: _Done) -> tuple[str, list[str]]:
    return f"A Noise2Void network was trained on the raw movies for {_p(done, 'n_epochs')} epochs.", [
        "Noise2Void"
    ]


def _networks(done: _Done) -> tuple[str, list[str]]:
    wanted = {"train_unet": "a U-Net (CSBDeep)", "train_stardist": "StarDist", "train_cellpose": "Cellpose"}
    works = {"train_unet": "CSBDeep", "train_stardist": "StarDist", "train_cellpose": "Cellpose"}
    on = [name for name in wanted if done[0]["parameters"].get(name)]
    rays = f", {_p(done, 'rays')} rays" if "train_stardist" in on else ""
    named = " and ".join(wanted[name] for name in on)
    return (
        f"{named[:1].upper()}{named[1:]} {'was' if len(on) == 1 else 'were'} trained for at most {_p(done, 'n_epochs')} epochs "
        f"(learning rate {_p(done, 'learning_rate')}, batch size {_p(done, 'batch_size')}, depth {_p(done, 'network_depth')}{rays}, "
        f"seed {_p(done, 'seed')}).",
        [works[name] for name in on],
    )


def _thresholds(done: _Done) -> tuple[str, list[str]]:
    from helpers.view.result_table import in_words

    chosen = dict(done[0]["results"].get(str(done[0]["parameters"].get("method"))) or {})
    score = f"; score {chosen['score']:.2f}" if "score" in chosen else ""
    values = in_words({name: value for name, value in chosen.items() if name not in ("score", "highest")})
    return (
        f"Thresholds were those that made the {_p(done, 'measure').replace('f1', 'F1')} of the final labels largest on the validation "
        f"stacks{f' ({values}{score})' if chosen else ''}.",
        [],
    )


def _segment(done: _Done) -> tuple[str, list[str]]:
    found = f"giving {_n(done, 'cells')} cells in {_n(done, 'frames')} frames of {_count(len(done), 'movie')}"
    given = [one for one in done if one["parameters"].get("labels")]
    if len(given) == len(done):
        return f"Cells that had been segmented in another program were measured, {found}.", []
    how = {
        "vollseg": (
            "by VollSeg, which joins StarDist and the U-Net by a marker-controlled watershed",
            ["VollSeg", "StarDist", "CSBDeep"],
        ),
        "stardist": ("by StarDist", ["StarDist"]),
        "unet": ("by the U-Net", ["CSBDeep"]),
    }
    words, works = how.get(str(done[0]["parameters"].get("method")), ("", []))
    smallest = done[0]["parameters"].get("min_size_um3")
    without = f", without objects below {smallest:g} µm³" if smallest else ""
    first = "Denoised frames" if done[0]["parameters"].get("use_denoiser") else "Cells"
    return f"{first} were segmented {words}{without}, {found}.", works


def _cellpose(done: _Done) -> tuple[str, list[str]]:
    model = done[0]["parameters"].get("model") or "a model trained on the training set"
    return (
        f"Cells were segmented by Cellpose ({model}), giving {_n(done, 'cells')} cells in {_n(done, 'frames')} frames.",
        ["Cellpose"],
    )


def _remote(done: _Done) -> tuple[str, list[str]]:
    servers = [server for one in done for server in one["results"].get("servers") or []]
    models = ", ".join(dict.fromkeys(str(name) for server in servers for name in server.get("models") or []))
    return (
        f"Cells were segmented on a server{f' (model {models})' if models else ''}, giving {_n(done, 'cells')} cells in "
        f"{_n(done, 'frames')} frames of {_count(len(done), 'movie')}.",
        [],
    )


_TRACKERS = {
    "lap": (
        "linear assignment as in TrackMate (largest distance {max_distance_um} µm, gaps of up to {max_frame_gap} frames)",
        ["LAP", "TrackMate"],
    ),
    "overlap": ("their overlap (least IoU {min_iou})", []),
    "global": (
        "an integer linear program that chooses among competing segmentations and links at once, as in Ultrack "
        "(largest distance {max_distance_um} µm)",
        ["Ultrack"],
    ),
    "kalman": ("a Kalman filter (search radius {search_radius_um} µm)", []),
    "advanced_kalman": ("a Kalman filter with divisions (search radius {search_radius_um} µm)", []),
    "nearest": ("nearest neighbours (largest distance {max_distance_um} µm)", []),
}


def _track(done: _Done) -> tuple[str, list[str]]:
    used = done[0]["parameters"] | done[0]["results"].get("trackmate_settings", {})
    words, works = _TRACKERS.get(str(used.get("tracker")), ("a tracker", []))
    how = words.format_map(used) if used else words
    return (
        f"Cells were linked by {how}, giving {_count(_n(done, 'tracks'), 'track')} with "
        f"{_count(_n(done, 'divisions'), 'division')}.",
        works,
    )


def _labels_scored(done: _Done) -> tuple[str, list[str]]:
    return (
        f"Labels of {_count(len(done), 'movie')} were compared with the truth: a cell is found from an IoU of 0.5.",
        [],
    )


def _curated(done: _Done) -> tuple[str, list[str]]:
    return (
        f"Labels and tracks of {_count(len(done), 'movie')} were corrected by hand ({_count(_n(done, 'edits'), 'edit')}).",
        [],
    )


def _compared(done: _Done) -> tuple[str, list[str]]:
    test = {"welch": "Welch's t-test", "mann_whitney": "the Mann-Whitney U test"}
    how = test.get(
        _p(done, "test"),
        "Welch's t-test where means of movies or animals were compared, the Mann-Whitney U test where cells were",
    )
    return f"Conditions were compared by {how}, p-values of several pairs corrected after Holm.", []


def _scored(_: _Done) -> tuple[str, list[str]]:
    return "Tracks were scored against the truth by the measures of the Cell Tracking Challenge.", ["CTC"]


def _boundary(done: _Done) -> tuple[str, list[str]]:
    where = ", ".join(dict.fromkeys(str(one["results"].get("boundary", "the boundary")) for one in done[:3]))
    return f"Distances were measured from each cell's centre to {where}.", []


def _spectrum(done: _Done) -> tuple[str, list[str]]:
    test = "permutation test" if done[0]["parameters"].get("significance") == "permutation" else "false-alarm"
    return (
        f"Rhythms of the {_p(done, 'intensity_column').replace('_', ' ')} were sought in {_n(done, 'spectra')} tracklets by their power spectra "
        f"(Fourier transform, or Lomb–Scargle where frames are missing; {_p(done, 'detrend')} trend removed; {test}, p ≤ {_p(done, 'significance_level')}); "
        f"{_n(done, 'rhythmic')} were rhythmic.",
        ["Lomb-Scargle"],
    )


def _migration(done: _Done) -> tuple[str, list[str]]:
    return (
        f"Speed, directness, mean squared displacement and divisions were measured on {_n(done, 'passing')} of "
        f"{_n(done, 'tracklets')} tracklets; {_n(done, 'plausible_divisions')} of {_n(done, 'divisions')} divisions were plausible "
        "by the age, size and place of mother and daughters.",
        [],
    )


_SENTENCES: dict[str, Callable[[_Done], tuple[str, list[str]]]] = {
    "create_dataset": _dataset,
    "train_denoiser": _denoiser,
    "train_segmentation": _networks,
    "optimize_thresholds": _thresholds,
    "segment": _segment,
    "segment_cellpose": _cellpose,
    "segment_remote": _remote,
    "evaluate_segmentation": _labels_scored,
    "track": _track,
    "evaluate_tracking": _scored,
    "curate": _curated,
    "analyze_boundary_distance": _boundary,
    "analyze_intensity_spectrum": _spectrum,
    "analyze_migration": _migration,
    "compare_conditions": _compared,
}
