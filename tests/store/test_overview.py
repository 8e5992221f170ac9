"""The funnel's numbers, and where a sample came from."""

from __future__ import annotations

from sqlite_utils import Database

from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.store import completions, decisions, overview, samples
from store.filling import Filler


def test_the_funnel_counts_every_row_once(db: Database, filler: Filler) -> None:
    filler.completion(problem="no item could be read")
    filler.candidate("Draw a picture.", Verdict("length", True), Verdict("banned_words", False))
    filler.candidate("Explain seed number 1", Verdict("novelty", False, 1.0, 0.7, Neighbour("seed", 1, "…")))
    a, _, _ = filler.sample("A a a."), filler.sample("B b b."), filler.sample("C", "", Verdict("empty_output", False))
    decisions.decide(db, "accept", [a])
    funnel = overview.funnel(db)
    assert (funnel.completions, funnel.unparsed, funnel.candidates, funnel.kept) == (6, 1, 5, 3)
    assert funnel.rejected == {"banned_words": 1, "novelty": 1}
    assert (funnel.samples, funnel.pending, funnel.accepted, funnel.declined) == (3, 1, 1, 0)
    assert funnel.filtered == {"empty_output": 1}


def test_a_sample_knows_its_verdicts_neighbours_and_demonstrations(db: Database, filler: Filler) -> None:
    near = Verdict("novelty", True, 0.6, 0.7, Neighbour("seed", 2, "Explain seed number 2."))
    candidate_sample = filler.sample()
    db["candidate_verdicts"].insert(
        {
            "candidate_id": 1,
            "rule": near.rule,
            "position": 1,
            "passed": 1,
            "score": 0.6,
            "threshold": 0.7,
            "neighbour_seed_id": 2,
            "detail": "",
        }
    )
    found = samples.verdicts(db, candidate_sample)
    assert [v.rule for v in found] == ["length", "novelty", "empty_output"]
    assert (found[1].neighbour, found[1].neighbour_text) == ("seed 2", "Explain seed number 2.")
    origin = samples.origin(db, candidate_sample)
    assert origin is not None
    assert origin.demonstrations == (("seed 1", "Explain seed number 1."),)
    assert origin.model == "smollm2-135m"


def test_a_prompt_pack_is_kept_once_however_often_it_is_used(db: Database, filler: Filler) -> None:
    for _ in range(2):
        completions.ensure_pack(db, "other", "mine", {"pack.toml": "name = 'mine'"})
    assert [row["hash"] for row in db["packs"].rows_where(order_by="hash")] == ["hash", "other"]
    call = filler.completion()
    assert completions.pack_files(db, call) == ("instruction", {"demonstrations": []}, {"pack.toml": ""})
