"""A real project for the cockpit's tests and screenshots, filled through the store's own functions and rules."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core import answers, pool, prompts, rules
from alpaca_tui.core.records import Completion, Neighbour, ParsedInstance, Request, Verdict
from alpaca_tui.jobs import live, processes
from alpaca_tui.store import (
    candidates,
    completions,
    datasets,
    decisions,
    evaluations,
    jobs,
    metrics,
    projects,
    samples,
    seeds,
    suites,
)
from alpaca_tui.store.database import write

Task = tuple[str, str, str]
"""Instruction, input, output."""

TASKS: tuple[Task, ...] = (
    (
        "Suggest three names for a small bakery that only sells rye bread.",
        "",
        "1. The Dark Crumb\n2. Rye & Shine\n3. Sour Corner",
    ),
    (
        "Say whether the customer is asking for a refund.",
        "The kettle leaks and I would like my money back.",
        "Yes",
    ),
    (
        "Explain in two sentences why bread dough rises.",
        "",
        "Yeast eats the sugars in the flour and gives off carbon dioxide. The gas is caught in the gluten, so the "
        "dough swells.",
    ),
    ("Convert the recipe amount from cups to grams.", "2 cups of white flour", "About 240 grams of white flour."),
    (
        "Write a polite message that asks a neighbour to turn the music down.",
        "",
        "Hello, I hope you are well. Could you turn the music down a little after ten? The walls are thin. Thank you!",
    ),
    ("Find the odd one out in the list.", "copper, tin, oak, zinc", "oak: the others are metals"),
    (
        "Describe the water cycle to a child of seven.",
        "",
        "The sun warms the sea, and some of the water floats up as vapour. High up it cools and becomes clouds. "
        "Then it falls as rain, runs down the rivers and is back in the sea.",
    ),
    (
        "Put the events of the story in the order in which they happened.",
        "He woke. He slept. He ate.",
        "He slept. He woke. He ate.",
    ),
    ("Give the antonym of every word.", "hot, slow, brave", "cold, fast, cowardly"),
    (
        "Plan a weekend in a quiet town for someone who likes museums.",
        "",
        "Saturday: the local history museum, lunch by the river, an evening concert.\nSunday: the old mill, then a "
        "slow walk home.",
    ),
    ("Name the part of speech of the word in capitals.", "She ran QUICKLY to the door.", "adverb"),
    (
        "Rewrite the sentence so that a beginner in English understands it.",
        "The committee deferred its deliberations indefinitely.",
        "The group decided to talk about it later. They did not say when.",
    ),
    ("Compute the tip for the bill at fifteen percent.", "48.00", "7.20"),
    (
        "Write a haiku about a train that never arrives.",
        "",
        "Rails hum in the rain\nthe clock forgets its own hands\nno one leaves the bench",
    ),
    ("List the ingredients that are missing for pancakes.", "flour, salt, butter", "eggs\nmilk"),
    ("Translate the phrase into Spanish.", "Where is the library?", "¿Dónde está la biblioteca?"),
    (
        "Correct the spelling mistakes in the note.",
        "Pleese bring the recieipt tomorow.",
        "Please bring the receipt tomorrow.",
    ),
    (
        "Sum up the e-mail in one line.",
        "Hi all, the meeting moves from Tuesday to Thursday at 9.",
        "Meeting moved to Thursday, 9.",
    ),
    ("Guess the mood of the weather report.", "Grey skies, and more of them.", "gloomy"),
    (
        "Make the headline less dramatic.",
        "CITY IN SHOCK AS PIGEON ENTERS BANK",
        "Pigeon flies into bank in city centre",
    ),
    ("Sort the animals from light to heavy.", "horse, mouse, dog", "mouse, dog, horse"),
    (
        "Offer a gentle compliment for a nervous speaker.",
        "",
        "Your pauses gave me time to think; I could follow all of it.",
    ),
    (
        "Cut this product description down to exactly 12 words.",
        "This lamp is a lamp that gives light, and the light that it gives is warm, and it stands on a table.",
        "A warm table lamp, plain and sturdy, for evenings with a book.",
    ),
    ("State the capital of the country.", "Portugal", "Lisbon"),
    (
        "Choose the better title for the essay and say why.",
        "A: Rivers. B: How rivers move mountains.",
        "B, because it makes a promise.",
    ),
)

POOR: tuple[str, ...] = (
    "Draw a picture of a house with a red roof.",
    "Sing.",
    "Write a program that writes a program that writes a program that writes a program that writes a program.",
    "Look at the graph and describe the trend that it shows.",
)

GENERATE_SPEC = {
    "target": 48, "recipe": "self-instruct", "model": "smollm2-135m", "seed": 0, "threshold": 0.7, "batch": 8,
}  # fmt: skip


class Seeding:
    """Fills one project step by step."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.db, _ = projects.ensure(project)
        self.pack = resources.read_pack("self-instruct")
        self._rng = random.Random(7)
        self._context = rules.Context()
        self._human = seeds.pool(self.db)
        self._context.know_instructions([Neighbour("seed", e.id, e.instruction) for e in self._human])
        with write(self.db):
            completions.ensure_pack(self.db, self.pack.hash, self.pack.name, self.pack.files)

    def job(self, kind: str, spec: dict, state: str = "succeeded", reason: str | None = None) -> int:
        """A job in that state; an active one belongs to this process, so that it counts as alive."""
        job_id = jobs.enqueue(self.db, kind, spec)
        if state == "queued":
            return job_id
        jobs.claim(self.db, job_id, *processes.identity())
        if state != "running":
            jobs.set_state(self.db, job_id, state, reason=reason, exit_code=0 if state == "succeeded" else 1)
        return job_id

    def calls(self, job_id: int, tasks: tuple[Task, ...] = TASKS, poor: tuple[str, ...] = POOR) -> list[int]:
        """Model calls of eight instructions each, judged by the real rules, with a sample for each that is kept."""
        copies = tuple(f"{e.instruction.rstrip('.')} please." for e in self._human[5:60:9])
        texts = [t[0] for t in tasks] + [*poor, *copies]
        self._rng.shuffle(texts)
        instances = {t[0]: ParsedInstance(0, t[1], t[2]) for t in tasks}
        made: list[int] = []
        for start in range(0, len(texts), 8):
            made += self._call(job_id, texts[start : start + 8], instances)
        with write(self.db):
            completions.record(self.db, self._plan(job_id), _answer(""), "nothing could be read: the answer is empty")
        return made

    def _plan(self, job_id: int) -> completions.Call:
        shown = pool.draw_demonstrations(self._rng, self._human, candidates.pool(self.db))
        variables = {"demonstrations": [e.instruction for e in shown]}
        prompt = self.pack.stage("instruction")
        request = Request(prompts.render(self.pack, "instruction", variables), prompt.params, self._rng.getrandbits(32))
        return completions.Call(
            job_id, "instruction", "instruction", self.pack.hash, "smollm2-135m", variables, request, None, shown
        )

    def _call(self, job_id: int, texts: list[str], instances: dict[str, ParsedInstance]) -> list[int]:
        db, made = self.db, []
        answer = "\n".join(f"{i}. {text}" for i, text in enumerate(texts, 9))
        with write(db):
            completion_id = completions.record(db, self._plan(job_id), _answer(answer), None)
        for position, text in enumerate(texts):
            verdicts = rules.judge_instruction(text, rules.instruction_rules(0.7), self._context)
            with write(db):
                candidate_id, kept = candidates.add(db, completion_id, position, text, verdicts)
            if not kept:
                continue
            self._context.know_instruction("candidate", candidate_id, text)
            if text in instances:
                made.append(self.sample(job_id, candidate_id, text, instances[text]))
        return made

    def sample(self, job_id: int, candidate_id: int, instruction: str, instance: ParsedInstance) -> int:
        """The classification call's outcome, the instance call, and the sample it gave."""
        db = self.db
        variables = {"instruction": instruction}
        prompt = self.pack.stage("input_first")
        request = Request(prompts.render(self.pack, "input_first", variables), prompt.params, self._rng.getrandbits(32))
        call = completions.Call(
            job_id, "instance", "input_first", self.pack.hash, "smollm2-135m", variables, request, candidate_id
        )
        found = rules.judge_instances(instruction, [instance], rules.instance_rules(), self._context)[0]
        with write(db):
            candidates.set_classification(db, candidate_id, len(instance.output) < 8, -0.8)
            text = f" {instance.input or 'none'}\nOutput: {instance.output}"
            completion_id = completions.record(db, call, _answer(text), None)
            sample_id, passed = samples.add(db, candidate_id, completion_id, instruction, instance, found)
            candidates.finish(db, candidate_id)
        if passed:
            self._context.know_instance(sample_id, instruction, instance.input, instance.output)
        return sample_id

    def add_filtered(self, job_id: int, instruction: str) -> int:
        """A sample that a rule of the instances throws out (its output is empty)."""
        with write(self.db):
            completion_id = completions.record(self.db, self._plan(job_id), _answer(f"9. {instruction}"), None)
            verdicts = [Verdict("novelty", True, 0.31, 0.7)]
            candidate_id, _ = candidates.add(self.db, completion_id, 0, instruction, verdicts)
        return self.sample(job_id, candidate_id, instruction, ParsedInstance(0, "something", ""))

    def heartbeat(self, job_id: int, age: float = 0.0) -> None:
        """The runner's sign of life."""
        directory = live.live_dir(self.project, job_id)
        directory.mkdir(parents=True, exist_ok=True)
        live.write_json(directory / "runner.json", {"at": time.time() - age})

    def streaming(self, job_id: int, slots: int = 8, words: int = 40) -> None:
        """A worker's snapshot with text in flight."""
        self.heartbeat(job_id)
        stages = ("instruction", "input_first", "output_first", "classification")
        made = []
        for i in range(slots):
            text = " ".join(f"{9 + j}. {TASKS[(i * 5 + j) % len(TASKS)][0]}" for j in range(6))
            shown = " ".join(text.split()[: max(1, words - 4 * i)])
            made.append(
                live.Slot(f"candidate {120 + i}" if i % 4 else "new instructions", stages[i % 4], shown, 11 + 5 * i)
            )
        snapshot = live.LiveSnapshot(time.time(), f"input first: {slots} in flight", 0.62, 134.0, 95.0, tuple(made))
        live.LiveWriter(self.project, job_id).write(snapshot, force=True)

    def losses(self, job_id: int, steps: int = 120) -> None:
        """A training curve that falls, with noise, and held-out losses every 20 steps."""
        rng = random.Random(3)
        with write(self.db):
            for step in range(1, steps + 1):
                loss = 1.9 + 1.3 * math.exp(-step / 35) + rng.gauss(0, 0.07)
                metrics.record(
                    self.db, job_id, step, {"loss": loss, "learning_rate": 3e-4 * (1 - step / 150), "grad_norm": 0.8}
                )
                if step % 20 == 0:
                    metrics.record(self.db, job_id, step, {"eval_loss": 2.05 + 1.15 * math.exp(-step / 40)})

    def evaluated(self, job_id: int, dataset: datasets.DatasetRow, tuned: str) -> None:
        """Base and tuned model on the held-out rows."""
        self.scored(job_id, suites.held_out(self.db, dataset), "smollm2-135m", 3.108, 0.089, 5)
        self.scored(job_id, suites.held_out(self.db, dataset), tuned, 2.73, 0.127, 20)

    def scored(
        self, job_id: int, suite: suites.SuiteRow, model: str, loss: float, rouge: float, letters: int, says: str = ""
    ) -> int:
        """One model's answers, each with the first ``letters`` of the reference in it; the evaluation's id."""
        row = evaluations.begin(self.db, job_id, suite.id, model)
        for task in suites.tasks(self.db, suite.id):
            written = Completion(says or f"{model} says: {task.output[:letters]}", "eos", 60, 12, 0.4)
            score = answers.score_answer(task.output, written, is_classification=task.is_classification)
            evaluations.add_answer(self.db, row.id, task.position, f"prompt of {task.position}", written, score)
        found = answers.metrics([item.score for item in evaluations.items(self.db, row.id).values()])
        told = {"held_out_loss": loss, "held_out_loss_low": loss - 0.21, "held_out_loss_high": loss + 0.21,
                "rouge_l": rouge, "rouge_l_low": rouge - 0.05, "rouge_l_high": rouge + 0.05}  # fmt: skip
        evaluations.finish(self.db, row.id, found | told)
        return row.id


