"""The README's table and picture of results, from the sealed runs that the chapters read."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from geobasin.card_claims import card_claims, gain_over
from geobasin.claims import NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED, Interval
from geobasin.compare import read_comparison
from geobasin.compare_protocol import OURS as DCLR
from geobasin.compare_table import verdict_words
from geobasin.errors import GeoBasinError
from geobasin.figures.ladders import ladder_differences
from geobasin.figures.style import Plate
from geobasin.files import write_text
from geobasin.ladder import OURS, LadderResult
from geobasin.ladder_folder import read_ladder
from geobasin.learned import read_learned
from geobasin.stage_claims import stage_four_claims
from geobasin.stage_runs import cells_table, read_pairs, read_runs

PICTURE = Path("book", "_static", "results.svg")
LADDERS = {
    "digits": "digits-ladder",
    "CLINC150": "clinc150-ladder",
    "classes a ViT-Tiny never saw": "vit-halves-ladder",
}
_BEGIN = "<!-- From the sealed runs, written by `make headline`. -->\n"
_END = "<!-- Up to here. -->\n"
_PARTS = {
    "Does its Cantor part help?": "no Cantor",
    "Do thirteen corners a class help, and not two?": "k = 1",
    "Do several scales help?": "one scale",
}
_DECIMALS = 4
_AHEAD, _BEHIND, _OPEN = "ahead", "behind", "no difference found"


def headline(runs: Path) -> str:
    """The table of results.

    Args:
        runs: the folder of sealed runs.

    Returns:
        A table in Markdown: what was asked, on what, what was found with its 95 % interval, and the
        answer that follows.

    Raises:
        GeoBasinError: a run is missing, or is not as it was sealed.
    """
    ladders = read_ladders(runs)
    rows = [
        *(_against_rivals(name, ladder) for name, ladder in ladders.items()),
        *(_part(question, variant, ladders) for question, variant in _PARTS.items()),
        _end_to_end(runs),
        *_optimisers(runs),
        *_claims(runs, ladders["CLINC150"]),
    ]
    lines = [("question", "on", "found", "answer"), ("---",) * 4, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def picture(runs: Path) -> Plate:
    """The picture of results: every rival on every set of features.

    Args:
        runs: the folder of sealed runs.

    Returns:
        The figure.

    Raises:
        GeoBasinError: a run is missing, or is not as it was sealed.
    """
    return ladder_differences(read_ladders(runs), ablations=False)


def read_ladders(runs: Path) -> dict[str, LadderResult]:
    """The sealed ladders.

    Args:
        runs: the folder of sealed runs.

    Returns:
        By the name of the features.

    Raises:
        GeoBasinError: a run is missing, or is not as it was sealed.
    """
    return {name: read_ladder(runs / folder) for name, folder in LADDERS.items()}


def with_headline(readme: str, table: str) -> str:
    """Put the table into the README's text.

    Args:
        readme: the text, with the two comments that the table stands between.
        table: in Markdown.

    Returns:
        The text with this table in place of the one that was there.

    Raises:
        GeoBasinError: the comments are not there.
    """
    pattern = f"(?<={re.escape(_BEGIN)}).*(?={re.escape(_END)})"
    text, count = re.subn(pattern, lambda _: f"\n{table}\n", readme, flags=re.DOTALL)
    if count != 1:
        raise GeoBasinError("README.md has lost the comments around its results; put them back")
    return text


def _against_rivals(name: str, ladder: LadderResult) -> tuple[str, str, str, str]:
    table = ladder.table()
    rivals = table[~table.index.str.startswith(OURS)]
    best = str(rivals["accuracy"].idxmax())
    gain = gain_over(ladder, best)
    ours, theirs = table["accuracy"][OURS], table["accuracy"][best]
    return (
        f"{OURS} or the best of {len(rivals)} rivals, {best}?",
        f"{name}, {len(ladder.labels):,} rows, {ladder.seeds} seeds",
        f"{ours:.2%} or {theirs:.2%}: {gain.points()} points",
        _answer(gain),
    )


def _part(
    question: str, variant: str, ladders: Mapping[str, LadderResult]
) -> tuple[str, str, str, str]:
    gains = {name: gain_over(ladder, f"{OURS}, {variant}") for name, ladder in ladders.items()}
    found = "; ".join(f"{name} {gain.points()} points" for name, gain in gains.items())
    clear = [f"{name}: {_answer(g)}" for name, g in gains.items() if _answer(g) != _OPEN]
    return question, f"the same rows, against {variant}", found, "; ".join(clear) or _OPEN


def _end_to_end(runs: Path) -> tuple[str, str, str, str]:
    cells = cells_table(read_runs(runs / "vit-heads"))
    columns = cells[["accuracy", "difference", "difference_low", "difference_high"]]
    rows = dict(zip(cells.index, columns.to_numpy(float).tolist(), strict=True))
    accuracy, gain, low, high = rows["basin", "basin", "Adam"]
    plain, *_ = rows["linear", "cross-entropy", "Adam"]
    found = Interval(gain, low, high)
    return (
        f"{OURS} or a linear classifier on top of a ViT-Tiny, trained together with it?",
        "CIFAR-10, early in training",
        f"{accuracy:.2%} or {plain:.2%}: {found.points()} points",
        _answer(found),
    )


def _optimisers(runs: Path) -> Iterator[tuple[str, str, str, str]]:
    comparison = read_comparison(runs / "vit-compare")
    for workload, target in comparison.targets.items():
        loss = comparison.loss_difference(workload, DCLR, target.rival)
        gain = Interval(-loss.mean, -loss.high, -loss.low)
        yield (
            f"DCLR or the best standard optimiser, {target.rival}?",
            f"ViT-Tiny on {workload}, {comparison.config['steps']} steps",
            verdict_words(comparison, workload),
            _answer(gain),
        )


def _claims(runs: Path, ladder: LadderResult) -> Iterator[tuple[str, str, str, str]]:
    card = card_claims(read_learned(runs / "clinc150-learned"), ladder, "CLINC150")
    stage = stage_four_claims(read_pairs(runs / "vit-pairs"), "fractal")
    energy, *_ = stage
    yield f"DCLR: {energy.statement}?", "ViT-Tiny, paired runs", energy.found, energy.verdict
    count = Counter(claim.verdict for claim in card + stage)
    found = ", ".join(f"{count[word]} {word}" for word in (SUPPORTED, NOT_SUPPORTED, NOT_TESTABLE))
    yield (
        "Do the claims of the two sources hold?",
        f"{len(card + stage)} claims",
        found,
        "chapter 7",
    )


def _answer(gain: Interval) -> str:
    # As printed: an end that reads as zero does not keep away from it.
    low, high = round(gain.low, _DECIMALS), round(gain.high, _DECIMALS)
    return _AHEAD if low > 0 else _BEHIND if high < 0 else _OPEN


def main() -> None:
    """Write the README's table and its picture."""
    root = Path(__file__).resolve().parents[2]
    runs, readme = root / "book" / "runs", root / "README.md"
    try:
        text = with_headline(readme.read_text(encoding="utf-8"), headline(runs))
        write_text(readme, text)
        picture(runs).save(root / PICTURE)
    except GeoBasinError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
