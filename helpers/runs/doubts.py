"""What to doubt of a step's results, in words: each check is fine, worth a look, or wrong, and says what to do.

The checks read what ``done.json`` keeps and nothing else, so that those of an old run can be made again. Their limits are
where a result stops telling more than chance or a common mistake would, not where it is good; each says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from helpers.segmentation.method_names import METHOD_NAMES

Level = Literal["ok", "look", "wrong"]
LEVELS: tuple[Level, ...] = ("wrong", "look", "ok")

#: A last fifth of the epochs that lowers the loss by more is not the end of learning (trainings that had ended: 4 % at most).
_STILL_FALLING = 0.05
#: F1 on validation below which most cells are wrong in some way.
_POOR_F1 = 0.5
#: Every tenth track of one frame: true cells enter and leave at the border only, and there are fewer of them.
_ONE_FRAME = 0.1
#: Implausible divisions that one may be by chance: one in ten.
_IMPLAUSIBLE = 0.1
#: F1 of divisions below which their number misleads; TRA that is lost where one cell in 23 is missed with its links.
_POOR_DIVISIONS, _POOR_TRA = 0.8, 0.95
#: Links cost TRA little (0.95: 38 % of them are gone). At this LNK less than half the cells are followed over ten frames.
_POOR_LNK = 0.93
#: Cells outside of the tissue. On the demo: 0 %; a mask off by half a cell 8 %, by a whole one 31 %; a scale 10 % off 6 %.
_OUTSIDE = 0.05
#: Motion that all cells share. Simulated: a drift as large as the motion is above it in 99 % of ten cells or more, half as
#: large in 52 to 68 %; without any drift 9 to 15 % of ten cells are, below 2 % of twenty.
_DRIFT = 0.5
#: Fewer tracklets or movies give a median or a test no meaning.
_FEW, _FEW_MOVIES = 10, 3


@dataclass(frozen=True)
class Check:
    """What was checked of a result.

    Attributes
    ----------
    level : {"ok", "look", "wrong"}
    said : str
        What was found, a sentence.
    remedy : str
        What to do, with the parameter's name; empty where nothing need be done.
    """

    level: Level
    said: str
    remedy: str = ""

    def plain(self) -> dict[str, str]:
        """Return it as ``done.json`` keeps it."""
        return asdict(self)


def checks_of(name: str, results: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Check]:
    """Return what there is to say of a step's results, the worst first.

    Parameters
    ----------
    name : str
        Of the notebook, without its number, such as ``"track"``.
    results, parameters : mapping
        As in ``done.json``; what an older version did not keep is not checked.
    """
    check = _CHECKS.get(name)
    found = list(check(results, parameters)) if check else []
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def in_words(checks: list[Check]) -> str:
    """Return the checks as lines of text, for the end of a notebook."""
    marks = {"ok": "ok   ", "look": "LOOK ", "wrong": "WRONG"}
    lines = [
        f"{marks[one.level]} {one.said}" + (f"\n      → {one.remedy}" if one.remedy else "") for one in checks
    ]
    return "\n".join(["What to doubt:", *lines]) if lines else ""


def read_checks(done: Mapping[str, Any]) -> list[Check]:
    """Return the checks that ``done.json`` keeps; what is not a check is passed over."""
    kept = done.get("checks")
    found = kept if isinstance(kept, list) else []
    return [
        Check(one["level"], str(one.get("said", "")), str(one.get("remedy", "")))
        for one in found
        if isinstance(one, Mapping) and one.get("level") in LEVELS
    ]


def _judged(doubtful: bool, said: str, remedy: str, level: Level = "look") -> Check:
    """Return the check of a result that is either doubtful, with a remedy, or ok."""
    return Check(level, said, remedy) if doubtful else Check("ok", said)


def _implausible(divisions: int, plausible: int, remedy: str) -> Check:
    left = divisions - plausible
    said = f"{left} of {divisions} divisions are implausible" + (" and left out of rates." if left else ".")
    return _judged(left > _IMPLAUSIBLE * divisions, said, remedy)


def _enough(results: Mapping[str, Any]) -> Check:
    tracklets = results.get("tracklets", 0)
    return _judged(
        tracklets < _FEW,
        f"{tracklets} tracklets were measured.",
        "A median of so few says little: pool movies in notebook 16_compare_conditions.",
    )


def _dataset(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    held = results.get("validation_stacks") or []
    patches = results.get("validation_patches", 0)
    if sparse := results.get("sparse"):
        said = str(sparse.get("validation", ""))
        yield _judged(not patches, f"{said[:1].upper()}{said[1:]}.", "Draw more cells.")
    elif not patches:
        yield Check(
            "look",
            "Nothing is held back for validation: no one can tell when a training should end, nor which thresholds are good.",
            "Set validation_fraction above 0, or name validation_stacks.",
        )
    else:
        yield Check("ok", f"{len(held)} stacks are held back for validation: {', '.join(held)}.")


def _denoiser(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    raw, denoised = results.get("psnr_raw_db"), results.get("psnr_denoised_db")
    if raw is not None and denoised is not None:
        yield _judged(
            not denoised > raw,
            f"Against the clean movie the signal is {denoised:.1f} dB above the error, {raw:.1f} dB without the denoiser.",
            "Train for more epochs (n_epochs), or segment without the denoiser.",
            "wrong",
        )


def _training(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    for name, network in results.items():
        falling = network.get("still_falling") if isinstance(network, Mapping) else None
        if falling is None:
            continue
        if falling > _STILL_FALLING:
            yield Check(
                "look",
                f"{name}: the last fifth of the epochs still lowered the validation loss, by {100 * falling:.0f} %.",
                "Train for more epochs (n_epochs): raising the number goes on with the same model.",
            )
        else:
            yield Check("ok", f"{name}: the validation loss has settled at {network['val_loss']:.3g}.")


def _thresholds(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    from helpers.segmentation.threshold_remarks import FEW_CELLS  # every step imports this file
    from helpers.segmentation.thresholds import LIMITS

    cells = results.get("validation_cells")
    if cells is not None and cells <= FEW_CELLS:
        yield Check(
            "look", f"Only {cells} cells to validate on: the thresholds are a guess.",
            "Hold back more stacks in notebook 03_create_dataset (validation_fraction).",
        )  # fmt: skip
    if said := results.get("validated_on_training"):
        yield Check(
            "look",
            str(said),
            "Hold back cells or stacks in notebook 03_create_dataset (validation_fraction).",
        )
    for method, name in METHOD_NAMES.items():
        found = results.get(method)
        if not isinstance(found, Mapping) or "highest" not in found:
            continue
        if found["highest"] == 0:
            yield Check(
                "wrong", f"{name} finds no cell of the validation stacks at any threshold.",
                "Look at its losses in notebook 04_train_segmentation; train for more epochs (n_epochs) or on more patches.",
            )  # fmt: skip
            continue
        yield _judged(
            found["score"] < _POOR_F1,
            f"{name} reaches {found['score']:.2f} on the validation stacks.",
            "Train its network for more epochs or on more stacks (notebook 04_train_segmentation).",
        )
        ends = [k for k, limits in LIMITS.items() if found.get(k) in limits and found.get(k) != 1.0]
        if ends:
            values = ", ".join(f"{k} = {found[k]:g}" for k in ends)
            yield Check(
                "look", f"{name}: {values} lies at the end of what is sensible.",
                "Look at the curve in notebook 05_optimize_thresholds, and at the network's prediction in notebook 04_train_segmentation.",
            )  # fmt: skip


def _segmented(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    if not results.get("cells"):
        yield Check(
            "wrong",
            "No cell was found.",
            "Look at the channel, the scale (voxel_size_um) and the thresholds.",
        )
    else:
        yield Check("ok", f"{results['cells_per_frame']:.0f} cells per frame.")
    for text in results.get("warnings") or []:
        if results.get("cells") or "no cell" not in text:
            yield Check("look", f"{text[:1].upper()}{text[1:]}")


def _labels_scored(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    scores = {
        name: s["f1_50"]
        for name, s in results.items()
        if isinstance(s, Mapping) and s.get("f1_50") is not None
    }
    if not scores:
        return
    first = next(iter(scores))
    best = max(scores, key=lambda name: scores[name])
    named = {name: METHOD_NAMES.get(name, name) for name in scores}
    if scores[best] > scores[first] + 0.01:
        yield Check(
            "look", f"Against the truth {named[best]} finds more cells (F1 {scores[best]:.2f}) than {named[first]} ({scores[first]:.2f}).",
            f"Set method to '{best}' in notebook 06_segment, or choose the thresholds again with more validation stacks.",
        )  # fmt: skip
    else:
        yield _judged(
            scores[first] < _POOR_F1,
            f"Against the truth, F1 of {named[first]} is {scores[first]:.2f} (IoU 0.5).",
            "Most cells are wrong: look at the worst cells above before anything is measured.",
            "wrong",
        )


def _tracked(results: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[Check]:
    if not results.get("objects"):
        yield Check(
            "wrong",
            "There is nothing to track.",
            "Look at the filters (min_size_um3, min_quality, roi_mask).",
        )
        return
    lone, tracks = results.get("one_frame_tracks"), results.get("tracks", 0)
    if lone is not None and tracks:
        yield _judged(
            lone > _ONE_FRAME * tracks,
            f"{lone} of {tracks} tracks are of one frame only.",
            "Mostly errors of the segmentation or too small a max_distance_um; see the suspects in notebook 12_curate.",
        )
    divisions, plausible = results.get("divisions", 0), results.get("plausible_divisions")
    if plausible is not None and divisions:
        other = ", or try the global tracker (tracker)" if parameters.get("tracker") != "global" else ""
        remedy = f"The reasons are in notebook 15_analyze_migration; look at the divisions in notebook 12_curate{other}."
        yield _implausible(divisions, plausible, remedy)
    if results.get("optimal") is False:
        yield Check(
            "look", "The global tracker ran out of time before it knew that its choice is the best.",
            "Raise time_limit in tracker_options, or lower window.",
        )  # fmt: skip


def _tracks_scored(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    found = results.get("predicted_labels")
    if not isinstance(found, Mapping):
        return
    tra, divisions = found.get("tra"), found.get("division_f1")
    if tra is not None:
        yield _judged(
            tra < _POOR_TRA,
            f"Against the truth, TRA is {tra:.3f}.",
            "Look at the wrong links above; most follow from cells that are merged or cut.",
        )
    if (links := found.get("lnk")) is not None:
        yield _judged(
            links < _POOR_LNK,
            f"Against the truth, LNK is {links:.3f}: {100 * links**10:.0f} % of the cells would be followed over ten frames.",
            "Speeds and distances over many frames are of a part of the cells: raise max_distance_um, or correct links in notebook 12_curate.",
        )
    if divisions is not None:
        yield _judged(
            divisions < _POOR_DIVISIONS,
            f"Against the truth, F1 of the divisions is {divisions:.2f}.",
            "Do not rely on numbers of divisions before they are corrected in notebook 12_curate.",
        )


def _boundary(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    regions, objects = results.get("regions") or {}, results.get("objects", 0)
    outside = regions.get("outside", 0)
    if objects:
        yield _judged(
            outside > _OUTSIDE * objects,
            f"{outside} of {objects} cells lie outside of the tissue.",
            "Look at the boundary over the picture above: the mask, its frame or its scale does not fit.",
        )
    if "tracklets" in results:
        yield _enough(results)


def _rhythms(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    tracklets, spectra = results.get("tracklets", 0), results.get("spectra", 0)
    if not tracklets:
        return
    yield _judged(
        spectra < max(_FEW, tracklets / 2),
        f"{spectra} of {tracklets} tracklets are long enough for a spectrum.",
        "Longer tracks are needed: a longer movie, or larger max_frame_gap and max_distance_um in notebook 10_track.",
    )
    false, rhythmic = results.get("false_rhythms"), results.get("rhythmic", 0)
    if false is not None and spectra:
        share = rhythmic / spectra
        yield _judged(
            share <= 2 * false,
            f"{100 * share:.0f} % of the spectra are called rhythmic; of cells without a rhythm {100 * false:.1f} % would be.",
            "This may be chance: do not report a rhythm.",
        )


def _migration(results: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[Check]:
    yield _enough(results)
    drift = results.get("common_motion")
    if drift is not None and not parameters.get("remove_drift"):
        yield _judged(
            drift > _DRIFT,
            f"{100 * drift:.0f} % of the motion is common to all cells.",
            "If it is the stage's or the tissue's, set remove_drift.",
        )
    divisions = results.get("divisions", 0)
    plausible = results.get("plausible_divisions", divisions)
    if plausible < divisions:
        remedy = "The reasons are in migration_divisions.csv; look at the divisions in notebook 12_curate."
        yield _implausible(divisions, plausible, remedy)


def _compared(results: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    units = results.get("units")
    if isinstance(units, Mapping) and units:
        smallest = min(units, key=lambda name: units[name])
        yield _judged(
            units[smallest] < _FEW_MOVIES,
            f"The smallest group, {smallest}, has {units[smallest]} movies or animals.",
            "With fewer than three no test can tell groups apart: film more.",
        )


_CHECKS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[Check]]] = {
    "create_dataset": _dataset,
    "train_denoiser": _denoiser,
    "train_segmentation": _training,
    "optimize_thresholds": _thresholds,
    "segment": _segmented,
    "segment_cellpose": _segmented,
    "segment_remote": _segmented,
    "evaluate_segmentation": _labels_scored,
    "track": _tracked,
    "evaluate_tracking": _tracks_scored,
    "analyze_boundary_distance": _boundary,
    "analyze_intensity_spectrum": _rhythms,
    "analyze_migration": _migration,
    "compare_conditions": _compared,
}