def _answer(text: str) -> Completion:
    return Completion(text, "stop", 412, max(1, len(text) // 4), 2.5)


def fill(project: Path) -> Seeding:
    """A project in the middle of its life: generated, partly reviewed, frozen, trained, evaluated, generating again."""
    made = Seeding(project)
    first = made.job("generate", GENERATE_SPEC | {"target": 24})
    ids = made.calls(first)
    made.add_filtered(first, "Count the vowels of the word that follows this sentence.")
    decisions.decide(made.db, "accept", ids[:6])
    decisions.decide(made.db, "reject", ids[6:8])
    dataset = datasets.freeze(made.db, "first", held_out=0.34)
    spec = {
        "dataset": "first",
        "model": "smollm2-135m",
        "method": "lora",
        "overrides": {"max_steps": 150},
        "recipe": None,
    }
    training = made.job("train", spec)
    made.losses(training)
    scoring = {"dataset": "first", "models": ["smollm2-135m", f"job:{training}"], "limit": None, "max_new_tokens": 128}
    evaluation = made.job("evaluate", scoring)
    made.evaluated(evaluation, dataset, f"job:{training}")
    made.job("generate", GENERATE_SPEC, "interrupted", "its runner (process 4242) is gone; resume it with R")
    made.streaming(made.job("generate", GENERATE_SPEC, "running"))
    return made


def close(db: Database) -> None:
    """Close the connection of the thread that made the project."""
    db.conn.close()
