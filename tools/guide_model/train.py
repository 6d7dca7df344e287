"""Train the guide from scratch on a CPU: `python -m guide_model.train` (see docs/guide-model.md).

Deterministic for a seed and a machine: every step draws its samples from a generator seeded by the step's number, so a
run that was interrupted goes on from its last checkpoint as if nothing had happened.
"""

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import LlamaForCausalLM

from guide_model.answering import answerer
from guide_model.build import build_model, build_tokenizer, save_folder
from guide_model.conversation import IGNORED, Sample, SampleMaker, turn
from guide_model.curve import plot_curve
from guide_model.evaluate import MODEL_FOLDER, QUESTIONS_FILE, ROOT, evaluate, report
from guide_model.facts import Fact, FactsError, Question, load_facts, load_questions, load_strangers, normalized

CURVE_FILE = ROOT / "docs" / "images" / "guide-model-loss.png"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out of a training run."""

    seed: int = 20240109
    steps: int = 1100
    samples_per_step: int = 24
    steps_per_group: int = 8
    """Samples of this many steps are drawn together and sorted by length, so that little is spent on padding."""
    peak_learning_rate: float = 3e-3
    final_learning_rate: float = 5e-5
    warmup_steps: int = 60
    weight_decay: float = 0.05
    gradient_norm_limit: float = 1.0
    bfloat16: bool = True
    """Multiply matrices in bfloat16 (the weights stay float32 until they are saved)."""


def refuse_leaks(facts: dict[str, Fact], questions: Sequence[Question]) -> None:
    """An evaluation question among the training questions would make the evaluation worthless."""
    trained = {normalized(text) for fact in facts.values() for text in (*fact.ask, *fact.about)}
    leaked = [question.text for question in questions if normalized(question.text) in trained]
    if leaked:
        raise FactsError(f"these evaluation questions are also in the facts: {leaked}; rephrase them in one place")


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to the final rate."""
    if step < recipe.warmup_steps:
        return recipe.peak_learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    span = recipe.peak_learning_rate - recipe.final_learning_rate
    return recipe.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * progress))


def batches(recipe: Recipe, maker: SampleMaker, first_step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and labels of each step, both int64 of shape [samples, longest], padded on the right."""
    group_size = recipe.steps_per_group
    for group in range(first_step // group_size, math.ceil(recipe.steps / group_size)):
        rng = random.Random(f"{recipe.seed}/{group}")
        samples = [maker.draw(rng) for _ in range(recipe.samples_per_step * group_size)]
        samples.sort(key=lambda sample: len(sample.token_ids))
        slices = [samples[i * recipe.samples_per_step :][: recipe.samples_per_step] for i in range(group_size)]
        rng.shuffle(slices)
        for index, chosen in enumerate(slices):
            if group * group_size + index >= first_step:
                yield pad(chosen)


def pad(samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels as int64 tensors [samples, longest]; padding is token 0 and never predicted."""
    longest = max(len(sample.token_ids) for sample in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.int64)
    labels = torch.full((len(samples), longest), IGNORED, dtype=torch.int64)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.token_ids)] = torch.tensor(sample.token_ids)
        labels[row, : len(sample.labels)] = torch.tensor(sample.labels)
    return ids, labels


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy (nats per token) of the labelled tokens; logits are made for those alone."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    wanted = labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[:, :-1][wanted])
    return cross_entropy(logits.float(), labels[:, 1:][wanted])


def held_out_batch(
    questions: Sequence[Question], facts: dict[str, Fact], tokenizer: Tokenizer
) -> tuple[torch.Tensor, torch.Tensor]:
    """The evaluation questions with their right answers: watched while training, never learned from."""
    samples = []
    for question in questions:
        head = tokenizer.encode(turn("user", question.text) + "<|im_start|>assistant\n").ids
        tail = tokenizer.encode(facts[question.fact].answer + "<|im_end|>").ids
        samples.append(Sample(tuple(head + tail), tuple([IGNORED] * len(head) + tail)))
    return pad(samples)


class Run:
    """One training run in a work folder: model, optimizer, and a journal of losses. Resumable."""

    def __init__(self, recipe: Recipe, facts: dict[str, Fact], held_out: list[Question], folder: Path) -> None:
        self.recipe, self.facts, self.held_out, self.folder = recipe, facts, held_out, folder
        torch.manual_seed(recipe.seed)
        self.tokenizer = build_tokenizer(facts, recipe.seed)
        self.model = build_model(self.tokenizer)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
        )
        self.step = 0
        self.journal: list[dict[str, float]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if self._checkpoint.exists():
            self._resume()

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        if state["recipe"] != asdict(self.recipe) or state["vocabulary"] != self.tokenizer.get_vocab():
            raise SystemExit(f"{self.folder} holds a run of another recipe or other facts; use --fresh to begin anew")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.journal = state["step"], state["journal"]

    def save_checkpoint(self) -> None:
        """Write to a neighbour, then rename: an interruption leaves the old checkpoint whole."""
        state = {
            "recipe": asdict(self.recipe),
            "vocabulary": self.tokenizer.get_vocab(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "journal": self.journal,
        }
        neighbour = self._checkpoint.with_suffix(".new")
        torch.save(state, neighbour)
        neighbour.replace(self._checkpoint)

    def train(self, checkpoint_every: int = 200) -> None:
        """Train to the last step, with a progress bar, a checkpoint and a held-out loss now and then."""
        maker = SampleMaker(self.facts, self.tokenizer, [question.text for question in self.held_out])
        watched = held_out_batch(self.held_out, self.facts, self.tokenizer)
        self.model.train()
        with tqdm(total=self.recipe.steps, initial=self.step, unit="step", mininterval=2.0) as bar:
            for ids, labels in batches(self.recipe, maker, self.step):
                loss = self._learn(ids, labels)
                entry = {"step": float(self.step), "loss": loss}
                self.step += 1
                if self.step % checkpoint_every == 0 or self.step == self.recipe.steps:
                    entry["held_out_loss"] = self._watch(*watched)
                self.journal.append(entry)
                if "held_out_loss" in entry:
                    self.save_checkpoint()
                    bar.write(
                        f"step {self.step}: loss {loss:.4f}, held out {entry['held_out_loss']:.4f}", file=sys.stderr
                    )
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()

    def _learn(self, ids: torch.Tensor, labels: torch.Tensor) -> float:
        rate = learning_rate(self.recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            loss = loss_of(self.model, ids, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm_limit)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    @torch.no_grad()
    def _watch(self, ids: torch.Tensor, labels: torch.Tensor) -> float:
        return loss_of(self.model, ids, labels).item()


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, save the model folder, draw the curve, evaluate; exit status 1 when under 90 % are right."""
    parser = argparse.ArgumentParser(prog="python -m guide_model.train", description="Train the demonstration model.")
    parser.add_argument("--output", type=Path, default=MODEL_FOLDER, help="model folder (default: %(default)s)")
    parser.add_argument(
        "--work-folder", type=Path, default=_default_work_folder(), help="checkpoints (default: %(default)s)"
    )
    parser.add_argument("--curve", type=Path, default=CURVE_FILE, help="loss plot (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="training steps (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoint of an earlier run")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    facts = load_facts()
    questions = load_questions(QUESTIONS_FILE, facts)
    held_out = questions + load_strangers(QUESTIONS_FILE)
    refuse_leaks(facts, held_out)
    if options.fresh:
        (options.work_folder / "checkpoint.pt").unlink(missing_ok=True)
    run = Run(Recipe(steps=options.steps), facts, held_out, options.work_folder)
    began = time.monotonic()
    run.train()
    print(f"trained to step {run.step}, {(time.monotonic() - began) / 60:.1f} minutes in this session")
    (options.work_folder / "journal.json").write_text(json.dumps(run.journal), encoding="utf-8")
    save_folder(run.model.to(torch.bfloat16), run.tokenizer, options.output)
    plot_curve(run.journal, options.curve)
    verdicts = evaluate(answerer(options.output), questions, facts)
    print(report(verdicts))
    return 0 if sum(v.right for v in verdicts) >= 0.9 * len(verdicts) else 1


def _default_work_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgen" / "guide-model"


if __name__ == "__main__":
    sys.exit(main())
